/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/mtrr.c mem/memmap.c */
/*
 * Memory type ranges as firmwares set them, and what is left uncached; then random ones against
 * the manual's rule, asked page by page.
 */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "mem/mtrr.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"

#define MTRR	 BIT(12)
#define VALID	 BIT(11)
#define ENABLED	 BIT(11)
#define FIXED	 BIT(10)
#define UC	 0
#define WC	 1
#define WT	 4
#define WB	 6
#define BITS(n)	 (BIT(n) - 1)
#define RAM_END	 GIB(8)
#define MSRS_MAX 40

static u64 cap, def_type, variable[2 * MSRS_MAX];
static u32 leaf_1_edx, leaf_1_ecx, missing;
static u32 used;
static struct memmap map;

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	return (struct cpuid_regs){.ecx = leaf == 1 ? leaf_1_ecx : 0,
				   .edx = leaf == 1 ? leaf_1_edx : 0};
}

static int safe_rdmsr(u32 index, u64 *value)
{
	assert_true(leaf_1_edx & MTRR);
	if (index == missing)
		return ERR_FAULT;
	if (index == MSR_IA32_MTRRCAP) {
		*value = cap;
	} else if (index == MSR_IA32_MTRR_DEF_TYPE) {
		*value = def_type;
	} else {
		assert_in_range(index, 0x200, 0x200 + 2 * (cap & 0xff) - 1);
		*value = variable[index - 0x200];
	}
	return 0;
}

static void set(u64 base, u64 size, u64 type, u32 width)
{
	variable[2 * used] = base | type;
	variable[2 * used + 1] = (BITS(width) & ~(size - 1)) | VALID;
	used++;
}

static int setup(void **state)
{
	static const struct boot_mmap_entry ram[] = {
		{0, KIB(640), BOOT_MEM_AVAILABLE},
		{MIB(1), GIB(3) - MIB(1), BOOT_MEM_AVAILABLE},
		{GIB(4), RAM_END - GIB(4), BOOT_MEM_AVAILABLE},
	};

	hosted_machine = (struct hosted_machine){.cpuid = fake_cpuid};
	leaf_1_edx = MTRR;
	leaf_1_ecx = 0;
	missing = 0;
	cap = 8;
	def_type = ENABLED | FIXED | UC;
	memset(variable, 0, sizeof(variable));
	used = 0;
	assert_int_equal(memmap_build(&map, ram, ARRAY_SIZE(ram), NULL, 0), 0);
	return 0;
}

static u64 lost(int outcome)
{
	struct mtrr_state s;
	u64 bytes;

	assert_int_equal(mtrr_read(&s, safe_rdmsr), 0);
	assert_int_equal(mtrr_withhold(&s, &map, &bytes), outcome);
	return bytes;
}

static void nothing_is_lost(void)
{
	assert_int_equal(lost(0), 0);
	assert_int_equal(map.count, 2);
}

/* Ranges of powers of two that add up, or one with a hole in it, or all but a hole. */
static void all_cached(void **state)
{
	set(0, GIB(2), WB, 36);
	set(GIB(2), GIB(1), WB, 36);
	set(GIB(4), GIB(4), WB, 36);
	nothing_is_lost();
	setup(state);
	set(0, GIB(4), WB, 39);
	set(GIB(3), GIB(1), UC, 39);
	set(GIB(4), GIB(4), WB, 39);
	nothing_is_lost();
	setup(state);
	def_type = ENABLED | WB;
	set(GIB(3), GIB(1), UC, 46);
	nothing_is_lost();
	setup(state);
	def_type = ENABLED | WB;
	nothing_is_lost();
}

/* Nothing here says how wide addresses are: of 36 bits to 52, and with the highest left out. */
static void every_width(void **state)
{
	for (u32 width = 34; width <= 52; width++) {
		setup(state);
		set(0, GIB(8), WB, width);
		set(GIB(8) - MIB(64), MIB(64), UC, width);
		assert_int_equal(lost(0), MIB(64));
		assert_int_equal(map.count, 2);
		assert_int_equal(map.ranges[1].end, RAM_END - MIB(64));
		assert_true(memmap_shows(&map, RAM_END - MIB(64), MIB(64)));
	}
}

