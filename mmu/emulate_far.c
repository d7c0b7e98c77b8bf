/* SPDX-License-Identifier: MIT */
/*
 * Far branches and returns. In protected mode what stays at its privilege level; call gates and tasks
 * are not done. Interrupts are in emulate_interrupt.c.
 */
#include "mmu/emulate_internal.h"

#define RPL(s) ((s)&3u)

/* The offset and the selector of a far branch: immediates, or in memory. */
static bool get_far(struct emulate *e, u64 *offset, u16 *selector)
{
	const struct insn *insn = e->insn;
	u64 at, s;

	if (insn->src.kind == OPERAND_IMM) {
		*offset = insn->imm;
		*selector = insn->imm2;
		return true;
	}
	at = emulate_offset(e);
	if (!replay_read(e, insn->mem.segment, at, insn->op_size, offset) ||
	    !replay_read(e, insn->mem.segment, (at + insn->op_size) & size_mask(insn->addr_size), 2,
			 &s))
		return false;
	*selector = (u16)s;
	return true;
}

static bool jump(struct emulate *e)
{
	u64 offset;
	u16 selector;

	return get_far(e, &offset, &selector) && replay_go_far(e, selector, offset);
}

static bool call(struct emulate *e)
{
	u64 back = e->next.rip, offset;
	u16 cs = e->cpu->segment[SEGMENT_CS].selector, selector;

	return get_far(e, &offset, &selector) && replay_go_far(e, selector, offset) &&
	       replay_push(e, e->insn->op_size, cs) && replay_push(e, e->insn->op_size, back);
}

static bool pop_far(struct emulate *e, u64 *offset, u64 *selector)
{
	return replay_pop(e, e->insn->op_size, offset) && replay_pop(e, e->insn->op_size, selector);
}

/* A return goes to this level, or to an outer one, where there is another stack. */
static bool go_back_to(struct emulate *e, u16 selector, u64 offset)
{
	if (e->cpu->protected_mode && RPL(selector) > e->cpu->cpl)
		return replay_go_out(e, selector);
	if (e->cpu->protected_mode && RPL(selector) < e->cpu->cpl)
		return replay_fault(e, EMULATE_VECTOR_GP, selector & ~3u);
	return replay_go_far(e, selector, offset);
}

static bool go_back(struct emulate *e)
{
	static const struct insn_operand reg_rsp = {OPERAND_REG, RSP};
	unsigned int width = emulate_stack_size(e);
	u64 offset, selector;

	if (!pop_far(e, &offset, &selector) || !go_back_to(e, (u16)selector, offset))
		return false;
	if (e->insn->imm_size)
		emulate_set_reg(e, reg_rsp, width,
				emulate_get_reg(e, reg_rsp, width) + (u16)e->insn->imm);
	return true;
}

static bool interrupt_return(struct emulate *e)
{
	unsigned int size = e->insn->op_size;
	u64 offset, selector, flags;

	/* A task, or virtual-8086 mode's own way; in IA-32e mode the stack comes too. */
	if (e->cpu->long_mode || (e->cpu->protected_mode && (e->next.rflags & RFLAGS_NT)))
		return replay_unhandled(e);
	if (e->cpu->vm86 && ((e->next.rflags >> RFLAGS_IOPL_SHIFT) & 3) < 3)
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	if (!pop_far(e, &offset, &selector) || !replay_pop(e, size, &flags))
		return false;
	if (e->cpu->protected_mode && size > 2 && (flags & RFLAGS_VM))
		return replay_unhandled(e);
	if (!go_back_to(e, (u16)selector, offset))
		return false;
	e->next.rflags = emulate_popped_flags(e, flags, size);
	/* Unlike POPF it sets RF. */
	if (size > 2)
		e->next.rflags |= flags & RFLAGS_RF;
	e->effects |= EMULATE_RETURNED;
	return true;
}

bool replay_far(struct emulate *e)
{
	switch (e->insn->kind) {
	case INSN_JMP_FAR:
		return jump(e);
	case INSN_CALL_FAR:
		return call(e);
	case INSN_RET_FAR:
		return go_back(e);
	case INSN_IRET:
		return interrupt_return(e);
	default: /* INSN_INT to INSN_EVENT */
		return replay_interrupt(e);
	}
}
