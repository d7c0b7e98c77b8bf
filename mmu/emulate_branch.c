/* SPDX-License-Identifier: MIT */
/* Near branches, calls and returns (SDM 2A CALL, Jcc, JMP; 2B LOOP, RET). */
#include "mmu/emulate_internal.h"

static const struct insn_operand reg_rcx = {OPERAND_REG, RCX}, reg_rsp = {OPERAND_REG, RSP};

bool emulate_condition(u64 rflags, u8 condition)
{
	bool less = !(rflags & RFLAGS_SF) != !(rflags & RFLAGS_OF), holds = false;

	switch (condition >> 1) {
	case 0:
		holds = rflags & RFLAGS_OF;
		break;
	case 1:
		holds = rflags & RFLAGS_CF;
		break;
	case 2:
		holds = rflags & RFLAGS_ZF;
		break;
	case 3:
		holds = rflags & (RFLAGS_CF | RFLAGS_ZF);
		break;
	case 4:
		holds = rflags & RFLAGS_SF;
		break;
	case 5:
		holds = rflags & RFLAGS_PF;
		break;
	case 6:
		holds = less;
		break;
	default:
		holds = less || (rflags & RFLAGS_ZF);
		break;
	}
	return holds != (condition & 1);
}

bool replay_go_near(struct emulate *e, u64 target, unsigned int size)
{
	target &= size_mask(size);
	if (e->insn->mode == DECODE_64 ? !emulate_canonical(e, target)
				       : target > e->sys.segment[SEGMENT_CS].limit)
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	e->next.rip = target;
	return true;
}

static bool go_relative(struct emulate *e)
{
	return replay_go_near(e, e->next.rip + e->insn->imm, e->insn->op_size);
}

static bool call(struct emulate *e, u64 target)
{
	u64 back = e->next.rip;

	return replay_go_near(e, target, e->insn->op_size) &&
	       replay_push(e, e->insn->op_size, back);
}

/* The target of an indirect branch, or of one by displacement. */
static bool get_target(struct emulate *e, u64 *target)
{
	if (e->insn->src.kind != OPERAND_IMM)
		return replay_get(e, e->insn->src, e->insn->op_size, target);
	*target = e->next.rip + e->insn->imm;
	return true;
}

static bool go_back(struct emulate *e)
{
	unsigned int width = emulate_stack_size(e);
	u64 target;

	if (!replay_pop(e, e->insn->op_size, &target) ||
	    !replay_go_near(e, target, e->insn->op_size))
		return false;
	if (e->insn->imm_size)
		emulate_set_reg(e, reg_rsp, width,
				emulate_get_reg(e, reg_rsp, width) + (u16)e->insn->imm);
	return true;
}

static bool loop(struct emulate *e)
{
	unsigned int kind = e->insn->kind, size = e->insn->addr_size;
	u64 count = (emulate_get_reg(e, reg_rcx, size) - 1) & size_mask(size);
	bool zero = e->next.rflags & RFLAGS_ZF;

	emulate_set_reg(e, reg_rcx, size, count);
	if (!count || (kind == INSN_LOOPE && !zero) || (kind == INSN_LOOPNE && zero))
		return true;
	return go_relative(e);
}

bool replay_branch(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 target;

	switch (insn->kind) {
	case INSN_JCC:
		return !emulate_condition(e->next.rflags, insn->condition) || go_relative(e);
	case INSN_JMP:
		return get_target(e, &target) && replay_go_near(e, target, insn->op_size);
	case INSN_CALL:
		return get_target(e, &target) && call(e, target);
	case INSN_RET:
		return go_back(e);
	case INSN_JCXZ:
		return emulate_get_reg(e, reg_rcx, insn->addr_size) || go_relative(e);
	default: /* INSN_LOOPNE, INSN_LOOPE, INSN_LOOP */
		return loop(e);
	}
}
