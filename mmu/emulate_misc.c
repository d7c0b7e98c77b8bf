/* SPDX-License-Identifier: MIT */
/* Bit scans and counts, conversions, what copies flags and what sets them. */
#include "mmu/emulate_internal.h"

static const struct insn_operand reg_rax = {OPERAND_REG, RAX}, reg_rdx = {OPERAND_REG, RDX},
				 reg_ah = {OPERAND_REG_HIGH, RAX};

/* With 0 the destination stays; of the flags only ZF is defined. */
static bool scan(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 v;

	if (!replay_get(e, insn->src, insn->op_size, &v))
		return false;
	e->next.rflags &= ~RFLAGS_ZF;
	if (!v)
		e->next.rflags |= RFLAGS_ZF;
	else if (insn->kind == INSN_BSF || insn->kind == INSN_TZCNT)
		emulate_set_reg(e, insn->dst, insn->op_size, (u64)__builtin_ctzll(v));
	else
		emulate_set_reg(e, insn->dst, insn->op_size, 63 - (u64)__builtin_clzll(v));
	return true;
}

static unsigned int ones(u64 v)
{
	unsigned int n = 0;

	for (; v; v &= v - 1)
		n++;
	return n;
}

/*
 * Of the flags but CF and ZF nothing is said. On a CPU without these F3 counts for nothing, and they
 * are the scans (SDM 2A LZCNT, 2B TZCNT).
 */
static bool count_zeros(struct emulate *e)
{
	const struct insn *insn = e->insn;
	bool leading = insn->kind == INSN_LZCNT;
	unsigned int bits = 8 * insn->op_size, n;
	u64 has = 0, v;

	if (!replay_ask(e, EMULATE_FEATURE, leading ? FEATURE_LZCNT : FEATURE_BMI1, &has))
		return false;
	if (!has)
		return scan(e);
	if (!replay_get(e, insn->src, insn->op_size, &v))
		return false;
	if (leading)
		n = v ? (unsigned int)__builtin_clzll(v) - (64 - bits) : bits;
	else
		n = v ? (unsigned int)__builtin_ctzll(v) : bits;
	e->next.rflags &= ~(RFLAGS_CF | RFLAGS_ZF);
	e->next.rflags |= (v ? 0 : RFLAGS_CF) | (n ? 0 : RFLAGS_ZF);
	emulate_set_reg(e, insn->dst, insn->op_size, n);
	return true;
}

static bool count_ones(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 v;

	if (!replay_need_feature(e, FEATURE_POPCNT) || !replay_get(e, insn->src, insn->op_size, &v))
		return false;
	e->next.rflags = (e->next.rflags & ~RFLAGS_STATUS) | (v ? 0 : RFLAGS_ZF);
	emulate_set_reg(e, insn->dst, insn->op_size, ones(v));
	return true;
}

static bool move_if(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 v;

	/* The source is read, and the upper half of a 32-bit destination cleared, in any case. */
	if (!replay_get(e, insn->src, insn->op_size, &v))
		return false;
	if (!emulate_condition(e->next.rflags, insn->condition))
		v = emulate_get_reg(e, insn->dst, insn->op_size);
	emulate_set_reg(e, insn->dst, insn->op_size, v);
	return true;
}

/* With 16 bits undefined; CPUs give 0. */
static bool swap_bytes(struct emulate *e)
{
	unsigned int size = e->insn->op_size;
	u64 v = emulate_get_reg(e, e->insn->dst, size);

	v = size == 2 ? 0 : __builtin_bswap64(v) >> (64 - 8 * size);
	emulate_set_reg(e, e->insn->dst, size, v);
	return true;
}

static bool translate(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 offset = e->next.gpr[RBX] + (e->next.gpr[RAX] & 0xff), v;

	if (!replay_read(e, insn->mem.segment, offset & size_mask(insn->addr_size), 1, &v))
		return false;
	emulate_set_reg(e, reg_rax, 1, v);
	return true;
}

