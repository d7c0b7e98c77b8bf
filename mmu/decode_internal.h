/* SPDX-License-Identifier: MIT */
/*
 * What the files of mmu/decode share and nobody else uses: an instruction on its way through. Pure: any
 * context, no locks.
 */
#ifndef MMU_DECODE_INTERNAL_H
#define MMU_DECODE_INTERNAL_H

#include "mmu/decode.h"
#include "mmu/decode_tables.h"

#define REX_B 0x1
#define REX_X 0x2
#define REX_R 0x4
#define REX_W 0x8

struct decoder {
	const u8 *bytes;
	size_t n;
	size_t at;
	enum decode_mode mode;
	struct opcode op;
	bool size_66, size_67;
	u8 rex;	    /* 0 unless it stands right before the opcode */
	u8 segment; /* enum insn_segment or NO_SEGMENT */
	u8 opcode;  /* its last byte */
	u8 mod, reg, rm;
};

/* Of the prefixes that make another instruction of an opcode the one that counts (PFX_*). */
static inline u8 decode_prefix(const struct decoder *d, const struct insn *out)
{
	if (out->repeat)
		return out->repeat == REPEAT_E ? PFX_F3 : PFX_F2;
	return d->size_66 ? PFX_66 : PFX_NP;
}

/* decode_classify.c: kind and operands, all else being known. */
void decode_classify(const struct decoder *d, struct insn *out);

#endif
