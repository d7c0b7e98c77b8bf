/* SPDX-License-Identifier: MIT */
/* One iteration of a string instruction (SDM 1 7.3.9, 2B REP). */
#include "mmu/emulate_internal.h"

enum phase {
	PHASE_BEGIN,
	PHASE_HAVE_SOURCE, /* e->value holds what RSI points at */
	PHASE_HAVE_SECOND, /* e->value holds what RDI points at, or the port gave */
	PHASE_ADVANCE
};

static const struct insn_operand reg_rax = {OPERAND_REG, RAX}, reg_rcx = {OPERAND_REG, RCX},
				 reg_rsi = {OPERAND_REG, RSI}, reg_rdi = {OPERAND_REG, RDI};

static bool uses_rsi(unsigned int kind)
{
	return kind == INSN_MOVS || kind == INSN_CMPS || kind == INSN_LODS || kind == INSN_OUTS;
}

static bool uses_rdi(unsigned int kind)
{
	return kind != INSN_LODS && kind != INSN_OUTS;
}

static bool compares(unsigned int kind)
{
	return kind == INSN_CMPS || kind == INSN_SCAS;
}

static void advance_pointer(struct emulate *e, struct insn_operand reg)
{
	const struct insn *insn = e->insn;
	u64 step = e->next.rflags & RFLAGS_DF ? -(u64)insn->op_size : insn->op_size;

	emulate_set_reg(e, reg, insn->addr_size, e->next.gpr[reg.reg] + step);
}

/* Is this the last iteration? REP alone ends with the count, REPE and REPNE by ZF as well. */
static bool count_down(struct emulate *e)
{
	const struct insn *insn = e->insn;
	bool equal = e->next.rflags & RFLAGS_ZF;
	u64 count;

	if (insn->repeat == REPEAT_NONE)
		return true;
	count = emulate_get_reg(e, reg_rcx, insn->addr_size) - 1;
	emulate_set_reg(e, reg_rcx, insn->addr_size, count);
	if (!count)
		return true;
	return compares(insn->kind) && equal != (insn->repeat == REPEAT_E);
}

static enum emulate_step advance(struct emulate *e)
{
	if (uses_rsi(e->insn->kind))
		advance_pointer(e, reg_rsi);
	if (uses_rdi(e->insn->kind))
		advance_pointer(e, reg_rdi);
	return emulate_commit(e, count_down(e));
}

static enum emulate_step access_rdi(struct emulate *e, enum emulate_step step)
{
	u64 offset = emulate_get_reg(e, reg_rdi, e->insn->addr_size);

	return emulate_access(e, SEGMENT_ES, offset, e->insn->op_size, step);
}

/* The source, if there is one, is in e->first. */
static enum emulate_step second_access(struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int size = insn->op_size;

	e->port = (u16)e->next.gpr[RDX];
	e->size = (u8)size;
	e->value = e->first;
	e->phase = PHASE_ADVANCE;
	switch (insn->kind) {
	case INSN_CMPS:
	case INSN_SCAS:
		e->phase = PHASE_HAVE_SECOND;
		return access_rdi(e, EMULATE_READ);
	case INSN_INS:
		e->phase = PHASE_HAVE_SECOND;
		return access_rdi(e, EMULATE_IN);
	case INSN_LODS:
		emulate_set_reg(e, reg_rax, size, e->first);
		return advance(e);
	case INSN_OUTS:
		return EMULATE_OUT;
	case INSN_STOS:
		e->value = emulate_get_reg(e, reg_rax, size);
		return access_rdi(e, EMULATE_WRITE);
	default: /* INSN_MOVS */
		return access_rdi(e, EMULATE_WRITE);
	}
}

static enum emulate_step use_second(struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int size = insn->op_size;
	u64 left = insn->kind == INSN_CMPS ? e->first : emulate_get_reg(e, reg_rax, size);

	if (compares(insn->kind)) {
		alu_binary(INSN_CMP, left, e->value, size, &e->next.rflags);
		return advance(e);
	}
	e->value &= size_mask(size); /* INS */
	e->phase = PHASE_ADVANCE;
	return EMULATE_WRITE;
}

