/* SPDX-License-Identifier: MIT */
/* Which instructions. */
#include <cpuid.h>
#include <string.h>
#include "tests/hosted/random.h"
#include "tests/unit/mmu/native_case.h"

u64 native_seed;

static bool on_intel(void)
{
	static u32 vendor;
	u32 a, c, d;

	if (!vendor)
		__get_cpuid(0, &a, &vendor, &c, &d);
	return vendor == signature_INTEL_ebx;
}

static bool loads_segment(const struct insn *i)
{
	return i->kind == INSN_POP_SEG || i->kind == INSN_LOAD_SEG || i->kind == INSN_LOAD_FAR;
}

static bool is_far(const struct insn *i)
{
	return i->kind >= INSN_JMP_FAR && i->kind <= INSN_IRET;
}

bool native_uses_stack(const struct insn *i)
{
	switch (i->kind) {
	case INSN_PUSH:
	case INSN_POP:
	case INSN_CALL:
	case INSN_RET:
	case INSN_CALL_FAR:
	case INSN_RET_FAR:
	case INSN_IRET:
		return true;
	default:
		return i->kind >= INSN_PUSHA && i->kind <= INSN_POP_SEG;
	}
}

bool native_is_string(const struct insn *i)
{
	return i->kind >= INSN_MOVS && i->kind <= INSN_OUTS;
}

static bool is_near_branch(const struct insn *i)
{
	return i->kind >= INSN_JCC && i->kind <= INSN_JCXZ;
}

static bool has_prefix(const struct native_case *c, u8 wanted)
{
	static const u8 prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
				      0x66, 0x67, 0xf0, 0xf2, 0xf3};

	for (u32 at = 0; at < c->insn.length; at++) {
		bool rex = c->mode == DECODE_64 && (c->bytes[at] & 0xf0) == 0x40;

		if (c->bytes[at] == wanted)
			return true;
		if (!rex && !memchr(prefixes, c->bytes[at], sizeof(prefixes)))
			break;
	}
	return false;
}

/* What AMD's CPUs do in another way. */
static bool is_intels(const struct native_case *c)
{
	const struct insn *i = &c->insn;

	switch (i->kind) {
	case INSN_NOP: /* PREFETCH of a register, 0F 0D: #UD there */
		return !i->mem.present;
	case INSN_BOUND: /* out of bounds: #GP was seen there, for #BR */
		return true;
	case INSN_LOOPE: /* with F2, LOOPNE there; the other way round with F3 */
	case INSN_LOOPNE:
		if (has_prefix(c, 0xf2) || has_prefix(c, 0xf3))
			return true;
		break;
	}
	/* In 64-bit code, Intel's pass over 66; theirs take 16 bits of displacement and of RIP. */
	return is_near_branch(i) && c->mode == DECODE_64 && has_prefix(c, 0x66);
}

static bool usable_in_64(const struct insn *i)
{
	bool bit = i->kind >= INSN_BT && i->kind <= INSN_BTC;

	/* A segment register or RSP changed there would be the process's own. */
	if (loads_segment(i) || is_far(i) || i->kind == INSN_STORE_SEG || i->kind == INSN_PUSH_SEG)
		return false;
	if (i->mem.present && i->mem.base == RSP)
		return false;
	/* test_emulate_native.c aims bit numbers. */
	return !(bit && i->dst.kind == OPERAND_MEM && i->src.kind == OPERAND_REG);
}