/* The top was not covered: the old firmware's fault that this is for. */
static void the_top_is_left_out(void **state)
{
	set(0, GIB(4), WB, 36);
	set(GIB(3), GIB(1), UC, 36);
	set(GIB(4), GIB(2), WB, 36);
	set(GIB(6), GIB(1), WB, 36);
	assert_int_equal(lost(0), GIB(1));
	assert_int_equal(map.count, 2);
	assert_int_equal(map.ranges[1].end, GIB(7));
}

/* UC over WB is UC, WT over WB is WT; the order of the registers does not count. */
static void overlaps(void **state)
{
	static const u64 types[] = {UC, WC, WT};
	for (u32 i = 0; i < 2 * ARRAY_SIZE(types); i++) {
		setup(state);
		if (i % 2)
			set(GIB(1), MIB(2), types[i / 2], 40);
		set(0, GIB(8), WB, 40);
		set(0, GIB(2), WB, 40);
		if (!(i % 2))
			set(GIB(1), MIB(2), types[i / 2], 40);
		assert_int_equal(lost(0), MIB(2));
		assert_int_equal(map.count, 3);
		assert_int_equal(map.ranges[0].end, GIB(1));
		assert_int_equal(map.ranges[1].start, GIB(1) + MIB(2));
	}
}

static void too_much_stays(void **state)
{
	set(0, GIB(2), WB, 36);
	assert_int_equal(lost(ERR_RANGE), GIB(5));
	assert_int_equal(map.count, 2);
	assert_int_equal(map.ranges[1].end, RAM_END);
}

/* As many free ranges as there is room for, and a hole in the first. */
static void no_room_for_a_hole(void **state)
{
	static struct boot_mmap_entry ram[MEMMAP_RANGES_MAX];

	for (u32 i = 0; i < ARRAY_SIZE(ram); i++)
		ram[i] = (struct boot_mmap_entry){MIB(4) * (i + 1), MIB(3), BOOT_MEM_AVAILABLE};
	assert_int_equal(memmap_build(&map, ram, ARRAY_SIZE(ram), NULL, 0), 0);
	set(0, GIB(8), WB, 40);
	set(MIB(5), MIB(1), UC, 40);
	assert_int_equal(lost(ERR_NOSPC), MIB(1));
	assert_int_equal(map.ranges[0].end, MIB(5));
	assert_int_equal(map.ranges[1].start, MIB(8));
}

static void nothing_to_read(void)
{
	struct mtrr_state s;

	assert_int_equal(mtrr_read(&s, safe_rdmsr), ERR_NOTSUP);
}

/* As bare metal's, but without effect. */
static void a_hypervisors(void **state)
{
	struct mtrr_state s;

	set(0, GIB(4), WB, 36);
	assert_int_equal(mtrr_read(&s, safe_rdmsr), 0);
	leaf_1_ecx = BIT(31);
	nothing_to_read();
}

/* Off, or as they are after a reset: then nothing is cached, but in a virtual machine. */
static void off(void **state)
{
	struct mtrr_state s;

	assert_int_equal(mtrr_read(&s, safe_rdmsr), ERR_RANGE);
	def_type = WB;
	set(0, GIB(8), WB, 36);
	assert_int_equal(mtrr_read(&s, safe_rdmsr), ERR_RANGE);
	leaf_1_ecx = BIT(31);
	nothing_to_read();
}

/* Not all there. */
static void none(void **state)
{
	set(0, GIB(8), WB, 36);
	missing = MSR_IA32_MTRRCAP;
	nothing_to_read();
	missing = MSR_IA32_MTRR_DEF_TYPE;
	nothing_to_read();
	missing = 0x203;
	nothing_to_read();
	leaf_1_edx = 0;
	nothing_to_read();
}

