/* SPDX-License-Identifier: MIT */
/* Which of its kinds an instruction is, and what its operands are. */
#include "mmu/decode_internal.h"

#define RM_VMLAUNCH 2 /* 0F 01 C2; VMRESUME and VMXOFF are the next */
#define RM_VMXOFF   4
#define RM_MONITOR  0 /* 0F 01 C8 */
#define RM_MWAIT    1 /* 0F 01 C9 */
#define RM_XGETBV   0 /* 0F 01 D0 */
#define RM_XSETBV   1 /* 0F 01 D1 */
#define RM_VMFUNC   4 /* 0F 01 D4 */
#define RM_CLAC	    2 /* 0F 01 CA */
#define RM_STAC	    3 /* 0F 01 CB */
#define RM_RDTSCP   1 /* 0F 01 F9 */
#define REG_CLFLUSH 7 /* 0F AE /7 */

#define OPCODE_LES 0xc4 /* LDS is the next; LSS, LFS and LGS are below */

static_assert(INSN_TZCNT - INSN_BSF == INSN_LZCNT - INSN_BSR, "ATTR_F3_COUNT counts on");

static struct insn_operand reg_operand(const struct decoder *d, unsigned int reg, u8 rex_bit,
				       u8 size)
{
	/* Without any REX, 4 to 7 name the high bytes of the first four (SDM 2A 3.1.1.1). */
	if (size == 1 && !d->rex && reg >= 4)
		return (struct insn_operand){OPERAND_REG_HIGH, (u8)(reg - 4)};
	return (struct insn_operand){OPERAND_REG, (u8)(reg | (d->rex & rex_bit ? 8 : 0))};
}

static struct insn_operand make_operand(const struct decoder *d, u8 source, u8 size)
{
	switch ((enum operand_source)source) {
	case FROM_E:
		if (d->mod != 3)
			return (struct insn_operand){OPERAND_MEM, 0};
		return reg_operand(d, d->rm, REX_B, size);
	case FROM_G:
		return reg_operand(d, d->reg, REX_R, size);
	case FROM_Z:
		return reg_operand(d, d->opcode & 7, REX_B, size);
	case FROM_ACC:
		return (struct insn_operand){OPERAND_REG, RAX};
	case FROM_DX:
		return (struct insn_operand){OPERAND_REG, RDX};
	case FROM_CL:
		return (struct insn_operand){OPERAND_REG, RCX};
	case FROM_RM:
		return (struct insn_operand){OPERAND_REG, (u8)(d->rm | (d->rex & REX_B ? 8 : 0))};
	case FROM_IMM:
		return (struct insn_operand){OPERAND_IMM, 0};
	case FROM_MOFFS:
		return (struct insn_operand){OPERAND_MEM, 0};
	case FROM_NONE:
		break;
	}
	return (struct insn_operand){OPERAND_NONE, 0};
}

/* Which segment, control or debug register the instruction names. */
static u8 special_reg(const struct decoder *d)
{
	if (d->op.attr & ATTR_SREG)
		return (d->opcode >> 3) & 7;
	if (d->op.check == CHECK_SREG || d->op.check == CHECK_SREG_LOAD)
		return d->reg;
	if (d->op.kind != INSN_LOAD_FAR)
		return d->reg | (d->rex & REX_R ? 8 : 0);
	if (d->opcode >= OPCODE_LES)
		return d->opcode == OPCODE_LES ? SEGMENT_ES : SEGMENT_DS;
	return d->opcode & 7;
}

/*
 * Opcode 90 with REX.B is XCHG unless F3 makes it PAUSE; the register forms of SGDT and its like are
 * VMX and others.
 */
static bool is_another(const struct decoder *d, const struct insn *out)
{
	if (d->op.check == CHECK_GROUP7_REG)
		return d->mod == 3;
	/* With a prefix, or in memory, others; RDRAND and RDSEED have 66 as an operand size. */
	if (d->op.check == CHECK_FENCE)
		return d->mod != 3 || decode_prefix(d, out) != PFX_NP;
	if (d->op.check == CHECK_RANDOM)
		return d->mod != 3 || out->repeat;
	return d->op.kind == INSN_NOP && !(d->op.attr & ATTR_MODRM) && (d->rex & REX_B) &&
	       out->repeat != REPEAT_E;
}

