/* SPDX-License-Identifier: MIT */
/* LAR, LSL, VERR, VERW (SDM 2A, 2B): what a selector would give, without a fault; and ARPL. */
#include "mmu/emulate_internal.h"

#define LAR_BITS 0x00ffff00u

/* Bit n: a system descriptor of type n has it (SDM 2A, tables of LAR and LSL). */
#define LAR_TYPES      0x1a3eu /* TSS, LDT, call and task gates */
#define LAR_TYPES_LONG 0x1a04u
#define LSL_TYPES      0x0a0eu /* what has a limit */
#define LSL_TYPES_LONG 0x0a04u

static bool type_fits(const struct emulate *e, u32 access)
{
	bool code = access & ACCESS_CODE;
	u32 types;

	switch (e->insn->kind) {
	case INSN_LAR:
		types = e->cpu->long_mode ? LAR_TYPES_LONG : LAR_TYPES;
		break;
	case INSN_LSL:
		types = e->cpu->long_mode ? LSL_TYPES_LONG : LSL_TYPES;
		break;
	case INSN_VERR:
		return (access & ACCESS_S) && (!code || (access & ACCESS_READABLE));
	default: /* INSN_VERW */
		return (access & ACCESS_S) && !code && (access & ACCESS_WRITABLE);
	}
	return access & ACCESS_S || types >> (access & 0xf) & 1;
}

/* Conforming code is seen from any level. */
static bool level_fits(const struct emulate *e, u32 access, u16 selector)
{
	u32 conforming = ACCESS_S | ACCESS_CODE | ACCESS_CONFORMING;
	u32 level = max((u32)e->cpu->cpl, selector & 3u);

	return (access & conforming) == conforming || level <= ACCESS_DPL(access);
}

static bool look(struct emulate *e)
{
	const struct insn *insn = e->insn;
	struct descriptor d;
	bool found = false;
	u64 selector;

	if (!replay_get(e, insn->src, 2, &selector))
		return false;
	if ((selector & ~3ull) && !replay_find_descriptor(e, (u16)selector, &d, &found))
		return false;
	e->next.rflags &= ~RFLAGS_ZF;
	if (!found || !type_fits(e, d.segment.access) ||
	    !level_fits(e, d.segment.access, (u16)selector))
		return true;
	e->next.rflags |= RFLAGS_ZF;
	if (insn->kind == INSN_LAR)
		emulate_set_reg(e, insn->dst, insn->op_size, d.raw >> 32 & LAR_BITS);
	else if (insn->kind == INSN_LSL)
		emulate_set_reg(e, insn->dst, insn->op_size, d.segment.limit);
	return true;
}

static bool adjust(struct emulate *e)
{
	u64 selector, rpl = emulate_get_reg(e, e->insn->src, 2) & 3;

	if (!replay_get_to_change(e, e->insn->dst, 2, &selector))
		return false;
	e->next.rflags &= ~RFLAGS_ZF;
	if ((selector & 3) >= rpl)
		return true;
	e->next.rflags |= RFLAGS_ZF;
	return replay_set(e, e->insn->dst, 2, (selector & ~3ull) | rpl);
}

bool replay_verify(struct emulate *e)
{
	if (!e->cpu->protected_mode)
		return replay_fault(e, EMULATE_VECTOR_UD, 0);
	return e->insn->kind == INSN_ARPL ? adjust(e) : look(e);
}