/* More than there is room for, and those beyond the address space. */
static void odd_ones(void **state)
{
	cap = MSRS_MAX;
	for (u32 i = 0; i < MSRS_MAX; i++)
		set(MIB(64) + MIB(i), MIB(1), UC, 52);
	def_type = ENABLED | WB;
	assert_int_equal(lost(0), MIB(MTRR_VARIABLE_MAX));
	setup(state);
	set(0, GIB(8), WB, 36);
	set(BIT(51), BIT(51), UC, 52);
	variable[2 * used + 1] = VALID; /* no mask at all */
	nothing_is_lost();
}

/* SDM 3A 11.11.3: an address is in a range where base and address agree under the mask. */
static bool write_back_by_the_rule(const struct mtrr_state *s, u64 page)
{
	bool any = false, all = true;

	for (u32 i = 0; i < s->count; i++) {
		u64 mask = s->variable[i].mask & BITS(52) & PAGE_MASK;

		if (!(s->variable[i].mask & VALID) || (page & mask) != (s->variable[i].base & mask))
			continue;
		any = true;
		all = all && (s->variable[i].base & 0xff) == WB;
	}
	return any ? all : (def_type & 0xff) == WB;
}

static void random_ranges(void **state)
{
	static const u8 types[] = {UC, WB, WB, WB, WT};
	u64 random = 0x9e3779b97f4a7c15ull;

	for (u32 round = 0; round < 3000; round++) {
		struct mem_range out[MTRR_RANGES_MAX];
		struct mtrr_state s;
		u32 n, at = 0;

		setup(state);
		def_type = ENABLED | (random_next(&random) % 2 ? WB : UC);
		for (u32 i = 0; i < 8; i++) {
			u64 size = MIB(1) << random_next(&random) % 6;

			/* Bits below the size are not looked at. */
			set(random_next(&random) % 64 * MIB(1), size,
			    types[random_next(&random) % ARRAY_SIZE(types)], 52);
		}
		assert_int_equal(mtrr_read(&s, safe_rdmsr), 0);
		n = mtrr_not_write_back(&s, out);
		assert_true(n <= MTRR_RANGES_MAX);
		for (u32 i = 1; i < n; i++)
			assert_true(out[i - 1].end < out[i].start);
		for (u64 page = MIB(1); page < MIB(130); page += KIB(512)) {
			while (at < n && out[at].end <= page)
				at++;
			assert_int_equal(at < n && out[at].start <= page,
					 !write_back_by_the_rule(&s, page));
		}
	}
}

static u32 told_of(u32 cpu)
{
	hosted_log_reset();
	mtrr_check_cpu(cpu, safe_rdmsr);
	return hosted_log_count(LOG_WARN);
}

static void cpus_that_differ(void **state)
{
	set(0, GIB(4), WB, 36);
	set(GIB(3), GIB(1), UC, 36);
	assert_int_equal(told_of(0), 0);
	assert_int_equal(told_of(1), 0);
	variable[2] ^= UC ^ WT;
	assert_int_equal(told_of(2), 1);
	assert_non_null(strstr(hosted_log_last(), "CPU 2's"));
	variable[2] ^= UC ^ WT;
	variable[1] &= ~GIB(4);
	assert_int_equal(told_of(3), 1);
	variable[1] |= GIB(4);
	variable[4] = GIB(7); /* a pair that is off */
	assert_int_equal(told_of(3), 0);
	variable[5] = VALID;
	assert_int_equal(told_of(3), 1);
	variable[5] = 0;
	def_type |= WB;
	assert_int_equal(told_of(3), 1);
	def_type = UC; /* and off as a whole */
	assert_int_equal(told_of(3), 1);
	def_type = ENABLED | FIXED | UC;
	missing = MSR_IA32_MTRRCAP;
	assert_int_equal(told_of(3), 1);
	assert_int_equal(told_of(0), 0); /* nothing to compare with */
	assert_int_equal(told_of(3), 0);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_cached),	  TEST(every_width),	  TEST(the_top_is_left_out),
		TEST(overlaps),		  TEST(too_much_stays),	  TEST(none),
		TEST(no_room_for_a_hole), TEST(a_hypervisors),	  TEST(odd_ones),
		TEST(random_ranges),	  TEST(cpus_that_differ), TEST(off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