/* What the CPU answers otherwise than the emulator has to, or what would end the test. */
static bool usable(const struct native_case *c)
{
	const struct insn *i = &c->insn;

	switch (i->kind) {
	case INSN_OTHER:
	case INSN_INS:
	case INSN_OUTS:
	case INSN_IN:
	case INSN_OUT:
	case INSN_INT:
	case INSN_INT3:
	case INSN_INTO:
	case INSN_INT1:
	case INSN_CPUID:
	case INSN_RDTSC:
	case INSN_RDTSCP:
	case INSN_INVPCID:
	case INSN_SYSENTER:
	case INSN_MOVBE:
	case INSN_XGETBV:
	case INSN_RDRAND:
	case INSN_RDSEED:
		return false;
	case INSN_UD: /* UD2 alone: the host may be in VMX operation, or have the others */
		return !i->mem.present && c->bytes[i->length - 1] == 0x0b;
	case INSN_BSWAP:
		if (i->op_size == 2)
			return false;
		break;
	case INSN_SMSW:
	case INSN_SGDT:
	case INSN_SIDT:
	case INSN_SLDT:
	case INSN_STR:
		return false; /* UMIP */
	case INSN_CMPXCHG:
		/* A 32-bit destination that fails: does its upper half go? Not documented. */
		if (!i->mem.present && i->op_size == 4)
			return false;
		break;
	case INSN_CMPXCHG8B: /* test_emulate_vector.c */
		if (i->op_size == 8)
			return false;
		break;
	case INSN_MOV_XMM:
	case INSN_FNINIT:
	case INSN_FNSTSW:
	case INSN_FNSTCW:
	case INSN_FLDCW:
		return false;
	case INSN_MOVSX:
		if (i->src_size == i->op_size)
			return false;
		break;
	}
	if (loads_segment(i) && i->reg != SEGMENT_ES && i->reg != SEGMENT_DS)
		return false;
	if (i->kind == INSN_PUSH_SEG || i->kind == INSN_STORE_SEG)
		if (i->reg >= SEGMENT_FS || !on_intel())
			return false;
	/* FS and GS are the process's, CS has the code that runs the test. */
	if (i->mem.segment >= SEGMENT_FS || i->mem.segment == SEGMENT_CS)
		return false;
	/* What REP with a count of 0 leaves of wider registers is Intel's way. */
	if (native_is_string(i) && c->mode == DECODE_64 && i->addr_size == 4)
		return false;
	if (!on_intel() && is_intels(c))
		return false;
	return c->mode != DECODE_64 || usable_in_64(i);
}

/* Of the 0F map, what random bytes would seldom come to: a prefix, an opcode and a ModRM. */
static const struct rare {
	u8 prefix, opcode, modrm, random; /* which bits of ModRM are */
} rare[] = {
	{0xf3, 0xb8, 0, 0xff}, /* POPCNT */
	{0xf3, 0xbc, 0, 0xff}, /* TZCNT */
	{0xf3, 0xbd, 0, 0xff}, /* LZCNT */
	{0, 0xae, 0xe8, 0x17}, /* LFENCE, SFENCE */
	{0, 0xae, 0xf0, 0x07}, /* MFENCE */
	{0, 0xae, 0x38, 0xc7}, /* CLFLUSH */
	{0, 0x01, 0xca, 0x01}, /* CLAC, STAC */
};

static void generate_bytes(struct native_case *c)
{
	size_t at = 0;
	u8 opcode = (u8)random_next(&native_seed);
	const struct rare *r = NULL;

	if (!random_below(&native_seed, 24))
		r = &rare[random_below(&native_seed, ARRAY_SIZE(rare))];

	for (size_t i = 0; i < NATIVE_CASE_BYTES; i++)
		c->bytes[i] = (u8)random_next(&native_seed);
	c->mode = (enum decode_mode)random_below(&native_seed, 3);
	if (!random_below(&native_seed, 3))
		c->bytes[at++] = 0x66;
	if (!random_below(&native_seed, 4))
		c->bytes[at++] = 0x67;
	if (!random_below(&native_seed, 16))
		c->bytes[at++] = 0xf0;
	if (!random_below(&native_seed, 8))
		c->bytes[at++] = random_below(&native_seed, 2) ? 0xf2 : 0xf3;
	if (!random_below(&native_seed, 12))
		c->bytes[at++] = (u8)(0x26 | random_below(&native_seed, 4) << 3);
	if (r && r->prefix)
		c->bytes[at++] = r->prefix;
	if (c->mode == DECODE_64 && random_below(&native_seed, 2))
		c->bytes[at++] = 0x40 | (u8)random_below(&native_seed, 16);
	if (r) {
		c->bytes[at++] = 0x0f;
		c->bytes[at++] = r->opcode;
		c->bytes[at] = (c->bytes[at] & r->random) | r->modrm;
		c->moffs = false;
		return;
	}
	if (!random_below(&native_seed, 3))
		c->bytes[at++] = 0x0f;
	c->moffs = (opcode & 0xfc) == 0xa0 && !(at && c->bytes[at - 1] == 0x0f);
	c->bytes[at] = opcode;
}

void native_case_next(struct native_case *c)
{
	do
		generate_bytes(c);
	while (decode_insn(&c->insn, c->bytes, NATIVE_CASE_BYTES, c->mode) || !usable(c) ||
	       !native_case_prepare(c) || !usable(c));
}
