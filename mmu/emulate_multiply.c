/* SPDX-License-Identifier: MIT */
/*
 * MUL, IMUL, DIV and IDIV (SDM 2A, 2B). Flags that the manual leaves undefined: SF, ZF, AF and PF
 * after a product, and all after a quotient, stay as they were.
 */
#include "mmu/emulate_internal.h"

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

static const struct insn_operand reg_rax = {OPERAND_REG, RAX}, reg_rdx = {OPERAND_REG, RDX},
				 reg_ah = {OPERAND_REG_HIGH, RAX};

/* The accumulator's upper half, for an operand of this size. */
static struct insn_operand upper(unsigned int size)
{
	return size == 1 ? reg_ah : reg_rdx;
}

static void set_overflow(struct emulate *e, bool on)
{
	e->next.rflags &= ~(RFLAGS_CF | RFLAGS_OF);
	if (on)
		e->next.rflags |= RFLAGS_CF | RFLAGS_OF;
}

static bool multiply_wide(struct emulate *e, u64 by)
{
	unsigned int size = e->insn->op_size;
	u64 a = emulate_get_reg(e, reg_rax, size), low, high;
	bool is_signed = e->insn->kind == INSN_IMUL_WIDE;
	u128 product;

	if (is_signed)
		product = (u128)((s128)size_sign_extend(a, size) * size_sign_extend(by, size));
	else
		product = (u128)a * by;
	low = (u64)product & size_mask(size);
	high = (u64)(product >> (8 * size)) & size_mask(size);
	/* 32 bits into RAX and RDX clear their upper halves; AH is written last, over AL's neighbour. */
	emulate_set_reg(e, reg_rax, size, low);
	emulate_set_reg(e, upper(size), size, high);
	if (is_signed)
		set_overflow(e, (s128)product != size_sign_extend(low, size));
	else
		set_overflow(e, high);
	return true;
}

static bool multiply(struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int size = insn->op_size;
	u64 a, b = insn->imm;
	s128 product;

	if (!replay_get(e, insn->src, size, &a))
		return false;
	if (!insn->imm_size)
		b = emulate_get_reg(e, insn->dst, size);
	product = (s128)size_sign_extend(a, size) * size_sign_extend(b, size);
	emulate_set_reg(e, insn->dst, size, (u64)product);
	set_overflow(e, product != size_sign_extend((u64)product, size));
	return true;
}

/*
 * high:low by `by`, which is above high: the quotient has 64 bits. By the instruction, since a
 * division of 128 bits would be a library's.
 */
static u64 divide_64(u64 high, u64 low, u64 by, u64 *rest)
{
	u64 quotient;

	__asm__("divq %4" : "=a"(quotient), "=d"(*rest) : "0"(low), "1"(high), "r"(by) : "cc");
	return quotient;
}

/* false: #DE. The operands have `size` bytes each. */
static bool divide_unsigned(u64 high, u64 low, u64 by, unsigned int size, u64 *quotient, u64 *rest)
{
	if (high >= by)
		return false;
	if (size == 8) {
		*quotient = divide_64(high, low, by, rest);
	} else {
		u64 whole = high << (8 * size) | low;

		*quotient = whole / by;
		*rest = whole % by;
	}
	return true;
}

static void negate_wide(u64 *high, u64 *low, unsigned int size)
{
	*low = -*low & size_mask(size);
	*high = (~*high + !*low) & size_mask(size);
}

static bool divide_signed(u64 high, u64 low, u64 by, unsigned int size, u64 *quotient, u64 *rest)
{
	bool minus = size_sign_extend(high, size) < 0, minus_by = size_sign_extend(by, size) < 0;
	u64 most = size_mask(size) >> 1;

	if (minus)
		negate_wide(&high, &low, size);
	if (minus_by)
		by = -by & size_mask(size);
	if (!divide_unsigned(high, low, by, size, quotient, rest))
		return false;
	if (*quotient > most + (minus != minus_by))
		return false;
	if (minus != minus_by)
		*quotient = -*quotient;
	if (minus)
		*rest = -*rest;
	return true;
}

static bool divide(struct emulate *e, u64 by)
{
	unsigned int size = e->insn->op_size;
	u64 low = emulate_get_reg(e, reg_rax, size), high = emulate_get_reg(e, upper(size), size);
	u64 quotient, rest;
	bool fits;

	if (e->insn->kind == INSN_IDIV)
		fits = divide_signed(high, low, by, size, &quotient, &rest);
	else
		fits = divide_unsigned(high, low, by, size, &quotient, &rest);
	if (!fits)
		return replay_fault(e, EMULATE_VECTOR_DE, 0);
	emulate_set_reg(e, reg_rax, size, quotient);
	emulate_set_reg(e, upper(size), size, rest);
	return true;
}

bool replay_multiply(struct emulate *e)
{
	u64 by;

	if (e->insn->kind == INSN_IMUL)
		return multiply(e);
	if (!replay_get(e, e->insn->src, e->insn->op_size, &by))
		return false;
	if (e->insn->kind == INSN_MUL || e->insn->kind == INSN_IMUL_WIDE)
		return multiply_wide(e, by);
	return divide(e, by);
}
