/* SPDX-License-Identifier: MIT */
/*
 * The instruction decoder: finds out, from the bytes at a guest's RIP, how long the instruction
 * is and, for those that touch memory or ports in simple ways, what it does to which operands.
 * emulate.h executes the result.
 *
 * It knows the one-byte, 0F, 0F38 and 0F3A maps as Intel has them (SDM 2A-2D; the length rules are
 * SDM 2A chapter 2, the maps SDM 2D appendix A). MPX and CET are treated as absent or
 * harmless: where a CPU without them executes a reserved NOP, so does the table.
 *
 * Pure: any context, no locks. The bytes are a guest's and may be anything.
 */
#ifndef MMU_DECODE_H
#define MMU_DECODE_H

#include "kernel/base/types.h"
#include "mmu/regs.h"

#define INSN_MAX_LENGTH 15

/* What the code segment's L and D bits select (SDM 3A 3.4.5). Real mode is DECODE_16. */
enum decode_mode {
	DECODE_16,
	DECODE_32,
	DECODE_64
};

/* ADD to CMP stand in the order in which opcodes number them; so do BT to BTC. */
enum insn_kind {
	INSN_OTHER, /* valid, its length is right, and nothing else is promised */
	/* ADD to BTC read and write one place in memory at most, and use no segment but its. */
	INSN_ADD,
	INSN_OR,
	INSN_ADC,
	INSN_SBB,
	INSN_AND,
	INSN_SUB,
	INSN_XOR,
	INSN_CMP,
	INSN_TEST,
	INSN_NOT,
	INSN_NEG,
	INSN_INC,
	INSN_DEC,
	INSN_MOV,
	INSN_MOVZX,
	INSN_MOVSX, /* MOVSXD too */
	INSN_MOVBE,
	INSN_XCHG,
	INSN_CMPXCHG,
	INSN_CMPXCHG8B, /* CMPXCHG16B when op_size is 8 */
	INSN_XADD,
	INSN_BT,
	INSN_BTS,
	INSN_BTR,
	INSN_BTC, /* the last of them (mmu/emulate.c: is_plain) */
	INSN_PUSH,
	INSN_POP,
	INSN_MOVS,
	INSN_CMPS,
	INSN_STOS,
	INSN_LODS,
	INSN_SCAS,
	INSN_INS,
	INSN_OUTS,
	INSN_IN,
	INSN_OUT,
	/* Of the rest the first eight stand as ModRM.reg numbers them. */
	INSN_ROL,
	INSN_ROR,
	INSN_RCL,
	INSN_RCR,
	INSN_SHL,
	INSN_SHR,
	INSN_SAL, /* SHL by another number */
	INSN_SAR,
	INSN_SHLD,
	INSN_SHRD,
	INSN_MUL,
	INSN_IMUL_WIDE, /* one operand: the product has twice its size */
	INSN_DIV,
	INSN_IDIV,
	INSN_IMUL, /* two operands, or three: then the third is the immediate */
	INSN_BSF,
	INSN_BSR,
	INSN_TZCNT,
	INSN_LZCNT,
	INSN_POPCNT,
	INSN_BSWAP,
	INSN_SETCC,
	INSN_CMOVCC,
	INSN_LEA,
	INSN_XLAT,
	INSN_CBW, /* CWDE, CDQE */
	INSN_CWD, /* CDQ, CQO */
	INSN_LAHF,
	INSN_SAHF,
	INSN_SALC,
	INSN_BOUND,
	INSN_DAA,
	INSN_DAS,
	INSN_AAA,
	INSN_AAS,
	INSN_AAM,
	INSN_AAD,
	INSN_CLC,
	INSN_STC,
	INSN_CMC,
	INSN_CLD,
	INSN_STD,
	INSN_CLI,
	INSN_STI,
	INSN_FENCE, /* LFENCE, MFENCE, SFENCE */
	INSN_NOP,   /* PAUSE and the reserved ones of 0F 18 to 0F 1F too */
	INSN_JCC,
	INSN_JMP,
	INSN_CALL,
	INSN_RET,
	INSN_LOOPNE,
	INSN_LOOPE,
	INSN_LOOP,
	INSN_JCXZ,
	INSN_JMP_FAR,
	INSN_CALL_FAR,
	INSN_RET_FAR,
	INSN_INT,
	INSN_INT3,
	INSN_INTO,
	INSN_INT1,
	INSN_EVENT, /* no instruction: emulate_make_event makes it */
	INSN_IRET,
	INSN_PUSHA,
	INSN_POPA,
	INSN_PUSHF,
	INSN_POPF,
	INSN_ENTER,
	INSN_LEAVE,
	INSN_PUSH_SEG,
	INSN_POP_SEG,
	INSN_STORE_SEG, /* MOV r/m, Sreg */
	INSN_LOAD_SEG,	/* MOV Sreg, r/m */
	INSN_LOAD_FAR,	/* LES, LDS, LSS, LFS, LGS */
	INSN_LAR,
	INSN_LSL,
	INSN_VERR,
	INSN_VERW,
	INSN_ARPL,
	INSN_HLT,
	INSN_CPUID,
	INSN_RDTSC,
	INSN_RDTSCP,
	INSN_RDMSR,
	INSN_WRMSR,
	INSN_RDPMC,
	INSN_XSETBV,
	INSN_XGETBV,
	INSN_CLAC,
	INSN_STAC,
	INSN_RDRAND,
	INSN_RDSEED,
	INSN_CLTS,
	INSN_LMSW,
	INSN_SMSW,
	INSN_SGDT,
	INSN_SIDT,
	INSN_LGDT,
	INSN_LIDT,
	INSN_SLDT,
	INSN_STR,
	INSN_LLDT,
	INSN_LTR,
	INSN_CLFLUSH,
	INSN_SYSENTER, /* SYSEXIT too */
	INSN_INVPCID,
	INSN_INVLPG,
	INSN_STORE_CR, /* MOV r, CR */
	INSN_LOAD_CR,
	INSN_STORE_DR,
	INSN_LOAD_DR,
	INSN_INVD,    /* WBINVD too */
	INSN_UD,      /* UD0 to UD2; RSM, GETSEC, MONITOR, MWAIT, VMX's but VMCALL: no guest's */
	INSN_MOV_XMM, /* between memory and an XMM register */
	INSN_FNINIT,
	INSN_FNSTSW,
	INSN_FNSTCW,
	INSN_FLDCW,
	INSN_KIND_COUNT
};

