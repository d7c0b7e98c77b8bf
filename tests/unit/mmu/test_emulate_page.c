/* SPDX-License-Identifier: MIT */
/* unit-sources: @emulate */
/*
 * REP STOS a page at a time does as it does one iteration at a time, and does so wherever those would
 * store to all of the page, upwards: random registers, segments, modes and sizes.
 */
#include <cmocka.h>
#include <string.h>

#include "mmu/emulate.h"
#include "tests/hosted/random.h"

#define FLAGS_FIXED 0x2ull
#define FLAG_DF	    0x400ull
#define FLAG_RF	    0x10000ull
#define RIP	    0x8000u

#define DATA_WRITABLE 0xc093u
#define DATA_READONLY 0xc091u
#define DATA_DOWN     0xc097u
#define UNUSABLE      0x10000u

#define TRIES 8000u

static struct emulate_cpu cpu;
static struct insn insn;
static struct guest_regs regs;
static u64 page; /* linear */

static u64 random_state;

static u32 below(u32 n)
{
	return (u32)(random_next(&random_state) % n);
}

/* With whichever prefixes; *n: bytes. */
static void make_insn(void)
{
	static const enum decode_mode modes[] = {DECODE_64, DECODE_64, DECODE_32, DECODE_16};
	u8 bytes[8];
	u32 n = 0;

	if (below(8))
		bytes[n++] = below(4) ? 0xf3 : 0xf2;
	if (!below(3))
		bytes[n++] = 0x66;
	if (!below(3))
		bytes[n++] = 0x67;
	insn.mode = modes[below(4)];
	if (insn.mode == DECODE_64 && below(2))
		bytes[n++] = 0x48;
	bytes[n++] = below(30) ? (u8)(0xaa + below(2)) : 0xa5; /* or MOVS */
	assert_int_equal(decode_insn(&insn, bytes, n, (enum decode_mode)insn.mode), 0);
}

/* Mostly so that it can be. */
static void make_state(void)
{
	static const u32 access[] = {DATA_WRITABLE, DATA_WRITABLE, DATA_WRITABLE, DATA_WRITABLE,
				     DATA_READONLY, DATA_DOWN,	   UNUSABLE};
	u64 offset = (u64)below(0x100000) << 12, size = insn.op_size;
	u64 base = below(3) ? 0 : (u64)below(1 << 20) << (below(2) ? 12 : 0);
	u64 count = PAGE_SIZE / size;
	u32 limit = below(3) ? 0xffffffffu : (u32)offset + PAGE_SIZE - 2 + below(3);

	if (insn.addr_size == 2)
		offset = below(16) << 12;
	if (insn.addr_size == 8 && below(2))
		offset |= 0xffff800000000000ull;
	if (!below(8))
		offset += below(2 * PAGE_SIZE) - PAGE_SIZE;
	if (!below(50))
		offset = 0x7ffffffff000ull; /* the last page below what is not canonical */
	if (!below(50))
		offset = 0xfffff800;
	for (u32 i = 0; i < GPR_COUNT; i++)
		regs.gpr[i] = random_next(&random_state);
	regs.gpr[RDI] = offset | (insn.addr_size < 8 ? random_next(&random_state) << 32 : 0);
	regs.gpr[RCX] = below(3) ? count : below(2) ? count + below(2000) : below((u32)count * 2);
	if (!below(10))
		regs.gpr[RCX] = random_next(&random_state);
	regs.rip = RIP;
	regs.rflags = FLAGS_FIXED | (below(10) ? 0 : FLAG_DF) | (below(2) ? FLAG_RF : 0);
	cpu = (struct emulate_cpu){.protected_mode = below(10), .linear_bits = 48};
	cpu.segment[SEGMENT_ES] = (struct emulate_segment){base, limit, access[below(7)], 0};
	page = insn.mode == DECODE_64 ? offset : (u32)(base + offset);
	if (insn.addr_size == 4)
		page = insn.mode == DECODE_64 ? (u32)offset : (u32)(base + (u32)offset);
	if (!below(20))
		page ^= PAGE_SIZE;
}

