/* SPDX-License-Identifier: MIT */
/* Walks one instruction: prefixes, opcode, ModRM, SIB, displacement, immediate (SDM 2A 2.1). */
#include "mmu/decode_internal.h"
#include "kernel/base/error.h"

#define NO_SEGMENT 0xff

/* ModRM.rm with mod 0 and mod not 3: a bare displacement, and "a SIB byte follows". */
#define RM_DISP16 6
#define RM_DISP32 5
#define RM_SIB	  4

/* Little-endian, zero-extended. */
static int fetch(struct decoder *d, unsigned int size, u64 *value)
{
	*value = 0;
	for (unsigned int i = 0; i < size; i++) {
		if (d->at == INSN_MAX_LENGTH)
			return ERR_RANGE;
		if (d->at == d->n)
			return ERR_AGAIN;
		*value |= (u64)d->bytes[d->at++] << (8 * i);
	}
	return 0;
}

static s64 sign_extend(u64 value, unsigned int size)
{
	unsigned int unused_bits = 64 - 8 * size;

	return (s64)(value << unused_bits) >> unused_bits;
}

/* ---- prefixes ---- */

static bool take_segment(struct decoder *d, u64 byte)
{
	static const u8 prefix[SEGMENT_COUNT] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};

	for (u8 i = 0; i < SEGMENT_COUNT; i++) {
		if (prefix[i] != byte)
			continue;
		/* ES, CS, SS and DS are ignored in 64-bit mode: they do not cancel FS or GS. */
		if (d->mode != DECODE_64 || i >= SEGMENT_FS)
			d->segment = i;
		return true;
	}
	return false;
}

static bool take_legacy_prefix(struct decoder *d, struct insn *out, u64 byte)
{
	if (byte == 0x66)
		d->size_66 = true;
	else if (byte == 0x67)
		d->size_67 = true;
	else if (byte == 0xf0)
		out->lock = true;
	else if (byte == 0xf2)
		out->repeat = REPEAT_NE;
	else if (byte == 0xf3)
		out->repeat = REPEAT_E;
	else
		return take_segment(d, byte);
	return true;
}

/* Leaves the first byte that is no prefix in *byte. */
static int decode_prefixes(struct decoder *d, struct insn *out, u64 *byte)
{
	for (;;) {
		int err = fetch(d, 1, byte);

		if (err)
			return err;
		if (take_legacy_prefix(d, out, *byte)) {
			d->rex = 0; /* a REX that is not last is ignored (SDM 2A 2.2.1) */
			continue;
		}
		if (d->mode != DECODE_64 || (*byte & 0xf0) != 0x40)
			return 0;
		d->rex = (u8)*byte;
	}
}

/* ---- opcode ---- */

/*
 * VEX (C4, C5) and EVEX (62) take the place of LES, LDS and BOUND, which have no register form
 * and do not exist in 64-bit mode; XOP (8F) that of POP with a reserved ModRM.reg, told apart by
 * the map number in the low five bits.
 */
static int refuse_vector_prefix(struct decoder *d, u64 byte)
{
	u64 next;
	int err;

	if (byte != 0xc4 && byte != 0xc5 && byte != 0x62 && byte != 0x8f)
		return 0;
	err = fetch(d, 1, &next);
	if (err)
		return err;
	d->at--;
	if (byte == 0x8f)
		return (next & 0x1f) >= 8 ? ERR_NOTSUP : 0;
	return d->mode == DECODE_64 || next >= 0xc0 ? ERR_NOTSUP : 0;
}

static int decode_opcode(struct decoder *d, u64 byte)
{
	const struct opcode *map = opcode_one_byte;
	int err = refuse_vector_prefix(d, byte);

	if (!err && byte == 0x0f) {
		map = opcode_0f;
		err = fetch(d, 1, &byte);
		if (!err && (byte == 0x38 || byte == 0x3a)) {
			map = byte == 0x38 ? opcode_0f38 : opcode_0f3a;
			err = fetch(d, 1, &byte);
		}
	}
	if (err)
		return err;
	d->opcode = (u8)byte;
	d->op = map[byte];
	if ((d->op.attr & ATTR_KIND64) && d->mode != DECODE_64)
		d->op = opcode_arpl;
	return d->op.valid ? 0 : ERR_INVAL;
}

