/* SPDX-License-Identifier: MIT */
/* The few encodings by which device registers are mostly read and written (SDM 2B, MOV). */
#include "mmu/decode.h"

#define REX_W	    8u
#define REX_R	    4u
#define REX_X	    2u
#define REX_B	    1u
#define MOD(m)	    ((m) >> 6)
#define REG(m)	    (((m) >> 3) & 7)
#define RM(m)	    ((m)&7)
#define RM_SIB	    4	  /* a SIB byte follows */
#define RM_DISP32   5	  /* with mod 0: no base, but 32 bits of displacement */
#define MODRM_PLACE 0xc7u /* mod and rm */
#define SCALE(s)    ((s) >> 6)
#define INDEX(s)    REG(s)

/*
 * Bytes of ModRM, SIB and displacement for an operand in memory, 0 for a register. By mod and rm;
 * behind a SIB byte the base may add a displacement where mod is 0.
 */
static inline u32 memory_length(const u8 *modrm)
{
	static const u8 lengths[4][8] = {
		{1, 1, 1, 1, 2, 5, 1, 1}, {2, 2, 2, 2, 3, 2, 2, 2}, {5, 5, 5, 5, 6, 5, 5, 5}, {0}};
	u32 m = *modrm, length = lengths[MOD(m)][RM(m)];

	if (unlikely((m & MODRM_PLACE) == RM_SIB) && RM(modrm[1]) == RM_DISP32)
		length += sizeof(u32);
	return length;
}

/* Wherever it is: no call, and one load. */
static inline u32 read_32(const u8 *bytes)
{
	u32 value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}

static bool __noinline decode_immediate(struct insn_mov *out, const u8 *bytes, u32 at)
{
	u32 length = memory_length(bytes + at);

	if (!length || REG(bytes[at]) != 0)
		return false;
	at += length;
	out->imm = read_32(bytes + at);
	out->load = false;
	out->reg = INSN_REG_NONE;
	out->length = (u8)(at + sizeof(out->imm));
	return true;
}

static bool has_rex(const u8 *bytes, enum decode_mode mode)
{
	return mode == DECODE_64 && (bytes[0] & 0xf0) == 0x40;
}

static bool has_direct_address(u8 opcode)
{
	return opcode == 0xa1 || opcode == 0xa3;
}

/* 8B and 89, ModRM; C7 /0, imm32; A1 and A3, which have the address instead of ModRM. */
bool decode_mov(struct insn_mov *out, const u8 bytes[INSN_MAX_LENGTH], enum decode_mode mode)
{
	u32 at = 0, rex = 0, length;
	u8 opcode;

	if (mode == DECODE_16)
		return false;
	if (has_rex(bytes, mode))
		rex = bytes[at++];
	opcode = bytes[at++];
	if (rex & REX_W)
		return false;
	if (opcode == 0xc7)
		return decode_immediate(out, bytes, at);
	if (has_direct_address(opcode)) {
		out->load = opcode == 0xa1;
		out->reg = RAX;
		out->length = (u8)(at + (mode == DECODE_64 ? 8 : 4));
		return true;
	}
	length = memory_length(bytes + at);
	if ((opcode != 0x8b && opcode != 0x89) || !length)
		return false;
	out->load = opcode == 0x8b;
	out->reg = (u8)(REG(bytes[at]) | (rex & REX_R ? 8 : 0));
	out->length = (u8)(at + length);
	return true;
}

/* Base and index registers, from the ModRM byte on. */
static bool __noinline add_registers(u32 *out, const u8 *at, u32 rex, enum decode_mode mode,
				     const u64 *gpr)
{
	u32 mod = MOD(*at), base = RM(*at++), index, offset = 0;

	if (base == RM_SIB) {
		index = INDEX(*at) | (rex & REX_X ? 8 : 0);
		if (index != RSP)
			offset = (u32)gpr[index] << SCALE(*at);
		base = RM(*at++);
		if (mod == 0 && base == RM_DISP32) {
			*out = offset + read_32(at);
			return true;
		}
	}
	base |= rex & REX_B ? 8 : 0;
	if (base == RSP || (base == RBP && mode == DECODE_32))
		return false;
	offset += (u32)gpr[base];
	if (mod == 1)
		offset += (u32)(s32)(s8)*at;
	else if (mod == 2)
		offset += read_32(at);
	*out = offset;
	return true;
}

bool decode_mov_offset(u32 *out, const u8 bytes[INSN_MAX_LENGTH], enum decode_mode mode,
		       const u64 gpr[GPR_COUNT])
{
	u32 rex = has_rex(bytes, mode) ? *bytes++ : 0;

	if (has_direct_address(bytes[0])) {
		*out = read_32(bytes + 1);
		return true;
	}
	if ((bytes[1] & MODRM_PLACE) != RM_DISP32)
		return add_registers(out, bytes + 1, rex, mode, gpr);
	*out = read_32(bytes + 2);
	return mode == DECODE_32;
}
