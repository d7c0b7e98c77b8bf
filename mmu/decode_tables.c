/* SPDX-License-Identifier: MIT */
/*
 * The one-byte map and the 0F map with their groups (SDM 2D A.3 and A.4). The 0F38 and 0F3A maps
 * are in decode_tables_sse.c.
 */
#include "mmu/decode.h"
#include "mmu/decode_tables.h"

#define ANY	    FORM_ANY(PFX_ANY)
#define MEMORY	    FORM_MEM(PFX_ANY)
#define NP_66	    (PFX_NP | PFX_66)
#define ALL_ATTR(a) (ATTR_MODRM | (a))

/* No ModRM and no operands that matter. */
#define PLAIN(im, at)                                       \
	{                                                   \
		.valid = ANY, .imm = IMM_##im, .attr = (at) \
	}
#define MODRM_MEMORY(at)                              \
	{                                             \
		.valid = MEMORY, .attr = ALL_ATTR(at) \
	}
#define MODRM_CHECK(c, at)                                             \
	{                                                              \
		.valid = ANY, .check = CHECK_##c, .attr = ALL_ATTR(at) \
	}
#define VECTOR(v, im)                                                        \
	{                                                                    \
		.valid = (v), .imm = IMM_##im, .attr = ATTR_MODRM | ATTR_XMM \
	}
#define GROUP(g, im, at)                                                                \
	{                                                                               \
		.valid = ANY, .group = GROUP_##g, .imm = IMM_##im, .attr = ALL_ATTR(at) \
	}
#define OP(k, d, s, im, at)                                                                        \
	{                                                                                          \
		.kind = INSN_##k, .dst = FROM_##d, .src = FROM_##s, .imm = IMM_##im, .valid = ANY, \
		.attr = (at)                                                                       \
	}
#define OP_E(k, d, s, im, at) OP(k, d, s, im, ALL_ATTR(at))
/* A kind of its own, whose operands nothing names but the kind, or the immediate alone. */
#define BARE(k, at)	  OP(k, NONE, NONE, NONE, at)
#define OP_IMM(k, im, at) OP(k, NONE, IMM, im, at)
#define OP_MEM(k, d, s, at)                                                          \
	{                                                                            \
		.kind = INSN_##k, .dst = FROM_##d, .src = FROM_##s, .valid = MEMORY, \
		.attr = ALL_ATTR(at)                                                 \
	}
#define OP_CHECK(k, d, s, c, at)                                                  \
	{                                                                         \
		.kind = INSN_##k, .dst = FROM_##d, .src = FROM_##s, .valid = ANY, \
		.check = CHECK_##c, .attr = ALL_ATTR(at)                          \
	}
#define GROUP_SRC(g, s, im, at)                                                     \
	{                                                                           \
		.valid = ANY, .group = GROUP_##g, .src = FROM_##s, .imm = IMM_##im, \
		.attr = ALL_ATTR(at)                                                \
	}

/* The six forms in which ADD to CMP open the one-byte map. */
#define ALU(base, k, lock)                                                                       \
	[(base)] = OP_E(k, E, G, NONE, ATTR_BYTE | (lock)),                                      \
	[(base) + 1] = OP_E(k, E, G, NONE, lock), [(base) + 2] = OP_E(k, G, E, NONE, ATTR_BYTE), \
	[(base) + 3] = OP_E(k, G, E, NONE, 0), [(base) + 4] = OP(k, ACC, IMM, 8, ATTR_BYTE),     \
	[(base) + 5] = OP(k, ACC, IMM, Z, 0)

