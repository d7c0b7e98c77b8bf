/* SPDX-License-Identifier: MIT */
/*
 * Moves between memory and XMM registers, CMPXCHG16B, and what boot code looks for an x87 unit with.
 * The vector registers are the vCPU's: the caller has them, and is asked.
 */
#include "mmu/emulate_internal.h"

#define HALF	 8u
#define XMM_SIZE 16u
#define FSW_ES	 BIT(7) /* an exception waits for the next instruction but FNINIT and its like */

static const struct insn_operand reg_rax = {OPERAND_REG, RAX}, reg_rdx = {OPERAND_REG, RDX};

/* Checked is the linear address, which outside 64-bit mode has 32 bits. */
static bool need_alignment(struct emulate *e, u64 offset)
{
	const struct emulate_segment *s = &e->cpu->segment[e->insn->mem.segment];
	bool has_base = e->insn->mode != DECODE_64 || e->insn->mem.segment >= SEGMENT_FS;
	u64 linear = has_base ? offset + s->base : offset;

	return !(linear & (XMM_SIZE - 1)) || replay_fault(e, EMULATE_VECTOR_GP, 0);
}

/* --- XMM registers --- */

/* SDM 3A 2.5, 13.1 */
static bool need_sse(struct emulate *e)
{
	if (!e->cpu->sse)
		return replay_fault(e, EMULATE_VECTOR_UD, 0);
	return !e->cpu->task_switched || replay_fault(e, EMULATE_VECTOR_NM, 0);
}

/* What is narrower than the register clears the rest of it. */
static bool load_xmm(struct emulate *e, u64 offset)
{
	const struct insn *insn = e->insn;
	u64 value[2] = {0};

	if (insn->op_size == XMM_SIZE) {
		if (!replay_read_wide(e, insn->mem.segment, offset, value))
			return false;
	} else if (!replay_read(e, insn->mem.segment, offset, insn->op_size, &value[0])) {
		return false;
	}
	return replay_write_xmm(e, insn->dst.reg, value);
}

static bool store_xmm(struct emulate *e, u64 offset)
{
	const struct insn *insn = e->insn;
	u64 value[2];

	if (!replay_read_xmm(e, insn->src.reg, value))
		return false;
	if (insn->op_size == XMM_SIZE)
		return replay_write_wide(e, insn->mem.segment, offset, value);
	return replay_write(e, insn->mem.segment, offset, insn->op_size, value[0]);
}

static bool move_xmm(struct emulate *e)
{
	u64 offset = emulate_offset(e);

	if (!need_sse(e) || (e->insn->aligned && !need_alignment(e, offset)))
		return false;
	return e->insn->src.kind == OPERAND_MEM ? load_xmm(e, offset) : store_xmm(e, offset);
}

/* --- CMPXCHG16B: SDM 2A; the destination is written back also when it differs --- */

bool replay_exchange_16(struct emulate *e)
{
	unsigned int segment = e->insn->mem.segment;
	u64 offset = emulate_offset(e), is[2], becomes[2];
	const u64 *gpr = e->regs->gpr;

	e->for_write = true;
	if (!need_alignment(e, offset) || !replay_read_wide(e, segment, offset, is))
		return false;
	e->for_write = false;
	becomes[0] = is[0];
	becomes[1] = is[1];
	if (is[0] == gpr[RAX] && is[1] == gpr[RDX]) {
		becomes[0] = gpr[RBX];
		becomes[1] = gpr[RCX];
		e->next.rflags |= RFLAGS_ZF;
	} else {
		emulate_set_reg(e, reg_rax, HALF, is[0]);
		emulate_set_reg(e, reg_rdx, HALF, is[1]);
		e->next.rflags &= ~RFLAGS_ZF;
	}
	e->atomic = true;
	e->expected = is[0];
	e->expected_high = is[1];
	return replay_write_wide(e, segment, offset, becomes);
}

/* --- x87 --- */

static bool need_x87(struct emulate *e)
{
	return !(e->cpu->x87_absent || e->cpu->task_switched) ||
	       replay_fault(e, EMULATE_VECTOR_NM, 0);
}

static bool store_x87(struct emulate *e, u32 which)
{
	u64 value = 0;

	return replay_ask(e, EMULATE_READ_X87, which, &value) &&
	       replay_set(e, e->insn->dst, 2, value);
}

/* Where an exception waits this is what meets it. The CPU has it done then: it is left alone. */
static bool load_control(struct emulate *e)
{
	u64 status = 0, value;

	if (!replay_ask(e, EMULATE_READ_X87, EMULATE_X87_STATUS, &status))
		return false;
	if (status & FSW_ES)
		return replay_unhandled(e);
	return replay_get(e, e->insn->src, 2, &value) &&
	       replay_ask(e, EMULATE_WRITE_X87, EMULATE_X87_CONTROL, &value);
}

bool replay_vector(struct emulate *e)
{
	u64 unused = 0;

	if (e->insn->kind == INSN_MOV_XMM)
		return move_xmm(e);
	if (!need_x87(e))
		return false;
	switch (e->insn->kind) {
	case INSN_FNINIT:
		return replay_ask(e, EMULATE_WRITE_X87, EMULATE_X87_INIT, &unused);
	case INSN_FNSTSW:
		return store_x87(e, EMULATE_X87_STATUS);
	case INSN_FNSTCW:
		return store_x87(e, EMULATE_X87_CONTROL);
	default: /* INSN_FLDCW */
		return load_control(e);
	}
}