static void truncate(struct emulate *e, struct insn_operand reg)
{
	emulate_set_reg(e, reg, e->insn->addr_size, emulate_get_reg(e, reg, e->insn->addr_size));
}

/*
 * No iteration at all. Intel's CPUs write the count back all the same, and MOVS and STOS their
 * pointers: with 32-bit addresses the upper halves are gone. The manual does not say so.
 */
static enum emulate_step no_iteration(struct emulate *e)
{
	unsigned int kind = e->insn->kind;

	truncate(e, reg_rcx);
	if (kind == INSN_MOVS)
		truncate(e, reg_rsi);
	if (kind == INSN_MOVS || kind == INSN_STOS)
		truncate(e, reg_rdi);
	return emulate_commit(e, true);
}

enum emulate_step emulate_next_string(struct emulate *e)
{
	const struct insn *insn = e->insn;

	switch ((enum phase)e->phase) {
	case PHASE_BEGIN:
		if (insn->repeat != REPEAT_NONE && !emulate_get_reg(e, reg_rcx, insn->addr_size))
			return no_iteration(e);
		if (!uses_rsi(insn->kind))
			return second_access(e);
		e->phase = PHASE_HAVE_SOURCE;
		return emulate_access(e, (enum insn_segment)insn->mem.segment,
				      emulate_get_reg(e, reg_rsi, insn->addr_size), insn->op_size,
				      EMULATE_READ);
	case PHASE_HAVE_SOURCE:
		e->first = e->value & size_mask(insn->op_size);
		return second_access(e);
	case PHASE_HAVE_SECOND:
		return use_second(e);
	case PHASE_ADVANCE:
		break;
	}
	return advance(e);
}

/* --- A page at a time ------------------------------------------------------------------------ */

/* That many bytes after RDI it may store, and the linear address is so many after gva. */
static bool stores_at(struct emulate *e, u64 gva, u64 after)
{
	u64 offset = emulate_get_reg(e, reg_rdi, e->insn->addr_size) + after;

	return emulate_access(e, SEGMENT_ES, offset & size_mask(e->insn->addr_size),
			      e->insn->op_size, EMULATE_WRITE) == EMULATE_WRITE &&
	       e->gva == gva + after;
}

/* Else the offsets begin again at 0 within the page, where another part of the segment is. */
static bool goes_straight_on(struct emulate *e)
{
	u64 last = size_mask(e->insn->addr_size) - (PAGE_SIZE - 1);

	return emulate_get_reg(e, reg_rdi, e->insn->addr_size) <= last;
}

/* Where it may store to the first and, straight on, to the last, it may store to all between. */
bool emulate_fills_page(struct emulate *e, u64 gva, u64 *word)
{
	const struct insn *insn = e->insn;
	unsigned int size = insn->op_size;

	if (insn->kind != INSN_STOS || insn->repeat == REPEAT_NONE ||
	    (e->next.rflags & RFLAGS_DF) ||
	    emulate_get_reg(e, reg_rcx, insn->addr_size) < PAGE_SIZE / size ||
	    !goes_straight_on(e) || !stores_at(e, gva, 0) || !stores_at(e, gva, PAGE_SIZE - size))
		return false;
	*word = emulate_get_reg(e, reg_rax, size) * (~0ull / size_mask(size));
	return true;
}

void emulate_page_filled(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 left = emulate_get_reg(e, reg_rcx, insn->addr_size) - PAGE_SIZE / insn->op_size;

	emulate_set_reg(e, reg_rcx, insn->addr_size, left);
	emulate_set_reg(e, reg_rdi, insn->addr_size, e->next.gpr[RDI] + PAGE_SIZE);
	(void)emulate_commit(e, !left);
}