const struct opcode opcode_one_byte[256] = {
	ALU(0x00, ADD, ATTR_LOCK),
	[0x06] = BARE(PUSH_SEG, ATTR_SREG | ATTR_NO64),
	[0x07] = BARE(POP_SEG, ATTR_SREG | ATTR_NO64),
	ALU(0x08, OR, ATTR_LOCK),
	[0x0e] = BARE(PUSH_SEG, ATTR_SREG | ATTR_NO64),
	ALU(0x10, ADC, ATTR_LOCK),
	[0x16] = BARE(PUSH_SEG, ATTR_SREG | ATTR_NO64),
	[0x17] = BARE(POP_SEG, ATTR_SREG | ATTR_NO64),
	ALU(0x18, SBB, ATTR_LOCK),
	[0x1e] = BARE(PUSH_SEG, ATTR_SREG | ATTR_NO64),
	[0x1f] = BARE(POP_SEG, ATTR_SREG | ATTR_NO64),
	ALU(0x20, AND, ATTR_LOCK),
	[0x27] = BARE(DAA, ATTR_NO64),
	ALU(0x28, SUB, ATTR_LOCK),
	[0x2f] = BARE(DAS, ATTR_NO64),
	ALU(0x30, XOR, ATTR_LOCK),
	[0x37] = BARE(AAA, ATTR_NO64),
	ALU(0x38, CMP, 0),
	[0x3f] = BARE(AAS, ATTR_NO64),
	[0x40 ... 0x47] = OP(INC, Z, NONE, NONE, ATTR_NO64),
	[0x48 ... 0x4f] = OP(DEC, Z, NONE, NONE, ATTR_NO64),
	[0x50 ... 0x57] = OP(PUSH, NONE, Z, NONE, ATTR_D64),
	[0x58 ... 0x5f] = OP(POP, Z, NONE, NONE, ATTR_D64),
	[0x60] = BARE(PUSHA, ATTR_NO64),
	[0x61] = BARE(POPA, ATTR_NO64),
	[0x62] = OP_MEM(BOUND, G, E, ATTR_NO64),
	[0x63] = OP_E(MOVSX, G, E, NONE, ATTR_SRC32 | ATTR_KIND64),
	[0x68] = OP(PUSH, NONE, IMM, Z, ATTR_D64),
	[0x69] = OP_E(IMUL, G, E, Z, 0),
	[0x6a] = OP(PUSH, NONE, IMM, 8, ATTR_D64),
	[0x6b] = OP_E(IMUL, G, E, 8, 0),
	[0x6c] = OP(INS, NONE, NONE, NONE, ATTR_BYTE),
	[0x6d] = OP(INS, NONE, NONE, NONE, ATTR_MAX4),
	[0x6e] = OP(OUTS, NONE, NONE, NONE, ATTR_BYTE),
	[0x6f] = OP(OUTS, NONE, NONE, NONE, ATTR_MAX4),
	[0x70 ... 0x7f] = OP_IMM(JCC, 8, ATTR_F64),
	[0x80] = GROUP(1, 8, ATTR_BYTE),
	[0x81] = GROUP(1, Z, 0),
	[0x82] = GROUP(1, 8, ATTR_BYTE | ATTR_NO64),
	[0x83] = GROUP(1, 8, 0),
	[0x84] = OP_E(TEST, E, G, NONE, ATTR_BYTE),
	[0x85] = OP_E(TEST, E, G, NONE, 0),
	[0x86] = OP_E(XCHG, E, G, NONE, ATTR_BYTE | ATTR_LOCK),
	[0x87] = OP_E(XCHG, E, G, NONE, ATTR_LOCK),
	[0x88] = OP_E(MOV, E, G, NONE, ATTR_BYTE),
	[0x89] = OP_E(MOV, E, G, NONE, 0),
	[0x8a] = OP_E(MOV, G, E, NONE, ATTR_BYTE),
	[0x8b] = OP_E(MOV, G, E, NONE, 0),
	[0x8c] = OP_CHECK(STORE_SEG, E, NONE, SREG, ATTR_MEM16),
	[0x8d] = OP_MEM(LEA, G, E, 0),
	[0x8e] = OP_CHECK(LOAD_SEG, NONE, E, SREG_LOAD, ATTR_SRC16),
	[0x8f] = GROUP(1A, NONE, ATTR_D64),
	[0x90] = BARE(NOP, 0),
	[0x91 ... 0x97] = OP(XCHG, ACC, Z, NONE, 0),
	[0x98] = BARE(CBW, 0),
	[0x99] = BARE(CWD, 0),
	[0x9a] = OP_IMM(CALL_FAR, FAR, ATTR_NO64),
	[0x9b] = PLAIN(NONE, 0),
	[0x9c] = BARE(PUSHF, ATTR_D64),
	[0x9d] = BARE(POPF, ATTR_D64),
	[0x9e] = BARE(SAHF, 0),
	[0x9f] = BARE(LAHF, 0),
	[0xa0] = OP(MOV, ACC, MOFFS, MOFFS, ATTR_BYTE),
	[0xa1] = OP(MOV, ACC, MOFFS, MOFFS, 0),
	[0xa2] = OP(MOV, MOFFS, ACC, MOFFS, ATTR_BYTE),
	[0xa3] = OP(MOV, MOFFS, ACC, MOFFS, 0),
	[0xa4] = OP(MOVS, NONE, NONE, NONE, ATTR_BYTE),
	[0xa5] = OP(MOVS, NONE, NONE, NONE, 0),
	[0xa6] = OP(CMPS, NONE, NONE, NONE, ATTR_BYTE),
	[0xa7] = OP(CMPS, NONE, NONE, NONE, 0),
	[0xa8] = OP(TEST, ACC, IMM, 8, ATTR_BYTE),
	[0xa9] = OP(TEST, ACC, IMM, Z, 0),
	[0xaa] = OP(STOS, NONE, NONE, NONE, ATTR_BYTE),
	[0xab] = OP(STOS, NONE, NONE, NONE, 0),
	[0xac] = OP(LODS, NONE, NONE, NONE, ATTR_BYTE),
	[0xad] = OP(LODS, NONE, NONE, NONE, 0),
	[0xae] = OP(SCAS, NONE, NONE, NONE, ATTR_BYTE),
	[0xaf] = OP(SCAS, NONE, NONE, NONE, 0),
	[0xb0 ... 0xb7] = OP(MOV, Z, IMM, 8, ATTR_BYTE),
	[0xb8 ... 0xbf] = OP(MOV, Z, IMM, V, 0),
	[0xc0] = GROUP_SRC(2, IMM, 8U, ATTR_BYTE),
	[0xc1] = GROUP_SRC(2, IMM, 8U, ATTR_SRC8),
	[0xc2] = OP_IMM(RET, 16, ATTR_F64),
	[0xc3] = BARE(RET, ATTR_F64),
	[0xc4 ... 0xc5] = OP_MEM(LOAD_FAR, G, E, ATTR_NO64),
	[0xc6] = GROUP(11, 8, ATTR_BYTE),
	[0xc7] = GROUP(11, Z, 0),
	[0xc8] = OP_IMM(ENTER, 16_8, ATTR_D64),
	[0xc9] = BARE(LEAVE, ATTR_D64),
	[0xca] = OP_IMM(RET_FAR, 16, 0),
	[0xcb] = BARE(RET_FAR, 0),
	[0xcc] = BARE(INT3, 0),
	[0xcd] = OP_IMM(INT, 8U, 0),
	[0xce] = BARE(INTO, ATTR_NO64),
	[0xcf] = BARE(IRET, 0),
	[0xd0] = GROUP(2, NONE, ATTR_BYTE),
	[0xd1] = GROUP(2, NONE, 0),
	[0xd2] = GROUP_SRC(2, CL, NONE, ATTR_BYTE),
	[0xd3] = GROUP_SRC(2, CL, NONE, ATTR_SRC8),
	[0xd4] = OP_IMM(AAM, 8U, ATTR_NO64),
	[0xd5] = OP_IMM(AAD, 8U, ATTR_NO64),
	[0xd6] = BARE(SALC, ATTR_NO64), /* in no map, in every CPU */
	[0xd7] = BARE(XLAT, ATTR_BYTE),
	[0xd8 ... 0xdf] = MODRM_CHECK(X87, 0),
	[0xe0] = OP_IMM(LOOPNE, 8, ATTR_F64),
	[0xe1] = OP_IMM(LOOPE, 8, ATTR_F64),
	[0xe2] = OP_IMM(LOOP, 8, ATTR_F64),
	[0xe3] = OP_IMM(JCXZ, 8, ATTR_F64),
	[0xe4] = OP(IN, ACC, IMM, 8U, ATTR_BYTE),
	[0xe5] = OP(IN, ACC, IMM, 8U, ATTR_MAX4),
	[0xe6] = OP(OUT, IMM, ACC, 8U, ATTR_BYTE),
	[0xe7] = OP(OUT, IMM, ACC, 8U, ATTR_MAX4),
	[0xe8] = OP_IMM(CALL, J, ATTR_F64),
	[0xe9] = OP_IMM(JMP, J, ATTR_F64),
	[0xea] = OP_IMM(JMP_FAR, FAR, ATTR_NO64),
	[0xeb] = OP_IMM(JMP, 8, ATTR_F64),
	[0xec] = OP(IN, ACC, DX, NONE, ATTR_BYTE),
	[0xed] = OP(IN, ACC, DX, NONE, ATTR_MAX4),
	[0xee] = OP(OUT, DX, ACC, NONE, ATTR_BYTE),
	[0xef] = OP(OUT, DX, ACC, NONE, ATTR_MAX4),
	[0xf1] = BARE(INT1, 0),
	[0xf4] = BARE(HLT, 0),
	[0xf5] = BARE(CMC, 0),
	[0xf6] = GROUP(3, NONE, ATTR_BYTE),
	[0xf7] = GROUP(3, NONE, 0),
	[0xf8] = BARE(CLC, 0),
	[0xf9] = BARE(STC, 0),
	[0xfa] = BARE(CLI, 0),
	[0xfb] = BARE(STI, 0),
	[0xfc] = BARE(CLD, 0),
	[0xfd] = BARE(STD, 0),
	[0xfe] = GROUP(4, NONE, ATTR_BYTE),
	[0xff] = GROUP(5, NONE, 0),
};

