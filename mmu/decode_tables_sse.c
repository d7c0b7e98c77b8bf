/* SPDX-License-Identifier: MIT */
/*
 * The 0F38 and 0F3A maps (SDM 2D A.3, tables ), without their VEX forms.
 */
#include "mmu/decode.h"
#include "mmu/decode_tables.h"

#define VECTOR(v)                                \
	{                                        \
		.valid = (v), .attr = ATTR_MODRM \
	}
#define VECTOR_IMM8(v)                                          \
	{                                                       \
		.valid = (v), .imm = IMM_8U, .attr = ATTR_MODRM \
	}
#define V_NP_66 VECTOR(FORM_ANY(PFX_NP | PFX_66))
#define V_NP	VECTOR(FORM_ANY(PFX_NP))
#define V_66	VECTOR(FORM_ANY(PFX_66))
#define I_66	VECTOR_IMM8(FORM_ANY(PFX_66))

/* MOVBE without F2; with it CRC32, which is another length of source but not of instruction. */
#define MOVBE_CRC32(d, s)                                                       \
	{                                                                       \
		.kind = INSN_MOVBE, .dst = FROM_##d, .src = FROM_##s,           \
		.valid = FORM_MEM(PFX_NP | PFX_66 | PFX_F2) | FORM_REG(PFX_F2), \
		.attr = ATTR_MODRM | ATTR_NOT_REP                               \
	}

const struct opcode opcode_0f38[256] = {
	[0x00 ... 0x0b] = V_NP_66,
	[0x10] = V_66,
	[0x14 ... 0x15] = V_66,
	[0x17] = V_66,
	[0x1c ... 0x1e] = V_NP_66,
	[0x20 ... 0x25] = V_66,
	[0x28 ... 0x29] = V_66,
	[0x2a] = VECTOR(FORM_MEM(PFX_66)),
	[0x2b] = V_66,
	[0x30 ... 0x35] = V_66,
	[0x37 ... 0x41] = V_66,
	/* INVEPT, INVVPID */
	[0x80 ... 0x81] = {.kind = INSN_UD, .valid = FORM_MEM(PFX_66), .attr = ATTR_MODRM},
	[0x82] = {.kind = INSN_INVPCID,
		  .dst = FROM_G,
		  .src = FROM_E,
		  .valid = FORM_MEM(PFX_66),
		  .attr = ATTR_MODRM},
	[0xc8 ... 0xcd] = V_NP,
	[0xcf] = V_66,
	[0xd8] = {.valid = FORM_MEM(PFX_F3), .group = GROUP_WIDE_KEY, .attr = ATTR_MODRM},
	[0xdb] = V_66,
	[0xdc] = VECTOR(FORM_ANY(PFX_66) | FORM_ANY(PFX_F3)),
	[0xdd ... 0xdf] = VECTOR(FORM_ANY(PFX_66) | FORM_MEM(PFX_F3)),
	[0xf0] = MOVBE_CRC32(G, E),
	[0xf1] = MOVBE_CRC32(E, G),
	[0xf5] = VECTOR(FORM_MEM(PFX_66)),
	[0xf6] = VECTOR(FORM_MEM(PFX_NP) | FORM_ANY(PFX_66 | PFX_F3)),
	[0xf8] = VECTOR(FORM_MEM(PFX_66 | PFX_F3 | PFX_F2)),
	[0xf9] = VECTOR(FORM_MEM(PFX_NP)),
	[0xfa ... 0xfb] = VECTOR(FORM_REG(PFX_F3)),
};

const struct opcode opcode_0f3a[256] = {
	[0x08 ... 0x0e] = I_66,
	[0x0f] = VECTOR_IMM8(FORM_ANY(PFX_NP | PFX_66)),
	[0x14 ... 0x17] = I_66,
	[0x20 ... 0x22] = I_66,
	[0x40 ... 0x42] = I_66,
	[0x44] = I_66,
	[0x60 ... 0x63] = I_66,
	[0xcc] = VECTOR_IMM8(FORM_ANY(PFX_NP)),
	[0xce ... 0xcf] = I_66,
	[0xdf] = I_66,
	[0xf0] = {.valid = FORM_REG(PFX_F3),
		  .group = GROUP_HRESET,
		  .imm = IMM_8U,
		  .attr = ATTR_MODRM},
};
