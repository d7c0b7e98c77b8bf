/* SPDX-License-Identifier: MIT */
/*
 * The opcode maps as constant tables, for decode.c only. Pure data: any context, no locks.
 */
#ifndef MMU_DECODE_TABLES_H
#define MMU_DECODE_TABLES_H

#include "kernel/base/types.h"

/* What follows the opcode, ModRM, SIB and displacement. */
enum imm_type {
	IMM_NONE,
	IMM_8,
	IMM_8U, /* a port, vector, bit number or count: not sign-extended */
	IMM_16,
	IMM_Z,	  /* operand size, but 4 bytes when that is 8 */
	IMM_V,	  /* operand size, 8 bytes too (MOV register, imm64) */
	IMM_J,	  /* near branch: as Z, but in 64-bit mode 66 has no say */
	IMM_FAR,  /* offset of operand size and selector */
	IMM_16_8, /* ENTER */
	IMM_MOFFS /* address size: becomes a memory operand */
};

/* Where an operand comes from; the letters are those of SDM 2D A.2.1 where it has one. */
enum operand_source {
	FROM_NONE,
	FROM_E,	    /* ModRM.rm: register or memory */
	FROM_G,	    /* ModRM.reg */
	FROM_Z,	    /* the opcode's low three bits */
	FROM_ACC,   /* AL, AX, EAX, RAX */
	FROM_DX,    /* the port in DX */
	FROM_IMM,   /* the immediate */
	FROM_MOFFS, /* the immediate as an address */
	FROM_RM,    /* ModRM.rm, which is a register whatever ModRM.mod says */
	FROM_CL	    /* of the size that ATTR_SRC8 or ATTR_BYTE gives */
};

/*
 * `valid`: which mandatory prefix (none, 66, F3, F2) makes an instruction of the opcode, for the
 * memory form in the low half and the register form in the high half. 0: no instruction at all.
 */
#define PFX_NP	    0x1
#define PFX_66	    0x2
#define PFX_F3	    0x4
#define PFX_F2	    0x8
#define PFX_ANY	    0xf
#define FORM_MEM(p) (p)
#define FORM_REG(p) ((p) << 4)
#define FORM_ANY(p) (FORM_MEM(p) | FORM_REG(p))

#define ATTR_MODRM	BIT(0)
#define ATTR_BYTE	BIT(1)	/* operands of one byte */
#define ATTR_D64	BIT(2)	/* 64-bit mode: operand size 8 unless 66 */
#define ATTR_NO64	BIT(3)	/* not in 64-bit mode */
#define ATTR_ONLY64	BIT(4)	/* only in 64-bit mode */
#define ATTR_LOCK	BIT(5)	/* LOCK is legal with a memory operand */
#define ATTR_NO_MOD	BIT(6)	/* ModRM.mod is ignored: always a register (MOV CR, MOV DR) */
#define ATTR_RM0	BIT(7)	/* the register form exists for rm 0 only */
#define ATTR_SRC8	BIT(8)	/* src is one byte */
#define ATTR_SRC16	BIT(9)	/* src is two bytes */
#define ATTR_SRC32	BIT(10) /* src is four bytes */
#define ATTR_NOT_REP	BIT(11) /* with F2 or F3 it is another instruction, of kind OTHER */
#define ATTR_KIND64	BIT(12) /* outside 64-bit mode it is ARPL */
#define ATTR_REP_ONLY64 BIT(13) /* the register form with F3 exists in 64-bit mode only */
#define ATTR_NO_66	BIT(14) /* operand size 4, or 8 with REX.W: 66 has no say */
#define ATTR_MAX4	BIT(15) /* with REX.W the operand size is 4 */
#define ATTR_F64	BIT(16) /* 64-bit mode: operand size 8, whatever the prefixes */
#define ATTR_MEM16	BIT(17) /* an operand in memory is of two bytes */
#define ATTR_SREG	BIT(18) /* bits 5:3 of the opcode name a segment register */
#define ATTR_F3_COUNT	BIT(19) /* with F3 BSF and BSR are TZCNT and LZCNT, two kinds further on */

#define ATTR_XMM BIT(20) /* decode_xmm_move may know it */

/* Opcodes whose validity hangs on more than prefixes: which register numbers exist. */
enum opcode_check {
	CHECK_NONE,
	CHECK_SREG,	 /* ModRM.reg is a segment register */
	CHECK_SREG_LOAD, /* ... and not CS */
	CHECK_CR,
	CHECK_DR,
	CHECK_X87,	  /* x87_memory, x87_register */
	CHECK_GROUP7_REG, /* group7_register */
	CHECK_FENCE,	  /* exists; it is a fence, CLFLUSH or of kind OTHER */
	CHECK_RANDOM,	  /* exists; it is RDRAND or RDSEED, or of kind OTHER */
};

/* Named as in SDM 2D table A-6; WIDE_KEY is AESENCWIDE128KL and its like. */
enum opcode_group {
	GROUP_NONE,
	GROUP_1,
	GROUP_1A,
	GROUP_2,
	GROUP_3,
	GROUP_4,
	GROUP_5,
	GROUP_6,
	GROUP_7,
	GROUP_8,
	GROUP_9,
	GROUP_11,
	GROUP_12_13,
	GROUP_14,
	GROUP_15,
	GROUP_WIDE_KEY,
	GROUP_HRESET,
	GROUP_COUNT
};

struct opcode {
	u8 kind;  /* enum insn_kind */
	u8 dst;	  /* enum operand_source */
	u8 src;	  /* enum operand_source */
	u8 imm;	  /* enum imm_type */
	u8 valid; /* FORM_* */
	u8 check; /* enum opcode_check */
	u8 group; /* enum opcode_group: ModRM.reg selects from opcode_groups[group]; 0: no group */
	u32 attr; /* ATTR_* */
};

extern const struct opcode opcode_one_byte[256];
extern const struct opcode opcode_0f[256];
extern const struct opcode opcode_0f38[256];
extern const struct opcode opcode_0f3a[256];
/*
 * decode_xmm.c: what of 0F `opcode` with that mandatory prefix (PFX_*) and memory moves XMM register
 * `reg`; `wide` is REX.W. false: none does.
 */
struct insn;
bool decode_xmm_move(struct insn *out, u8 opcode, u8 prefix, u8 reg, bool wide);

extern const struct opcode opcode_arpl; /* what opcode 63 is outside 64-bit mode */

/* Entries add to the opcode that leads to them: attributes are joined, an immediate is kept. */
extern const struct opcode opcode_groups[][8];

/* D8 to DF: bit ModRM.reg for memory, bit (ModRM & 0x3f) for registers, set where one exists. */
extern const u8 x87_memory[8];
extern const u64 x87_register[8];

/*
 * 0F 01 with mod 3: PFX_* for each (ModRM & 0x3f). GROUP7_ONLY64(p): with the prefixes p it exists
 * in 64-bit mode only.
 */
#define GROUP7_ONLY64(p) ((p) << 4)
extern const u8 group7_register[64];

#endif