static int decode_modrm(struct decoder *d)
{
	const struct opcode *entry;
	u8 valid = d->op.valid;
	u64 modrm;
	int err;

	if (!(d->op.attr & ATTR_MODRM))
		return 0;
	err = fetch(d, 1, &modrm);
	if (err)
		return err;
	d->mod = d->op.attr & ATTR_NO_MOD ? 3 : (u8)(modrm >> 6);
	d->reg = (modrm >> 3) & 7;
	d->rm = modrm & 7;
	if (!d->op.group)
		return 0;

	entry = &opcode_groups[d->op.group][d->reg];
	d->op = (struct opcode){.kind = entry->kind,
				.dst = entry->dst,
				.src = entry->src ? entry->src : d->op.src,
				.imm = entry->imm ? entry->imm : d->op.imm,
				.valid = entry->valid & valid,
				.check = entry->check,
				.attr = entry->attr | d->op.attr};
	if ((d->op.attr & ATTR_BYTE) && d->op.imm == IMM_Z)
		d->op.imm = IMM_8;
	return 0;
}

/* ---- is there such an instruction? ---- */

static bool registers_exist(const struct decoder *d, const struct insn *out)
{
	unsigned int reg = d->reg | (d->rex & REX_R ? 8 : 0);
	unsigned int form = d->reg << 3 | d->rm;
	u8 group7;

	switch ((enum opcode_check)d->op.check) {
	case CHECK_NONE:
		return true;
	case CHECK_SREG:
		return d->reg < SEGMENT_COUNT;
	case CHECK_SREG_LOAD:
		return d->reg < SEGMENT_COUNT && d->reg != SEGMENT_CS;
	case CHECK_CR:
		return reg == 0 || (reg >= 2 && reg <= 4) || reg == 8;
	case CHECK_DR:
		return reg < 8;
	case CHECK_X87:
		if (d->mod != 3)
			return x87_memory[d->opcode & 7] & BIT(d->reg);
		return x87_register[d->opcode & 7] & BIT(form);
	case CHECK_GROUP7_REG:
		if (d->mod != 3)
			return true;
		group7 = group7_register[form];
		if (d->mode != DECODE_64)
			group7 &= ~(group7 >> 4);
		return group7 & decode_prefix(d, out);
	case CHECK_FENCE:
	case CHECK_RANDOM:
		return true;
	}
	return false;
}

static bool form_exists(const struct decoder *d, const struct insn *out)
{
	bool is_register = d->op.attr & ATTR_MODRM && d->mod == 3;
	u8 prefixes = is_register ? d->op.valid >> 4 : d->op.valid & 0xf;
	u32 attr = d->op.attr;

	if (attr & (d->mode == DECODE_64 ? ATTR_NO64 : ATTR_ONLY64))
		return false;
	if (!(prefixes & decode_prefix(d, out)))
		return false;
	if (is_register && (attr & ATTR_RM0) && d->rm)
		return false;
	if (is_register && (attr & ATTR_REP_ONLY64) && out->repeat == REPEAT_E &&
	    d->mode != DECODE_64)
		return false;
	if (out->lock && (is_register || !(attr & ATTR_LOCK)))
		return false;
	return registers_exist(d, out);
}

/* ---- sizes ---- */

static void decode_sizes(const struct decoder *d, struct insn *out)
{
	bool long_mode = d->mode == DECODE_64;
	u32 attr = d->op.attr;

	if (long_mode)
		out->addr_size = d->size_67 ? 4 : 8;
	else
		out->addr_size = (d->mode == DECODE_32) != d->size_67 ? 4 : 2;

	if (attr & ATTR_BYTE)
		out->op_size = 1;
	else if (long_mode && (attr & ATTR_F64))
		out->op_size = 8;
	else if ((attr & ATTR_MEM16) && d->mod != 3)
		out->op_size = 2;
	else if (long_mode && (d->rex & REX_W))
		out->op_size = attr & ATTR_MAX4 ? 4 : 8;
	else if (long_mode && (attr & ATTR_D64) && !d->size_66)
		out->op_size = 8;
	else if (attr & ATTR_NO_66)
		out->op_size = 4;
	else
		out->op_size = (d->mode != DECODE_16) != d->size_66 ? 4 : 2;

	out->src_size = out->op_size;
	if (attr & ATTR_SRC8)
		out->src_size = 1;
	else if (attr & ATTR_SRC16)
		out->src_size = 2;
	else if (attr & ATTR_SRC32)
		out->src_size = min(out->op_size, (u8)4);
}

/* ---- memory operand ---- */

static int fetch_disp(struct decoder *d, unsigned int size, struct insn_memory *mem)
{
	u64 value;
	int err;

	if (!size)
		return 0;
	err = fetch(d, size, &value);
	mem->disp = sign_extend(value, size);
	return err;
}

static int decode_mem16(struct decoder *d, struct insn_memory *mem)
{
	static const u8 base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
	static const u8 index[8] = {RSI, RDI, RSI, RDI};

	if (d->mod == 0 && d->rm == RM_DISP16)
		return fetch_disp(d, 2, mem);
	mem->base = base[d->rm];
	if (d->rm < 4) {
		mem->index = index[d->rm];
		mem->scale = 1;
	}
	return fetch_disp(d, d->mod, mem);
}