static bool convert(struct emulate *e)
{
	unsigned int size = e->insn->op_size;
	u64 a = e->next.gpr[RAX];

	if (e->insn->kind == INSN_CBW)
		emulate_set_reg(e, reg_rax, size, (u64)size_sign_extend(a, size / 2));
	else
		emulate_set_reg(e, reg_rdx, size, size_sign_extend(a, size) < 0 ? ~0ull : 0);
	return true;
}

/*
 * The lower bound and the upper one behind it, both allowed (SDM 2A, BOUND). Intel's CPUs do not read
 * the upper one of what is below the lower.
 */
static bool check_bounds(struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int size = insn->op_size;
	u64 at = emulate_offset(e), low, high;
	s64 index = size_sign_extend(emulate_get_reg(e, insn->dst, size), size);

	if (!replay_read(e, insn->mem.segment, at, size, &low))
		return false;
	if (index < size_sign_extend(low, size))
		return replay_fault(e, EMULATE_VECTOR_BR, 0);
	at = (at + size) & size_mask(insn->addr_size);
	if (!replay_read(e, insn->mem.segment, at, size, &high))
		return false;
	return index <= size_sign_extend(high, size) || replay_fault(e, EMULATE_VECTOR_BR, 0);
}

#define AH_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF)

bool replay_bits(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 *flags = &e->next.rflags;

	switch (insn->kind) {
	case INSN_BSF:
	case INSN_BSR:
		return scan(e);
	case INSN_TZCNT:
	case INSN_LZCNT:
		return count_zeros(e);
	case INSN_POPCNT:
		return count_ones(e);
	case INSN_BSWAP:
		return swap_bytes(e);
	case INSN_SETCC:
		return replay_set(e, insn->dst, 1, emulate_condition(*flags, insn->condition));
	case INSN_CMOVCC:
		return move_if(e);
	case INSN_LEA:
		emulate_set_reg(e, insn->dst, insn->op_size, emulate_offset(e));
		return true;
	case INSN_XLAT:
		return translate(e);
	case INSN_LAHF:
		emulate_set_reg(e, reg_ah, 1, (*flags & AH_FLAGS) | BIT(1));
		return true;
	case INSN_SAHF:
		*flags = (*flags & ~AH_FLAGS) | (emulate_get_reg(e, reg_ah, 1) & AH_FLAGS);
		return true;
	case INSN_SALC:
		emulate_set_reg(e, reg_rax, 1, *flags & RFLAGS_CF ? 0xff : 0);
		return true;
	case INSN_BOUND:
		return check_bounds(e);
	default: /* INSN_CBW, INSN_CWD */
		return convert(e);
	}
}

/* SDM 2A CLI, 2B STI, without virtual interrupts. */
static bool change_if(struct emulate *e, bool on)
{
	u32 iopl = (u32)(e->next.rflags >> RFLAGS_IOPL_SHIFT) & 3;

	if (e->cpu->cpl > iopl)
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	if (on && !(e->next.rflags & RFLAGS_IF))
		e->effects |= EMULATE_STI_SHADOW;
	e->next.rflags &= ~RFLAGS_IF;
	if (on)
		e->next.rflags |= RFLAGS_IF;
	return true;
}

bool replay_flags(struct emulate *e)
{
	u64 *flags = &e->next.rflags;

	switch (e->insn->kind) {
	case INSN_CLC:
		*flags &= ~RFLAGS_CF;
		break;
	case INSN_STC:
		*flags |= RFLAGS_CF;
		break;
	case INSN_CMC:
		*flags ^= RFLAGS_CF;
		break;
	case INSN_CLD:
		*flags &= ~RFLAGS_DF;
		break;
	case INSN_STD:
		*flags |= RFLAGS_DF;
		break;
	case INSN_CLI:
		return change_if(e, false);
	case INSN_STI:
		return change_if(e, true);
	default: /* INSN_NOP; INSN_FENCE: no access of Weir's is weaker than x86 orders them */
		break;
	}
	return true;
}
