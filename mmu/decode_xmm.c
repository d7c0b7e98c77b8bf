/* SPDX-License-Identifier: MIT */
/* Moves between memory and an XMM register without VEX (SDM 2B, MOVAPS to MOVUPS), for decode.c. */
#include "mmu/decode.h"
#include "mmu/decode_tables.h"

#define NP_66	 (PFX_NP | PFX_66)
#define REX_SIZE 0 /* 4, or 8 with REX.W */

static const struct {
	u8 opcode; /* behind 0F */
	u8 prefixes;
	u8 size;
	bool store, aligned;
} moves[] = {
	{0x10, NP_66, 16, false, false},       {0x10, PFX_F3, 4, false, false},
	{0x10, PFX_F2, 8, false, false},       {0x11, NP_66, 16, true, false},
	{0x11, PFX_F3, 4, true, false},	       {0x11, PFX_F2, 8, true, false},
	{0x28, NP_66, 16, false, true},	       {0x29, NP_66, 16, true, true},
	{0x2b, NP_66, 16, true, true},	       {0x6e, PFX_66, REX_SIZE, false, false},
	{0x6f, PFX_66, 16, false, true},       {0x6f, PFX_F3, 16, false, false},
	{0x7e, PFX_66, REX_SIZE, true, false}, {0x7e, PFX_F3, 8, false, false},
	{0x7f, PFX_66, 16, true, true},	       {0x7f, PFX_F3, 16, true, false},
	{0xd6, PFX_66, 8, true, false},	       {0xe7, PFX_66, 16, true, true},
	{0xf0, PFX_F2, 16, false, false},
};

bool decode_xmm_move(struct insn *out, u8 opcode, u8 prefix, u8 reg, bool wide)
{
	static const struct insn_operand memory = {OPERAND_MEM, 0};
	struct insn_operand xmm = {OPERAND_XMM, reg};

	for (u32 i = 0; i < ARRAY_SIZE(moves); i++) {
		if (moves[i].opcode != opcode || !(moves[i].prefixes & prefix))
			continue;
		out->kind = INSN_MOV_XMM;
		out->op_size = moves[i].size;
		if (out->op_size == REX_SIZE)
			out->op_size = wide ? 8 : 4;
		out->src_size = out->op_size;
		out->aligned = moves[i].aligned;
		out->dst = moves[i].store ? memory : xmm;
		out->src = moves[i].store ? xmm : memory;
		return true;
	}
	return false;
}