static int decode_sib(struct decoder *d, struct insn_memory *mem, u8 *base)
{
	u64 sib;
	int err = fetch(d, 1, &sib);

	if (err)
		return err;
	*base = sib & 7;
	mem->index = ((sib >> 3) & 7) | (d->rex & REX_X ? 8 : 0);
	mem->scale = (u8)(1 << (sib >> 6));
	if (mem->index == RSP) {
		mem->index = INSN_REG_NONE;
		mem->scale = 0;
	}
	return 0;
}

static int decode_mem32(struct decoder *d, struct insn_memory *mem)
{
	unsigned int disp_size = d->mod == 2 ? 4 : d->mod;
	u8 base = d->rm;
	int err = 0;

	if (d->rm == RM_SIB)
		err = decode_sib(d, mem, &base);
	if (err)
		return err;
	if (d->mod == 0 && base == RM_DISP32) {
		disp_size = 4;
		if (d->rm != RM_SIB && d->mode == DECODE_64)
			mem->base = INSN_REG_RIP;
	} else {
		mem->base = base | (d->rex & REX_B ? 8 : 0);
	}
	return fetch_disp(d, disp_size, mem);
}

static int decode_memory(struct decoder *d, struct insn *out)
{
	struct insn_memory *mem = &out->mem;
	int err = 0;

	mem->base = INSN_REG_NONE;
	mem->index = INSN_REG_NONE;
	if ((d->op.attr & ATTR_MODRM) && d->mod != 3) {
		mem->present = true;
		err = out->addr_size == 2 ? decode_mem16(d, mem) : decode_mem32(d, mem);
	}
	if (d->segment != NO_SEGMENT)
		mem->segment = d->segment;
	else
		mem->segment = mem->base == RSP || mem->base == RBP ? SEGMENT_SS : SEGMENT_DS;
	return err;
}

/* ---- immediate ---- */

static unsigned int imm_bytes(const struct decoder *d, const struct insn *out)
{
	unsigned int word = min(out->op_size, (u8)4);

	switch ((enum imm_type)d->op.imm) {
	case IMM_NONE:
		return 0;
	case IMM_8:
	case IMM_8U:
		return 1;
	case IMM_16:
		return 2;
	case IMM_16_8:
		return 3;
	case IMM_Z:
		return word;
	case IMM_V:
		return out->op_size;
	case IMM_J:
		return d->mode == DECODE_64 ? 4 : word;
	case IMM_FAR:
		return word + 2;
	case IMM_MOFFS:
		return out->addr_size;
	}
	return 0;
}

/* A far pointer is an offset and a selector; ENTER has a size and a nesting level. */
static void split_imm(const struct decoder *d, struct insn *out, u64 value)
{
	unsigned int first = d->op.imm == IMM_FAR ? out->imm_size - 2u : 2;

	out->imm = value & (BIT(8 * first) - 1);
	out->imm2 = (u16)(value >> 8 * first);
}

static int decode_imm(struct decoder *d, struct insn *out)
{
	u64 value;
	int err;

	out->imm_size = (u8)imm_bytes(d, out);
	if (!out->imm_size)
		return 0;
	err = fetch(d, out->imm_size, &value);
	if (err)
		return err;
	if (d->op.imm == IMM_MOFFS) {
		out->mem.present = true;
		out->mem.disp = sign_extend(value, out->imm_size);
		out->imm_size = 0;
	} else if (d->op.imm == IMM_FAR || d->op.imm == IMM_16_8) {
		split_imm(d, out, value);
	} else {
		out->imm = d->op.imm == IMM_8U ? value : (u64)sign_extend(value, out->imm_size);
	}
	return 0;
}

int decode_insn(struct insn *out, const u8 *bytes, size_t n, enum decode_mode mode)
{
	struct decoder d = {.bytes = bytes, .n = n, .mode = mode, .segment = NO_SEGMENT};
	u64 byte;
	int err;

	*out = (struct insn){.mode = (u8)mode};
	err = decode_prefixes(&d, out, &byte);
	if (!err)
		err = decode_opcode(&d, byte);
	if (!err)
		err = decode_modrm(&d);
	if (err)
		return err;
	if (!form_exists(&d, out))
		return ERR_INVAL;
	decode_sizes(&d, out);
	err = decode_memory(&d, out);
	if (!err)
		err = decode_imm(&d, out);
	if (err)
		return err;
	decode_classify(&d, out);
	out->length = (u8)d.at;
	return 0;
}