/* Iteration by iteration: would it store to all of the page, upwards? *r is what it leaves. */
static bool iterate(struct guest_regs *r, u64 *word)
{
	u64 n = PAGE_SIZE / insn.op_size, most = ~0ull >> (64 - 8 * insn.addr_size);
	struct emulate e;

	if ((r->gpr[RDI] & most) > most - (PAGE_SIZE - 1))
		return false;
	for (u64 i = 0; i < n; i++) {
		if (insn.kind != INSN_STOS || insn.repeat == REPEAT_NONE || r->rip != RIP)
			return false;
		emulate_start(&e, &insn, r, &cpu);
		if (emulate_next(&e) != EMULATE_WRITE || e.gva != page + i * insn.op_size)
			return false;
		memcpy((u8 *)word + i * insn.op_size % 8, &e.value, insn.op_size);
		assert_int_equal(emulate_next(&e), EMULATE_DONE);
	}
	return true;
}

static void as_one_by_one(void **state)
{
	u32 done = 0, over = 0, by_size[9] = {0}, by_mode[DECODE_64 + 1] = {0};

	random_state = 20261128;
	for (u32 i = 0; i < TRIES; i++) {
		struct guest_regs one_by_one, before;
		u64 word = 0, expected = 0;
		struct emulate e;
		bool can, does;

		make_insn();
		make_state();
		one_by_one = before = regs;
		can = iterate(&one_by_one, &expected);
		emulate_start(&e, &insn, &regs, &cpu);
		does = emulate_fills_page(&e, page, &word);
		assert_int_equal(can, does);
		assert_memory_equal(&regs, &before, sizeof(regs));
		if (!does)
			continue;
		emulate_page_filled(&e);
		assert_true(word == expected);
		assert_memory_equal(&regs, &one_by_one, sizeof(regs));
		done++;
		over += regs.rip != RIP;
		by_size[insn.op_size]++;
		by_mode[insn.mode]++;
	}
	assert_true(done > TRIES / 10 && over > 50 && done - over > 50);
	assert_true(by_size[1] > 30 && by_size[2] > 30 && by_size[4] > 30 && by_size[8] > 30);
	assert_true(by_mode[DECODE_16] > 30 && by_mode[DECODE_32] > 30 && by_mode[DECODE_64] > 30);
}

/* The page's linear addresses go on where the offsets begin again, at which the segment may not be. */
static void over_the_end_of_a_segment(void **state)
{
	static const struct {
		const char *bytes;
		u32 size, offset, limit, access;
		bool may;
	} cases[] = {
		{"\xf3\xaa", 1, 0xfffff800, 0x100, DATA_DOWN, false},
		{"\xf3\xab", 4, 0xfffff800, 0x7f0, DATA_DOWN, false},
		{"\xf3\xab", 4, 0xfffff802, 0xffffffff, DATA_WRITABLE, false},
		{"\xf3\xab", 4, 0xfffff000, 0x7f0, DATA_DOWN, true},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct emulate e;
		u64 word;

		assert_int_equal(decode_insn(&insn, (const u8 *)cases[i].bytes, 2, DECODE_32), 0);
		regs = (struct guest_regs){.rip = RIP, .rflags = FLAGS_FIXED};
		regs.gpr[RDI] = cases[i].offset;
		regs.gpr[RCX] = PAGE_SIZE / cases[i].size;
		cpu = (struct emulate_cpu){.protected_mode = true, .linear_bits = 48};
		cpu.segment[SEGMENT_ES] = (struct emulate_segment){-cases[i].offset, cases[i].limit,
								   cases[i].access, 0};
		emulate_start(&e, &insn, &regs, &cpu);
		assert_int_equal(emulate_fills_page(&e, 0, &word), cases[i].may);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_one_by_one),
		cmocka_unit_test(over_the_end_of_a_segment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
