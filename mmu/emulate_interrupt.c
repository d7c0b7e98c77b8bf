/* SPDX-License-Identifier: MIT */
/*
 * Interrupts and exceptions: by the vector table of real mode (SDM 3A 21.1.4), or by an interrupt or
 * trap gate to a handler of the same privilege level (SDM 3A 6.12.1; the faults are those of INT n,
 * SDM 2A).
 */
#include "mmu/emulate_internal.h"

#define IVT_ENTRY  4
#define VECTOR_DB  1
#define VECTOR_BP  3
#define VECTOR_OF  4
#define ERROR_EXT  1u /* SDM 3A figure 6-7 */
#define ERROR_IDT  2u
#define GATE_SIZE  8
#define GATE_WIDE  BIT(3) /* of the type: 32 bits */
#define GATE_TRAP  BIT(0) /* of the type: interrupts stay as they are */
#define GATE_TASK  5u
#define GATE_FIRST 6u /* the type of a 16-bit interrupt gate */

static u32 external(const struct emulate_event *event)
{
	return event->software ? 0 : ERROR_EXT;
}

/* Three words on the stack, and the handler that the vector table names. */
static bool by_vector_table(struct emulate *e, const struct emulate_event *event)
{
	u64 back = e->next.rip, flags = e->next.rflags, entry;
	u16 cs = e->cpu->segment[SEGMENT_CS].selector;
	u32 at = event->vector * IVT_ENTRY;

	if (at + IVT_ENTRY - 1 > e->cpu->idt.limit)
		return replay_fault(e, EMULATE_VECTOR_GP, event->vector * 8u + ERROR_IDT);
	if (!replay_read_table(e, e->cpu->idt.base + at, IVT_ENTRY, &entry))
		return false;
	if (!replay_push(e, 2, flags) || !replay_push(e, 2, cs) || !replay_push(e, 2, back) ||
	    !replay_go_far(e, (u16)(entry >> 16), entry & 0xffff))
		return false;
	e->next.rflags &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC);
	return true;
}

static bool read_gate(struct emulate *e, const struct emulate_event *event, u64 *gate)
{
	u32 at = event->vector * GATE_SIZE, error = at | ERROR_IDT | external(event), access, type;

	if (at + GATE_SIZE - 1 > e->cpu->idt.limit)
		return replay_fault(e, EMULATE_VECTOR_GP, error);
	if (!replay_read_table(e, e->cpu->idt.base + at, GATE_SIZE, gate))
		return false;
	access = (u32)(*gate >> 40);
	type = access & 0x1f;
	if (type != GATE_TASK && (type & ~(u32)(GATE_WIDE | GATE_TRAP)) != GATE_FIRST)
		return replay_fault(e, EMULATE_VECTOR_GP, error);
	if (event->software && ACCESS_DPL(access) < e->cpu->cpl)
		return replay_fault(e, EMULATE_VECTOR_GP, error);
	if (!(access & ACCESS_PRESENT))
		return replay_fault(e, EMULATE_VECTOR_NP, error);
	return type != GATE_TASK || replay_unhandled(e);
}

static bool push(struct emulate *e, const struct emulate_event *event, unsigned int size, u64 value)
{
	if (replay_push(e, size, value))
		return true;
	e->error_code |= external(event); /* of #SS, if it is that */
	return false;
}

static bool by_gate(struct emulate *e, const struct emulate_event *event)
{
	u64 back = e->next.rip, gate, target;
	u64 flags = event->software ? e->next.rflags : e->regs->rflags; /* RF is the event's */
	u16 cs = e->cpu->segment[SEGMENT_CS].selector;
	unsigned int size;

	if (!read_gate(e, event, &gate))
		return false;
	size = gate >> 40 & GATE_WIDE ? 4 : 2;
	target = (gate & 0xffff) | (size == 4 ? gate >> 32 & 0xffff0000 : 0);
	if (!replay_go_to_handler(e, (u16)(gate >> 16), target, external(event)))
		return false;
	if (!push(e, event, size, flags) || !push(e, event, size, cs) ||
	    !push(e, event, size, back) ||
	    (event->has_error && !push(e, event, size, event->error_code)))
		return false;
	e->next.rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
	if (!(gate >> 40 & GATE_TRAP))
		e->next.rflags &= ~RFLAGS_IF;
	return true;
}

static bool deliver(struct emulate *e, const struct emulate_event *event)
{
	e->effects |= EMULATE_NO_STEP_TRAP;
	if (e->cpu->vm86 || e->cpu->long_mode)
		return replay_unhandled(e);
	return e->cpu->protected_mode ? by_gate(e, event) : by_vector_table(e, event);
}

bool replay_interrupt(struct emulate *e)
{
	const struct insn *insn = e->insn;
	struct emulate_event event = {.vector = (u8)insn->imm, .software = true};

	switch (insn->kind) {
	case INSN_INT:
		break;
	case INSN_INT1:
		event.vector = VECTOR_DB;
		event.software = false;
		break;
	case INSN_INT3:
		event.vector = VECTOR_BP;
		break;
	case INSN_INTO:
		if (!(e->next.rflags & RFLAGS_OF))
			return true;
		event.vector = VECTOR_OF;
		break;
	default: /* INSN_EVENT */
		event.software = false;
		event.has_error = insn->src.kind == OPERAND_IMM;
		event.error_code = insn->imm2;
		break;
	}
	return deliver(e, &event);
}

void emulate_make_event(struct insn *insn, const struct emulate_event *event, enum decode_mode mode)
{
	*insn = (struct insn){
		.kind = event->software ? INSN_INT : INSN_EVENT,
		.imm = event->vector,
		.imm2 = event->error_code,
		.src.kind = event->has_error ? OPERAND_IMM : OPERAND_NONE,
		.length = event->length,
		.mode = (u8)mode,
		.op_size = 2,
		.addr_size = 2,
	};
}

bool emulate_has_error_code(u8 vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}
