/* SPDX-License-Identifier: MIT */
/*
 * Decimal arithmetic (SDM 2A AAA.., DAA, DAS). Flags that the manual leaves undefined: OF is
 * clear, and so are SF, ZF and PF after AAA and AAS, CF and AF after AAM and AAD.
 */
#include "mmu/emulate_internal.h"

static const struct insn_operand reg_rax = {OPERAND_REG, RAX};

static void set_flags(struct emulate *e, u64 flags)
{
	e->next.rflags = (e->next.rflags & ~RFLAGS_STATUS) | flags;
}

/* Two digits in AL. */
static bool adjust_packed(struct emulate *e, bool add)
{
	unsigned int old = (unsigned int)e->next.gpr[RAX] & 0xff, al = old;
	bool carry = e->next.rflags & RFLAGS_CF, half = e->next.rflags & RFLAGS_AF;
	bool high = old > 0x99 || carry;
	u64 flags = 0;

	if ((al & 0xf) > 9 || half) {
		al = add ? al + 6 : al - 6;
		flags |= RFLAGS_AF;
		/* DAS keeps the borrow of this, DAA takes only what follows. */
		carry = carry || al > 0xff;
	}
	if (high)
		al = add ? al + 0x60 : al - 0x60;
	if (high || (!add && carry && (flags & RFLAGS_AF)))
		flags |= RFLAGS_CF;
	al &= 0xff;
	emulate_set_reg(e, reg_rax, 1, al);
	set_flags(e, flags | alu_result_flags(al, 1));
	return true;
}

/* One digit in AL, its carry into AH. */
static bool adjust_unpacked(struct emulate *e, bool add)
{
	u64 ax = e->next.gpr[RAX] & 0xffff, flags = 0;

	if ((ax & 0xf) > 9 || (e->next.rflags & RFLAGS_AF)) {
		ax = add ? ax + 0x106 : ax - 0x106;
		flags = RFLAGS_AF | RFLAGS_CF;
	}
	emulate_set_reg(e, reg_rax, 2, ax & 0xff0f);
	set_flags(e, flags);
	return true;
}

static bool split(struct emulate *e)
{
	u64 base = e->insn->imm, al = e->next.gpr[RAX] & 0xff;

	if (!base)
		return replay_fault(e, EMULATE_VECTOR_DE, 0);
	emulate_set_reg(e, reg_rax, 2, (al / base) << 8 | al % base);
	set_flags(e, alu_result_flags(al % base, 1));
	return true;
}

static bool join(struct emulate *e)
{
	u64 ax = e->next.gpr[RAX], al = (ax + (ax >> 8 & 0xff) * e->insn->imm) & 0xff;

	emulate_set_reg(e, reg_rax, 2, al);
	set_flags(e, alu_result_flags(al, 1));
	return true;
}

bool replay_decimal(struct emulate *e)
{
	switch (e->insn->kind) {
	case INSN_DAA:
	case INSN_DAS:
		return adjust_packed(e, e->insn->kind == INSN_DAA);
	case INSN_AAA:
	case INSN_AAS:
		return adjust_unpacked(e, e->insn->kind == INSN_AAA);
	case INSN_AAM:
		return split(e);
	default: /* INSN_AAD */
		return join(e);
	}
}