/* Vector opcodes by the prefixes that make an instruction of them: all four, or fewer. */
#define V_ALL	VECTOR(FORM_ANY(PFX_ANY), NONE)
#define V_NP_66 VECTOR(FORM_ANY(NP_66), NONE)
#define V_66	VECTOR(FORM_ANY(PFX_66), NONE)

const struct opcode opcode_0f[256] = {
	[0x00] = GROUP(6, NONE, 0),
	[0x01] = GROUP(7, NONE, 0),
	[0x02] = OP_E(LAR, G, E, NONE, ATTR_SRC16),
	[0x03] = OP_E(LSL, G, E, NONE, ATTR_SRC16),
	[0x05] = PLAIN(NONE, ATTR_ONLY64),
	[0x06] = BARE(CLTS, 0),
	[0x07] = PLAIN(NONE, ATTR_ONLY64),
	[0x08 ... 0x09] = BARE(INVD, 0),
	[0x0b] = BARE(UD, 0),
	[0x0d] = OP_E(NOP, NONE, NONE, NONE, 0),
	[0x10 ... 0x11] = V_ALL,
	[0x12] = VECTOR(FORM_MEM(PFX_ANY) | FORM_REG(PFX_NP | PFX_F3 | PFX_F2), NONE),
	[0x13] = VECTOR(FORM_MEM(NP_66), NONE),
	[0x14 ... 0x15] = V_NP_66,
	[0x16] = VECTOR(FORM_MEM(NP_66 | PFX_F3) | FORM_REG(PFX_NP | PFX_F3), NONE),
	[0x17] = VECTOR(FORM_MEM(NP_66), NONE),
	[0x18 ... 0x1f] = OP_E(NOP, NONE, NONE, NONE, 0),
	[0x20] = OP_CHECK(STORE_CR, RM, NONE, CR, ATTR_NO_MOD | ATTR_F64),
	[0x21] = OP_CHECK(STORE_DR, RM, NONE, DR, ATTR_NO_MOD | ATTR_F64),
	[0x22] = OP_CHECK(LOAD_CR, NONE, RM, CR, ATTR_NO_MOD | ATTR_F64),
	[0x23] = OP_CHECK(LOAD_DR, NONE, RM, DR, ATTR_NO_MOD | ATTR_F64),
	[0x28 ... 0x29] = V_NP_66,
	[0x2a] = V_ALL,
	[0x2b] = VECTOR(FORM_MEM(NP_66), NONE),
	[0x2c ... 0x2d] = V_ALL,
	[0x2e ... 0x2f] = V_NP_66,
	[0x30] = BARE(WRMSR, 0),
	[0x31] = BARE(RDTSC, 0),
	[0x32] = BARE(RDMSR, 0),
	[0x33] = BARE(RDPMC, 0),
	[0x34 ... 0x35] = BARE(SYSENTER, 0),
	[0x37] = {.kind = INSN_UD, .valid = FORM_ANY(PFX_NP)}, /* GETSEC */
	[0x40 ... 0x4f] = OP_E(CMOVCC, G, E, NONE, 0),
	[0x50] = VECTOR(FORM_REG(NP_66), NONE),
	[0x51] = V_ALL,
	[0x52 ... 0x53] = VECTOR(FORM_ANY(PFX_NP | PFX_F3), NONE),
	[0x54 ... 0x57] = V_NP_66,
	[0x58 ... 0x5a] = V_ALL,
	[0x5b] = VECTOR(FORM_ANY(NP_66 | PFX_F3), NONE),
	[0x5c ... 0x5f] = V_ALL,
	[0x60 ... 0x6b] = V_NP_66,
	[0x6c ... 0x6d] = V_66,
	[0x6e] = V_NP_66,
	[0x6f] = VECTOR(FORM_ANY(NP_66 | PFX_F3), NONE),
	[0x70] = VECTOR(FORM_ANY(PFX_ANY), 8U),
	[0x71 ... 0x72] = {.valid = FORM_REG(NP_66),
			   .group = GROUP_12_13,
			   .imm = IMM_8U,
			   .attr = ATTR_MODRM},
	[0x73] = {.valid = FORM_REG(NP_66), .group = GROUP_14, .imm = IMM_8U, .attr = ATTR_MODRM},
	[0x74 ... 0x76] = V_NP_66,
	[0x77] = {.valid = FORM_ANY(PFX_NP)},
	/* VMREAD, VMWRITE */
	[0x78 ... 0x79] = {.kind = INSN_UD, .valid = FORM_ANY(PFX_NP), .attr = ATTR_MODRM},
	[0x7c ... 0x7d] = VECTOR(FORM_ANY(PFX_66 | PFX_F2), NONE),
	[0x7e ... 0x7f] = VECTOR(FORM_ANY(NP_66 | PFX_F3), NONE),
	[0x80 ... 0x8f] = OP_IMM(JCC, J, ATTR_F64),
	[0x90 ... 0x9f] = OP_E(SETCC, E, NONE, NONE, ATTR_BYTE),
	[0xa0] = BARE(PUSH_SEG, ATTR_SREG | ATTR_D64),
	[0xa1] = BARE(POP_SEG, ATTR_SREG | ATTR_D64),
	[0xa2] = BARE(CPUID, 0),
	[0xa3] = OP_E(BT, E, G, NONE, 0),
	[0xa4] = OP_E(SHLD, E, G, 8U, 0),
	[0xa5] = OP_E(SHLD, E, G, NONE, 0),
	[0xa8] = BARE(PUSH_SEG, ATTR_SREG | ATTR_D64),
	[0xa9] = BARE(POP_SEG, ATTR_SREG | ATTR_D64),
	[0xaa] = BARE(UD, 0), /* RSM */
	[0xab] = OP_E(BTS, E, G, NONE, ATTR_LOCK),
	[0xac] = OP_E(SHRD, E, G, 8U, 0),
	[0xad] = OP_E(SHRD, E, G, NONE, 0),
	[0xae] = GROUP(15, NONE, 0),
	[0xaf] = OP_E(IMUL, G, E, NONE, 0),
	[0xb0] = OP_E(CMPXCHG, E, G, NONE, ATTR_BYTE | ATTR_LOCK),
	[0xb1] = OP_E(CMPXCHG, E, G, NONE, ATTR_LOCK),
	[0xb2] = OP_MEM(LOAD_FAR, G, E, 0),
	[0xb3] = OP_E(BTR, E, G, NONE, ATTR_LOCK),
	[0xb4 ... 0xb5] = OP_MEM(LOAD_FAR, G, E, 0),
	[0xb6] = OP_E(MOVZX, G, E, NONE, ATTR_SRC8),
	[0xb7] = OP_E(MOVZX, G, E, NONE, ATTR_SRC16),
	[0xb8] = {.kind = INSN_POPCNT,
		  .dst = FROM_G,
		  .src = FROM_E,
		  .valid = FORM_ANY(PFX_F3),
		  .attr = ATTR_MODRM},
	[0xb9] = OP_E(UD, NONE, NONE, NONE, 0), /* UD1 */
	[0xba] = GROUP(8, 8U, 0),
	[0xbb] = OP_E(BTC, E, G, NONE, ATTR_LOCK),
	[0xbc] = OP_E(BSF, G, E, NONE, ATTR_F3_COUNT), /* or TZCNT */
	[0xbd] = OP_E(BSR, G, E, NONE, ATTR_F3_COUNT), /* or LZCNT */
	[0xbe] = OP_E(MOVSX, G, E, NONE, ATTR_SRC8),
	[0xbf] = OP_E(MOVSX, G, E, NONE, ATTR_SRC16),
	[0xc0] = OP_E(XADD, E, G, NONE, ATTR_BYTE | ATTR_LOCK),
	[0xc1] = OP_E(XADD, E, G, NONE, ATTR_LOCK),
	[0xc2] = VECTOR(FORM_ANY(PFX_ANY), 8U),
	[0xc3] = {.kind = INSN_MOV, /* MOVNTI */
		  .dst = FROM_E,
		  .src = FROM_G,
		  .valid = FORM_MEM(PFX_NP),
		  .attr = ATTR_MODRM | ATTR_NO_66},
	[0xc4] = VECTOR(FORM_ANY(NP_66), 8U),
	[0xc5] = VECTOR(FORM_REG(NP_66), 8U),
	[0xc6] = VECTOR(FORM_ANY(NP_66), 8U),
	[0xc7] = GROUP(9, NONE, 0),
	[0xc8 ... 0xcf] = OP(BSWAP, Z, NONE, NONE, 0),
	[0xd0] = VECTOR(FORM_ANY(PFX_66 | PFX_F2), NONE),
	[0xd1 ... 0xd5] = V_NP_66,
	[0xd6] = VECTOR(FORM_MEM(PFX_66) | FORM_REG(PFX_66 | PFX_F3 | PFX_F2), NONE),
	[0xd7] = VECTOR(FORM_REG(NP_66), NONE),
	[0xd8 ... 0xe5] = V_NP_66,
	[0xe6] = VECTOR(FORM_ANY(PFX_66 | PFX_F3 | PFX_F2), NONE),
	[0xe7] = VECTOR(FORM_MEM(NP_66), NONE),
	[0xe8 ... 0xef] = V_NP_66,
	[0xf0] = VECTOR(FORM_MEM(PFX_F2), NONE),
	[0xf1 ... 0xf6] = V_NP_66,
	[0xf7] = VECTOR(FORM_REG(NP_66), NONE),
	[0xf8 ... 0xfe] = V_NP_66,
	[0xff] = OP_E(UD, NONE, NONE, NONE, 0), /* UD0 */
};

