/* SPDX-License-Identifier: MIT */
/* unit-sources: mmu/decode_mov.c mmu/decode.c mmu/decode_classify.c mmu/decode_tables.c
   mmu/decode_tables_sse.c mmu/decode_xmm.c */
/* The short decoder of MOV says nothing that the whole decoder would not say. */
#include "kernel/base/error.h"
#include "mmu/decode.h"

#include <cmocka.h>
#include <string.h>

#define ROUNDS 4000000

static u64 seed = 0x853c49e6748fea9bull;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Where it is told it is what the whole decoder's parts make; not told is what is not in gpr[]. */
static void compare_offset(const u8 *bytes, enum decode_mode mode, const struct insn_memory *m)
{
	bool not_there = m->base == INSN_REG_RIP || m->base == RSP ||
			 (mode == DECODE_32 && m->segment != SEGMENT_DS);
	u64 gpr[GPR_COUNT], expected = (u64)m->disp;
	u32 offset;

	for (u32 i = 0; i < GPR_COUNT; i++)
		gpr[i] = rnd();
	assert_int_equal(decode_mov_offset(&offset, bytes, mode, gpr), !not_there);
	if (not_there)
		return;
	if (m->base != INSN_REG_NONE)
		expected += gpr[m->base];
	if (m->index != INSN_REG_NONE)
		expected += gpr[m->index] * m->scale;
	assert_int_equal(offset, (u32)expected);
}

static void compare(const u8 *bytes, enum decode_mode mode, const struct insn_mov *mov)
{
	struct insn whole;
	const struct insn_operand *reg = mov->load ? &whole.dst : &whole.src;
	const struct insn_operand *memory = mov->load ? &whole.src : &whole.dst;

	assert_int_equal(decode_insn(&whole, bytes, INSN_MAX_LENGTH, mode), 0);
	assert_int_equal(whole.kind, INSN_MOV);
	assert_int_equal(whole.op_size, 4);
	assert_int_equal(whole.length, mov->length);
	assert_int_equal(memory->kind, OPERAND_MEM);
	compare_offset(bytes, mode, &whole.mem);
	if (mov->reg == INSN_REG_NONE) {
		assert_false(mov->load);
		assert_int_equal(reg->kind, OPERAND_IMM);
		assert_int_equal((u32)whole.imm, mov->imm);
	} else {
		assert_int_equal(reg->kind, OPERAND_REG);
		assert_int_equal(reg->reg, mov->reg);
	}
}

/* Mostly one of the opcodes that it knows, in 64-bit code often behind REX. */
static void make(u8 *bytes, enum decode_mode mode)
{
	static const u8 opcodes[] = {0x8b, 0x89, 0xc7, 0xa1, 0xa3};
	u32 at = 0;

	for (u32 i = 0; i < INSN_MAX_LENGTH; i++)
		bytes[i] = (u8)(rnd() >> 13);
	if (mode == DECODE_64 && (rnd() & 1))
		bytes[at++] = 0x40 | ((rnd() >> 9) & 0xf);
	if ((rnd() >> 5) & 7)
		bytes[at] = opcodes[(rnd() >> 17) % ARRAY_SIZE(opcodes)];
}

static void random_bytes(void **state)
{
	u32 known[3] = {0};

	for (u32 i = 0; i < ROUNDS; i++) {
		enum decode_mode mode = (enum decode_mode)((rnd() >> 21) % 3);
		struct insn_mov mov;
		u8 bytes[INSN_MAX_LENGTH];

		make(bytes, mode);
		if (!decode_mov(&mov, bytes, mode))
			continue;
		known[mode]++;
		compare(bytes, mode, &mov);
	}
	assert_int_equal(known[DECODE_16], 0);
	assert_true(known[DECODE_32] > ROUNDS / 8);
	assert_true(known[DECODE_64] > ROUNDS / 12);
}

/* Each ModRM and SIB byte. */
static void every_operand(void **state)
{
	for (u32 i = 0; i < 0x10000; i++) {
		for (enum decode_mode mode = DECODE_32; mode <= DECODE_64; mode++) {
			u8 bytes[INSN_MAX_LENGTH] = {0x8b, (u8)i, (u8)(i >> 8), 1, 2, 3, 4};
			struct insn_mov mov;

			assert_int_equal(decode_mov(&mov, bytes, mode), (i & 0xc0) != 0xc0);
			if ((i & 0xc0) != 0xc0)
				compare(bytes, mode, &mov);
		}
	}
}

static void expect(const char *bytes, enum decode_mode mode, u8 length, bool load, u8 reg)
{
	struct insn_mov mov;
	u8 padded[INSN_MAX_LENGTH] = {0};

	memcpy(padded, bytes, length);
	assert_true(decode_mov(&mov, padded, mode));
	assert_int_equal(mov.length, length);
	assert_int_equal(mov.load, load);
	assert_int_equal(mov.reg, reg);
}

/* What compilers make of a device register's access. */
static void the_common_ones(void **state)
{
	struct insn_mov mov;

	expect("\xa1\x30\x00\xe0\xfe", DECODE_32, 5, true, RAX);
	expect("\xa3\xb0\x00\xe0\xfe", DECODE_32, 5, false, RAX);
	expect("\x8b\x15\x30\x00\xe0\xfe", DECODE_32, 6, true, RDX);
	expect("\xc7\x05\xb0\x00\xe0\xfe\x00\x00\x00\x00", DECODE_32, 10, false, INSN_REG_NONE);
	expect("\x8b\x07", DECODE_64, 2, true, RAX);
	expect("\x44\x8b\x87\x30\x00\x00\x00", DECODE_64, 7, true, R8);
	expect("\x89\xb7\x00\x03\x00\x00", DECODE_64, 6, false, RSI);
	expect("\x89\x14\x25\xb0\xd0\x5f\xff", DECODE_64, 7, false, RDX);
	/* 64 and 16 bits wide, a prefix, a register, another instruction of the group. */
	assert_false(decode_mov(&mov, (const u8 *)"\x48\x8b\x07 456789abcdef", DECODE_64));
	assert_false(decode_mov(&mov, (const u8 *)"\x66\x8b\x07 456789abcdef", DECODE_64));
	assert_false(decode_mov(&mov, (const u8 *)"\x8b\xc7 3456789abcdef", DECODE_64));
	assert_false(decode_mov(&mov, (const u8 *)"\xc7\x0f 3456789abcdef", DECODE_64));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_bytes),
		cmocka_unit_test(every_operand),
		cmocka_unit_test(the_common_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