enum insn_operand_kind {
	OPERAND_NONE,
	OPERAND_REG,	  /* gpr[reg], its low op_size (or src_size) bytes */
	OPERAND_REG_HIGH, /* AH, CH, DH or BH: bits 15:8 of gpr[reg] */
	OPERAND_MEM,	  /* insn.mem */
	OPERAND_IMM,	  /* insn.imm */
	OPERAND_XMM	  /* XMM register number reg */
};

/* In the order in which instructions and segment registers are numbered (SDM 2D table 3-1). */
enum insn_segment {
	SEGMENT_ES,
	SEGMENT_CS,
	SEGMENT_SS,
	SEGMENT_DS,
	SEGMENT_FS,
	SEGMENT_GS
};
#define SEGMENT_COUNT 6

enum insn_repeat {
	REPEAT_NONE,
	REPEAT_NE,
	REPEAT_E
}; /* F2, F3: the last one counts */

/* In insn_memory.base and .index: not a number of a register in guest_regs. */
#define INSN_REG_RIP  0x10
#define INSN_REG_NONE 0xff

struct insn_operand {
	u8 kind; /* enum insn_operand_kind */
	u8 reg;	 /* enum gpr */
};

/* address = segment base + ((base + index * scale + disp) cut to addr_size) */
struct insn_memory {
	bool present;
	u8 segment; /* enum insn_segment: the override, or the default of the base register */
	u8 base;    /* enum gpr, INSN_REG_RIP (the *next* instruction's) or INSN_REG_NONE */
	u8 index;   /* enum gpr or INSN_REG_NONE */
	u8 scale;   /* 1, 2, 4, 8; 0 without an index */
	s64 disp;   /* sign-extended */
};

/* String instructions have no operands here: their kind says all. mem.segment is the source's. */
struct insn {
	u8 length; /* bytes, 1 to INSN_MAX_LENGTH */
	u8 kind;   /* enum insn_kind */
	u8 mode;   /* enum decode_mode */
	u8 op_size; /* bytes of the operands: 1, 2, 4, 8, of MOV_XMM 16 too; not meaningful for INSN_OTHER */
	bool aligned; /* MOV_XMM: memory must be, to 16 bytes */
	u8 src_size;  /* bytes of src: differs from op_size where one is wider than the other */
	u8 addr_size; /* bytes: 2, 4, 8 */
	u8 repeat;    /* enum insn_repeat */
	bool lock;    /* has a LOCK prefix, which is then legal */
	u8 imm_size;  /* bytes the immediate occupies; 0: none */
	u8 condition; /* JCC, SETCC, CMOVCC: the opcode's low four bits (SDM 1 appendix B) */
	u8 reg;	      /* of kinds ending in _SEG, _CR and _DR, LOAD_FAR: that register's number */
	struct insn_operand dst, src;
	struct insn_memory mem;
	u64 imm; /* sign-extended from its size to 64 bits, but for ports and bit numbers */
	/* The second immediate: a far pointer's selector; ENTER's nesting level. */
	u16 imm2;
};

/*
 * Decode the instruction that begins at bytes[0]; n bytes are there to be read, and none beyond
 * the instruction's end is looked at. On any error *out is not to be used. Returns
 *   0           decoded
 *   ERR_AGAIN   the n bytes end within the instruction: call again with more
 *   ERR_INVAL   no such instruction, or a prefix or operand it must not have: #UD
 *   ERR_RANGE   longer than 15 bytes: #GP(0) (SDM 2A 2.3.11)
 *   ERR_NOTSUP  VEX, EVEX or XOP encoding, which this decoder does not know
 */
int decode_insn(struct insn *out, const u8 *bytes, size_t n, enum decode_mode mode) __must_check;

/* A MOV of 32 bits between a register, or from an immediate, and memory. */
struct insn_mov {
	u8 length;
	bool load; /* from memory */
	u8 reg;	   /* enum gpr, or INSN_REG_NONE: imm */
	u32 imm;
};

/*
 * true: the bytes begin with such a MOV in one of its common encodings without prefixes but REX, and
 * decode_insn would say the same of it. false: decode_insn knows. For where the time that
 * decode_insn takes counts.
 */
bool decode_mov(struct insn_mov *out, const u8 bytes[INSN_MAX_LENGTH], enum decode_mode mode);

/*
 * Of such a MOV: the low 32 bits of its operand's offset in the data segment. false: it is in the
 * stack's, or made of what is not in gpr[], RIP and RSP.
 */
bool decode_mov_offset(u32 *out, const u8 bytes[INSN_MAX_LENGTH], enum decode_mode mode,
		       const u64 gpr[GPR_COUNT]);

#endif