#define ENTRY(v, at)                       \
	{                                  \
		.valid = (v), .attr = (at) \
	}
#define ENTRY_IMM8(v)                       \
	{                                   \
		.valid = (v), .imm = IMM_8U \
	}

/* Of their register forms those without a prefix are LFENCE, MFENCE and SFENCE. */
#define FENCE(v)                                                       \
	{                                                              \
		.kind = INSN_FENCE, .valid = (v), .check = CHECK_FENCE \
	}

const struct opcode opcode_arpl = OP_E(ARPL, E, G, NONE, 0);

const struct opcode opcode_groups[][8] = {
	[GROUP_1] = {OP(ADD, E, IMM, NONE, ATTR_LOCK), OP(OR, E, IMM, NONE, ATTR_LOCK),
		     OP(ADC, E, IMM, NONE, ATTR_LOCK), OP(SBB, E, IMM, NONE, ATTR_LOCK),
		     OP(AND, E, IMM, NONE, ATTR_LOCK), OP(SUB, E, IMM, NONE, ATTR_LOCK),
		     OP(XOR, E, IMM, NONE, ATTR_LOCK), OP(CMP, E, IMM, NONE, 0)},
	[GROUP_1A] = {OP(POP, E, NONE, NONE, 0)},
	[GROUP_2] = {OP(ROL, E, NONE, NONE, 0), OP(ROR, E, NONE, NONE, 0),
		     OP(RCL, E, NONE, NONE, 0), OP(RCR, E, NONE, NONE, 0),
		     OP(SHL, E, NONE, NONE, 0), OP(SHR, E, NONE, NONE, 0),
		     OP(SAL, E, NONE, NONE, 0), OP(SAR, E, NONE, NONE, 0)},
	[GROUP_3] = {[2] = OP(NOT, E, NONE, NONE, ATTR_LOCK),
		     [3] = OP(NEG, E, NONE, NONE, ATTR_LOCK),
		     [0 ... 1] = OP(TEST, E, IMM, Z, 0),
		     [4] = OP(MUL, NONE, E, NONE, 0),
		     [5] = OP(IMUL_WIDE, NONE, E, NONE, 0),
		     [6] = OP(DIV, NONE, E, NONE, 0),
		     [7] = OP(IDIV, NONE, E, NONE, 0)},
	[GROUP_4] = {OP(INC, E, NONE, NONE, ATTR_LOCK), OP(DEC, E, NONE, NONE, ATTR_LOCK)},
	[GROUP_5] = {OP(INC, E, NONE, NONE, ATTR_LOCK), OP(DEC, E, NONE, NONE, ATTR_LOCK),
		     OP(CALL, NONE, E, NONE, ATTR_F64), OP_MEM(CALL_FAR, NONE, E, 0),
		     OP(JMP, NONE, E, NONE, ATTR_F64), OP_MEM(JMP_FAR, NONE, E, 0),
		     OP(PUSH, NONE, E, NONE, ATTR_D64)},
	[GROUP_6] = {OP(SLDT, E, NONE, NONE, ATTR_MEM16), OP(STR, E, NONE, NONE, ATTR_MEM16),
		     OP(LLDT, NONE, E, NONE, ATTR_SRC16), OP(LTR, NONE, E, NONE, ATTR_SRC16),
		     OP(VERR, NONE, E, NONE, ATTR_SRC16), OP(VERW, NONE, E, NONE, ATTR_SRC16)},
	/* The register forms of 0F 01 but SMSW and LMSW go by group7_register. */
	[GROUP_7] = {OP_CHECK(SGDT, NONE, NONE, GROUP7_REG, 0),
		     OP_CHECK(SIDT, NONE, NONE, GROUP7_REG, 0),
		     OP_CHECK(LGDT, NONE, NONE, GROUP7_REG, 0),
		     OP_CHECK(LIDT, NONE, NONE, GROUP7_REG, 0), OP(SMSW, E, NONE, NONE, ATTR_MEM16),
		     [5] = {.valid = FORM_MEM(PFX_F3) | FORM_REG(PFX_ANY),
			    .check = CHECK_GROUP7_REG},
		     [6] = OP(LMSW, NONE, E, NONE, ATTR_SRC16),
		     [7] = OP_CHECK(INVLPG, NONE, NONE, GROUP7_REG, 0)},
	[GROUP_8] = {[4] = OP(BT, E, IMM, NONE, 0),
		     [5] = OP(BTS, E, IMM, NONE, ATTR_LOCK),
		     [6] = OP(BTR, E, IMM, NONE, ATTR_LOCK),
		     [7] = OP(BTC, E, IMM, NONE, ATTR_LOCK)},
	[GROUP_9] = {[1] = {.kind = INSN_CMPXCHG8B,
			    .dst = FROM_E,
			    .valid = MEMORY,
			    .attr = ATTR_LOCK | ATTR_NO_66},
		     [3 ... 5] = ENTRY(FORM_MEM(PFX_NP), 0),
		     [6] = {.kind = INSN_RDRAND,
			    .dst = FROM_E,
			    .valid = FORM_MEM(NP_66 | PFX_F3) | FORM_REG(NP_66 | PFX_F3),
			    .check = CHECK_RANDOM,
			    .attr = ATTR_REP_ONLY64},
		     [7] = {.kind = INSN_RDSEED,
			    .dst = FROM_E,
			    .valid = FORM_MEM(PFX_NP) | FORM_REG(NP_66 | PFX_F3),
			    .check = CHECK_RANDOM}},
	[GROUP_11] = {OP(MOV, E, IMM, NONE, 0), [7] = ENTRY(FORM_REG(PFX_ANY), ATTR_RM0)},
	[GROUP_12_13] = {[2] = ENTRY(FORM_REG(NP_66), 0),
			 [4] = ENTRY(FORM_REG(NP_66), 0),
			 [6] = ENTRY(FORM_REG(NP_66), 0)},
	[GROUP_14] = {[2] = ENTRY(FORM_REG(NP_66), 0),
		      [3] = ENTRY(FORM_REG(PFX_66), 0),
		      [6] = ENTRY(FORM_REG(NP_66), 0),
		      [7] = ENTRY(FORM_REG(PFX_66), 0)},
	[GROUP_15] = {ENTRY(FORM_MEM(PFX_NP) | FORM_REG(PFX_F3), ATTR_REP_ONLY64),
		      ENTRY(FORM_MEM(PFX_NP) | FORM_REG(PFX_F3), ATTR_REP_ONLY64),
		      ENTRY(FORM_MEM(PFX_NP) | FORM_REG(PFX_F3), ATTR_REP_ONLY64),
		      ENTRY(FORM_MEM(PFX_NP) | FORM_REG(PFX_F3), ATTR_REP_ONLY64),
		      ENTRY(FORM_MEM(PFX_NP | PFX_F3) | FORM_REG(PFX_F3), 0),
		      FENCE(FORM_MEM(PFX_NP) | FORM_REG(PFX_NP | PFX_F3)),
		      FENCE(FORM_MEM(NP_66 | PFX_F3) | FORM_REG(PFX_ANY)),
		      FENCE(FORM_MEM(NP_66) | FORM_REG(PFX_NP))},
	[GROUP_HRESET] = {ENTRY(FORM_REG(PFX_F3), ATTR_RM0)},
	[GROUP_WIDE_KEY] = {[0 ... 3] = ENTRY(FORM_MEM(PFX_F3), 0)},
};

