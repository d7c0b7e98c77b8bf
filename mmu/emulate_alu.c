/* SPDX-License-Identifier: MIT */
/* Arithmetic, logic and bit operations with their flags (SDM 1 appendix A). */
#include "mmu/emulate_internal.h"

#define RESULT_FLAGS (RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF)
#define ALL_FLAGS    (RESULT_FLAGS | RFLAGS_CF | RFLAGS_AF | RFLAGS_OF)

u64 alu_result_flags(u64 result, unsigned int size)
{
	u64 flags = 0;

	if (!__builtin_parity((unsigned int)(result & 0xff)))
		flags |= RFLAGS_PF;
	if (!(result & size_mask(size)))
		flags |= RFLAGS_ZF;
	if (result >> (8 * size - 1) & 1)
		flags |= RFLAGS_SF;
	return flags;
}

/*
 * carry: for each bit, whether it carried (or borrowed) into the next; overflow: bit n set where
 * the sign would be wrong if n were the top bit.
 */
static u64 carry_flags(u64 carry, u64 overflow, unsigned int size)
{
	unsigned int top = 8 * size - 1;
	u64 flags = 0;

	if (carry >> top & 1)
		flags |= RFLAGS_CF;
	if (carry >> 3 & 1)
		flags |= RFLAGS_AF;
	if (overflow >> top & 1)
		flags |= RFLAGS_OF;
	return flags;
}

static u64 add(u64 a, u64 b, u64 carry_in, unsigned int size, u64 *flags)
{
	u64 result = a + b + carry_in;

	*flags = alu_result_flags(result, size) |
		 carry_flags((a & b) | ((a | b) & ~result), (a ^ result) & (b ^ result), size);
	return result;
}

static u64 subtract(u64 a, u64 b, u64 borrow_in, unsigned int size, u64 *flags)
{
	u64 result = a - b - borrow_in;

	*flags = alu_result_flags(result, size) |
		 carry_flags((~a & b) | ((~a | b) & result), (a ^ b) & (a ^ result), size);
	return result;
}

u64 alu_binary(enum insn_kind kind, u64 a, u64 b, unsigned int size, u64 *rflags)
{
	u64 carry = kind == INSN_ADC || kind == INSN_SBB ? *rflags & RFLAGS_CF : 0;
	u64 result = 0, flags = 0;

	switch (kind) {
	case INSN_ADD:
	case INSN_ADC:
		result = add(a, b, carry, size, &flags);
		break;
	case INSN_SUB:
	case INSN_SBB:
	case INSN_CMP:
		result = subtract(a, b, carry, size, &flags);
		break;
	case INSN_AND:
	case INSN_TEST:
		result = a & b;
		flags = alu_result_flags(result, size);
		break;
	case INSN_OR:
		result = a | b;
		flags = alu_result_flags(result, size);
		break;
	default: /* INSN_XOR */
		result = a ^ b;
		flags = alu_result_flags(result, size);
		break;
	}
	*rflags = (*rflags & ~ALL_FLAGS) | flags;
	return result & size_mask(size);
}

u64 alu_unary(enum insn_kind kind, u64 a, unsigned int size, u64 *rflags)
{
	u64 keep = kind == INSN_NEG ? 0 : RFLAGS_CF; /* INC and DEC leave CF alone */
	u64 result, flags;

	if (kind == INSN_NOT)
		return ~a & size_mask(size);
	if (kind == INSN_INC)
		result = add(a, 1, 0, size, &flags);
	else if (kind == INSN_DEC)
		result = subtract(a, 1, 0, size, &flags);
	else
		result = subtract(0, a, 0, size, &flags);
	*rflags = (*rflags & (~ALL_FLAGS | keep)) | (flags & ~keep);
	return result & size_mask(size);
}

u64 alu_bit(enum insn_kind kind, u64 a, unsigned int bit, u64 *rflags)
{
	*rflags = (*rflags & ~RFLAGS_CF) | (a >> bit & 1 ? RFLAGS_CF : 0);
	if (kind == INSN_BTS)
		return a | BIT(bit);
	if (kind == INSN_BTR)
		return a & ~BIT(bit);
	if (kind == INSN_BTC)
		return a ^ BIT(bit);
	return a;
}
