/* SPDX-License-Identifier: MIT */
/* PUSH and POP, which touch memory twice, and IN and OUT. */
#include "mmu/emulate_internal.h"

enum phase {
	PHASE_BEGIN,
	PHASE_SECOND,
	PHASE_COMMIT
};

static const struct insn_operand reg_rsp = {OPERAND_REG, RSP};

unsigned int emulate_stack_size(const struct emulate *e)
{
	if (e->insn->mode == DECODE_64)
		return 8;
	return e->cpu->segment[SEGMENT_SS].access & ACCESS_BIG ? 4 : 2;
}

static enum emulate_step access_operand(struct emulate *e, enum emulate_step step)
{
	return emulate_access(e, (enum insn_segment)e->insn->mem.segment, emulate_offset(e),
			      e->insn->op_size, step);
}

static enum emulate_step push_value(struct emulate *e, u64 value)
{
	unsigned int size = e->insn->op_size, width = emulate_stack_size(e);
	u64 rsp = (emulate_get_reg(e, reg_rsp, width) - size) & size_mask(width);

	e->value = value & size_mask(size);
	e->phase = PHASE_COMMIT;
	emulate_set_reg(e, reg_rsp, width, rsp);
	return emulate_access(e, SEGMENT_SS, rsp, size, EMULATE_WRITE);
}

static enum emulate_step next_push(struct emulate *e)
{
	const struct insn *insn = e->insn;

	if (e->phase == PHASE_SECOND)
		return push_value(e, e->value);
	if (e->phase == PHASE_COMMIT)
		return emulate_commit(e, true);
	if (insn->src.kind == OPERAND_MEM) {
		e->phase = PHASE_SECOND;
		return access_operand(e, EMULATE_READ);
	}
	if (insn->src.kind == OPERAND_IMM)
		return push_value(e, insn->imm);
	return push_value(e, emulate_get_reg(e, insn->src, insn->op_size));
}

static enum emulate_step next_pop(struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int width = emulate_stack_size(e);
	u64 rsp = emulate_get_reg(e, reg_rsp, width);

	if (e->phase == PHASE_COMMIT)
		return emulate_commit(e, true);
	if (e->phase == PHASE_BEGIN) {
		e->phase = PHASE_SECOND;
		return emulate_access(e, SEGMENT_SS, rsp, insn->op_size, EMULATE_READ);
	}
	/* RSP moves first: an address made with it, or itself as destination, sees the new one. */
	emulate_set_reg(e, reg_rsp, width, rsp + insn->op_size);
	e->value &= size_mask(insn->op_size);
	if (insn->dst.kind == OPERAND_MEM) {
		e->phase = PHASE_COMMIT;
		return access_operand(e, EMULATE_WRITE);
	}
	emulate_set_reg(e, insn->dst, insn->op_size, e->value);
	return emulate_commit(e, true);
}

enum emulate_step emulate_next_stack(struct emulate *e)
{
	return e->insn->kind == INSN_PUSH ? next_push(e) : next_pop(e);
}

enum emulate_step emulate_next_port(struct emulate *e)
{
	const struct insn *insn = e->insn;
	bool in = insn->kind == INSN_IN;
	struct insn_operand port = in ? insn->src : insn->dst;

	if (e->phase == PHASE_COMMIT) {
		if (in)
			emulate_set_reg(e, insn->dst, insn->op_size, e->value);
		return emulate_commit(e, true);
	}
	e->phase = PHASE_COMMIT;
	e->size = insn->op_size;
	e->port = (u16)(port.kind == OPERAND_IMM ? insn->imm : e->next.gpr[RDX]);
	if (in)
		return EMULATE_IN;
	e->value = emulate_get_reg(e, insn->src, insn->op_size);
	return EMULATE_OUT;
}