static_assert(ARRAY_SIZE(opcode_groups) == GROUP_COUNT, "a group has no entries");

/* D9 /1, DB /4, DB /6 and DD /5 are the holes. */
const u8 x87_memory[8] = {0xff, 0xfd, 0xff, 0xaf, 0xff, 0xdf, 0xff, 0xff};

/*
 * One byte for each ModRM.reg, /0 rightmost; aliases that the manual leaves out but that CPUs
 * run (FCOM2, FXCH4, FSTP8, ...) count as existing.
 */
const u64 x87_register[8] = {
	0xffffffffffffffff, /* D8 */
	0xffff7f33ff01ffff, /* D9: FNOP, FCHS.., FLD1.. */
	0x00000200ffffffff, /* DA: FCMOVcc, FUCOMPP */
	0x00ffff1fffffffff, /* DB */
	0xffffffffffffffff, /* DC */
	0x0000ffffffffffff, /* DD */
	0xffffffff02ffffff, /* DE: FCOMPP */
	0x00ffff01ffffffff, /* DF: FNSTSW AX */
};

const u8 group7_register[64] = {
	[0x00] = PFX_NP,				  /* ENCLV */
	[0x01 ... 0x04] = PFX_NP,			  /* VMCALL, VMLAUNCH, VMRESUME, VMXOFF */
	[0x05] = PFX_NP,				  /* PCONFIG */
	[0x08 ... 0x09] = PFX_NP,			  /* MONITOR, MWAIT */
	[0x0a ... 0x0b] = PFX_NP,			  /* CLAC, STAC */
	[0x0c] = PFX_66,				  /* TDCALL */
	[0x0d ... 0x0e] = PFX_66 | GROUP7_ONLY64(PFX_66), /* SEAMRET, SEAMOPS */
	[0x0f] = PFX_NP | PFX_66 | GROUP7_ONLY64(PFX_66), /* ENCLS, SEAMCALL */
	[0x10 ... 0x11] = PFX_NP,			  /* XGETBV, XSETBV */
	[0x14 ... 0x17] = PFX_NP,			  /* VMFUNC, XEND, XTEST, ENCLU */
	[0x28] = PFX_NP | PFX_F3 | PFX_F2,		  /* SERIALIZE, SETSSBSY, XSUSLDTRK */
	[0x29] = PFX_F2,				  /* XRESLDTRK */
	[0x2a] = PFX_F3,				  /* SAVEPREVSSP */
	[0x2c ... 0x2d] = PFX_F3 | GROUP7_ONLY64(PFX_F3), /* UIRET, TESTUI */
	[0x2e ... 0x2f] = PFX_NP | PFX_F3 | GROUP7_ONLY64(PFX_F3), /* RDPKRU, WRPKRU, CLUI, STUI */
	[0x38] = PFX_ANY | GROUP7_ONLY64(PFX_ANY),		   /* SWAPGS */
	[0x39] = PFX_ANY,					   /* RDTSCP */
};
