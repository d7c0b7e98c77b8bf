/* SPDX-License-Identifier: MIT */
/* PUSHA to LEAVE: what moves more than one value over the stack, and flags. */
#include "mmu/emulate_internal.h"

static const struct insn_operand reg_rsp = {OPERAND_REG, RSP}, reg_rbp = {OPERAND_REG, RBP};

#define FLAGS_ALWAYS (RFLAGS_STATUS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT)
#define FLAGS_WIDE   (RFLAGS_AC | RFLAGS_ID)
#define RFLAGS_FIXED BIT(1)

u64 emulate_popped_flags(const struct emulate *e, u64 value, unsigned int size)
{
	u64 old = e->next.rflags, writable = FLAGS_ALWAYS;

	if (size > 2)
		writable |= FLAGS_WIDE;
	if (e->cpu->cpl == 0)
		writable |= 3ull << RFLAGS_IOPL_SHIFT;
	if (e->cpu->cpl <= ((old >> RFLAGS_IOPL_SHIFT) & 3))
		writable |= RFLAGS_IF;
	return (old & ~writable) | (value & writable) | RFLAGS_FIXED;
}

static bool push_all(struct emulate *e)
{
	for (u8 reg = RAX; reg <= RDI; reg++) {
		u64 value = e->regs->gpr[reg];

		if (!replay_push(e, e->insn->op_size, value))
			return false;
	}
	return true;
}

static bool pop_all(struct emulate *e)
{
	for (u8 reg = RDI + 1; reg-- > RAX;) {
		struct insn_operand operand = {OPERAND_REG, reg};
		u64 value;

		if (!replay_pop(e, e->insn->op_size, &value))
			return false;
		if (reg != RSP)
			emulate_set_reg(e, operand, e->insn->op_size, value);
	}
	return true;
}

/* In virtual-8086 mode with an IOPL below 3 both are its monitor's. */
static bool may_move_flags(struct emulate *e)
{
	if (e->cpu->vm86 && ((e->next.rflags >> RFLAGS_IOPL_SHIFT) & 3) < 3)
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	return true;
}

static bool pop_flags(struct emulate *e)
{
	u64 value;

	if (!may_move_flags(e) || !replay_pop(e, e->insn->op_size, &value))
		return false;
	e->next.rflags = emulate_popped_flags(e, value, e->insn->op_size);
	return true;
}

/* The frames of the procedures around this one (SDM 2A, ENTER). */
static bool push_display(struct emulate *e, unsigned int levels, u64 frame)
{
	unsigned int size = e->insn->op_size, width = emulate_stack_size(e);
	u64 rbp = e->next.gpr[RBP], value;

	for (unsigned int i = 1; i < levels; i++) {
		rbp -= size;
		if (!replay_read(e, SEGMENT_SS, rbp & size_mask(width), size, &value) ||
		    !replay_push(e, size, value))
			return false;
	}
	return !levels || replay_push(e, size, frame);
}

/* The last word of the new frame must be writable. */
static bool enter(struct emulate *e)
{
	unsigned int size = e->insn->op_size, width = emulate_stack_size(e);
	u64 frame, rsp;

	if (!replay_push(e, size, e->next.gpr[RBP]))
		return false;
	frame = e->next.gpr[RSP];
	if (!push_display(e, e->insn->imm2 & 31, frame))
		return false;
	emulate_set_reg(e, reg_rbp, size, frame & size_mask(width));
	rsp = (emulate_get_reg(e, reg_rsp, width) - (u16)e->insn->imm) & size_mask(width);
	emulate_set_reg(e, reg_rsp, width, rsp);
	return replay_probe(e, SEGMENT_SS, rsp, size);
}

static bool leave(struct emulate *e)
{
	unsigned int width = emulate_stack_size(e);
	u64 value;

	emulate_set_reg(e, reg_rsp, width, e->next.gpr[RBP]);
	if (!replay_pop(e, e->insn->op_size, &value))
		return false;
	emulate_set_reg(e, reg_rbp, e->insn->op_size, value);
	return true;
}

bool replay_frame(struct emulate *e)
{
	switch (e->insn->kind) {
	case INSN_PUSHA:
		return push_all(e);
	case INSN_POPA:
		return pop_all(e);
	case INSN_PUSHF:
		return may_move_flags(e) &&
		       replay_push(e, e->insn->op_size, e->next.rflags & ~(RFLAGS_VM | RFLAGS_RF));
	case INSN_POPF:
		return pop_flags(e);
	case INSN_ENTER:
		return enter(e);
	default: /* INSN_LEAVE */
		return leave(e);
	}
}