/* FNINIT and its like, of D9, DB, DD and DF; the register forms have a ModRM of their own each. */
static bool classify_x87(const struct decoder *d, struct insn *out)
{
	bool memory = d->mod != 3;

	out->op_size = out->src_size = 2;
	if (memory && d->opcode == 0xd9 && d->reg >= 5 && d->reg != 6) {
		out->kind = d->reg == 5 ? INSN_FLDCW : INSN_FNSTCW;
		out->src = out->dst = make_operand(d, FROM_E, 2);
	} else if (memory ? d->opcode == 0xdd && d->reg == 7
			  : d->opcode == 0xdf && d->reg == 4 && d->rm == 0) {
		out->kind = INSN_FNSTSW;
		out->dst = make_operand(d, memory ? FROM_E : FROM_ACC, 2);
	} else if (!memory && d->opcode == 0xdb && d->reg == 4 && d->rm == 3) {
		out->kind = INSN_FNINIT;
	}
	return out->kind != INSN_OTHER;
}

static bool classify_vector(const struct decoder *d, struct insn *out)
{
	u8 reg = d->reg | (d->rex & REX_R ? 8 : 0);

	if (d->op.check == CHECK_X87)
		return classify_x87(d, out);
	return (d->op.attr & ATTR_XMM) && d->mod != 3 &&
	       decode_xmm_move(out, d->opcode, decode_prefix(d, out), reg, d->rex & REX_W);
}

/* Instructions that share an opcode with those of the tables. */
static enum insn_kind other_kind(const struct decoder *d, const struct insn *out)
{
	static const u8 by_sidt[8] = {
		[RM_MONITOR] = INSN_UD,
		[RM_MWAIT] = INSN_UD,
		[RM_CLAC] = INSN_CLAC,
		[RM_STAC] = INSN_STAC,
	};
	static const u8 by_lgdt[8] = {
		[RM_XGETBV] = INSN_XGETBV,
		[RM_XSETBV] = INSN_XSETBV,
		[RM_VMFUNC] = INSN_UD,
	};

	switch (d->op.kind) {
	case INSN_SGDT:
		return d->rm >= RM_VMLAUNCH && d->rm <= RM_VMXOFF ? INSN_UD : INSN_OTHER;
	case INSN_SIDT:
		return (enum insn_kind)by_sidt[d->rm];
	case INSN_LGDT:
		return (enum insn_kind)by_lgdt[d->rm];
	case INSN_RDRAND: /* in memory VMPTRLD, VMCLEAR and VMXON, and VMPTRST */
	case INSN_RDSEED:
		return d->mod != 3 ? INSN_UD : INSN_OTHER;
	case INSN_INVLPG:
		return d->rm == RM_RDTSCP ? INSN_RDTSCP : INSN_OTHER;
	case INSN_FENCE:
		if (d->mod != 3 && d->reg == REG_CLFLUSH && decode_prefix(d, out) == PFX_NP)
			return INSN_CLFLUSH;
		return INSN_OTHER;
	default:
		return INSN_OTHER;
	}
}

void decode_classify(const struct decoder *d, struct insn *out)
{
	if (classify_vector(d, out))
		return;
	if ((d->op.attr & ATTR_NOT_REP) && out->repeat)
		return;
	if (is_another(d, out)) {
		out->kind = (u8)other_kind(d, out);
		return;
	}
	out->kind = d->op.kind;
	if ((d->op.attr & ATTR_F3_COUNT) && out->repeat == REPEAT_E)
		out->kind += INSN_TZCNT - INSN_BSF;
	out->condition = d->opcode & 0xf;
	out->reg = special_reg(d);
	out->dst = make_operand(d, d->op.dst, out->op_size);
	out->src = make_operand(d, d->op.src, out->src_size);
}
