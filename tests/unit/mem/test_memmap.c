/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/memmap.c */
/*
 * A corpus of the memory maps that firmware and test benches have come up with, each with what
 * must come of it; then random maps against an oracle that keeps one bit a page.
 */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/memmap.h"

#define AVAIL BOOT_MEM_AVAILABLE
#define RESV  BOOT_MEM_RESERVED
#define ACPI  BOOT_MEM_ACPI_RECLAIM
#define NVS   BOOT_MEM_ACPI_NVS
#define BAD   BOOT_MEM_BAD

#define CORPUS_ENTRIES 12
#define CORPUS_RANGES  8

struct corpus_case {
	const char *name;
	struct boot_mmap_entry entries[CORPUS_ENTRIES]; /* ended by one that is all 0 */
	struct mem_range reserved[CORPUS_RANGES];	/* ended by 0, 0 */
	struct mem_range free[CORPUS_RANGES];
	u64 highest_ram;
	u32 ignored;
};

static const struct corpus_case corpus[] = {
	{
		.name = "plain: a PC of 256 MiB",
		.entries = {{0, KIB(639), AVAIL},
			    {KIB(639), KIB(1), RESV},
			    {0xf0000, KIB(64), RESV},
			    {MIB(1), MIB(255) - KIB(128), AVAIL},
			    {MIB(256) - KIB(128), KIB(128), ACPI},
			    {0xfffc0000, KIB(256), RESV}},
		.free = {{MIB(1), MIB(256) - KIB(128)}},
		.highest_ram = MIB(256),
	},
	{
		.name = "unsorted",
		.entries = {{MIB(64), MIB(16), AVAIL},
			    {MIB(4), MIB(4), AVAIL},
			    {MIB(32), MIB(8), AVAIL},
			    {MIB(16), MIB(8), AVAIL}},
		.free = {{MIB(4), MIB(8)},
			 {MIB(16), MIB(24)},
			 {MIB(32), MIB(40)},
			 {MIB(64), MIB(80)}},
		.highest_ram = MIB(80),
	},
	{
		.name = "overlapping: available over available, one bridging two",
		.entries = {{MIB(4), MIB(4), AVAIL},
			    {MIB(6), MIB(4), AVAIL},
			    {MIB(12), MIB(2), AVAIL},
			    {MIB(9), MIB(4), AVAIL}},
		.free = {{MIB(4), MIB(14)}},
		.highest_ram = MIB(14),
	},
	{
		.name = "zero-length: of either type, also in the middle",
		.entries = {{MIB(4), 0, AVAIL},
			    {MIB(8), MIB(4), AVAIL},
			    {MIB(10), 0, RESV},
			    {MIB(64), 0, AVAIL}},
		.free = {{MIB(8), MIB(12)}},
		.highest_ram = MIB(12),
		.ignored = 3,
	},
	{
		.name = "wrapping: available that wraps is passed over",
		.entries = {{MIB(4), MIB(4), AVAIL}, {MIB(16), ~0ull - MIB(8), AVAIL}},
		.free = {{MIB(4), MIB(8)}},
		.highest_ram = MIB(8),
		.ignored = 1,
	},
	{
		.name = "wrapping: reserved that wraps is kept to the end",
		.entries = {{MIB(4), MIB(28), AVAIL}, {MIB(16), ~0ull - MIB(8), RESV}},
		.free = {{MIB(4), MIB(16)}},
		.highest_ram = MIB(16),
		.ignored = 1,
	},
	{
		.name = "wrapping: ends at 2^64 exactly, which is no wrap",
		.entries = {{MIB(4), MIB(28), AVAIL},
			    {0ull - MIB(1), MIB(1), RESV},
			    {GIB(4), 0ull - GIB(4), RESV}},
		.free = {{MIB(4), MIB(32)}},
		.highest_ram = MIB(32),
	},
	{
		.name = "over 4 GiB, with the hole below it",
		.entries = {{MIB(1), GIB(3) - MIB(1), AVAIL},
			    {GIB(3), GIB(1), RESV},
			    {GIB(4), GIB(60), AVAIL},
			    {GIB(1024), GIB(1), AVAIL}},
		.free = {{MIB(1), GIB(3)}, {GIB(4), GIB(64)}, {GIB(1024), GIB(1025)}},
		.highest_ram = GIB(1025),
	},
	{
		.name = "ending oddly: bytes that are no page are lost",
		.entries = {{MIB(1), MIB(15) + 4095, AVAIL},
			    {MIB(32) + 1, MIB(1), AVAIL},
			    {MIB(48), 4095, AVAIL},
			    {MIB(64) + 2048, 4096, AVAIL}},
		.free = {{MIB(1), MIB(16)}, {MIB(32) + 4096, MIB(33)}},
		.highest_ram = MIB(33),
	},
	{
		.name = "unaligned: a reserved byte costs its page",
		.entries = {{MIB(1), MIB(15), AVAIL},
			    {MIB(4) + 17, 1, RESV},
			    {MIB(8) + 4095, 2, RESV}},
		.free = {{MIB(1), MIB(4)}, {MIB(4) + 4096, MIB(8)}, {MIB(8) + 8192, MIB(16)}},
		.highest_ram = MIB(16),
	},
	{
		.name = "nested: reserved in available in reserved",
		.entries = {{MIB(1), MIB(63), RESV},
			    {MIB(1), MIB(255), AVAIL},
			    {MIB(128), MIB(8), RESV},
			    {MIB(130), MIB(2), AVAIL}},
		.free = {{MIB(64), MIB(128)}, {MIB(136), MIB(256)}},
		.highest_ram = MIB(256),
	},
	{
		.name = "touching: many small ones become one",
		.entries = {{MIB(3), MIB(1), AVAIL},
			    {MIB(1), MIB(1), AVAIL},
			    {MIB(2), MIB(1), AVAIL},
			    {MIB(5), MIB(1), AVAIL},
			    {MIB(4), MIB(1), AVAIL}},
		.free = {{MIB(1), MIB(6)}},
		.highest_ram = MIB(6),
	},
	{
		.name = "duplicate: each entry twice, with different types too",
		.entries = {{MIB(2), MIB(2), AVAIL},
			    {MIB(2), MIB(2), AVAIL},
			    {MIB(8), MIB(2), AVAIL},
			    {MIB(8), MIB(2), BAD},
			    {MIB(16), MIB(2), NVS},
			    {MIB(16), MIB(2), AVAIL}},
		.free = {{MIB(2), MIB(4)}},
		.highest_ram = MIB(18),
	},
	{
		.name = "reserved over available, at both ends and all over",
		.entries = {{MIB(4), MIB(4), AVAIL},
			    {MIB(3), MIB(2), RESV},
			    {MIB(7), MIB(2), RESV},
			    {MIB(16), MIB(4), AVAIL},
			    {MIB(12), MIB(16), RESV}},
		.free = {{MIB(5), MIB(7)}},
		.highest_ram = MIB(7),
	},
	{
		.name = "kept out: image, modules that adjoin, ACPI in the middle",
		.entries = {{0, KIB(640), AVAIL},
			    {MIB(1), MIB(127), AVAIL},
			    {MIB(100), KIB(20), ACPI},
			    {MIB(100) + KIB(20), KIB(4), NVS}},
		.reserved = {{MIB(2), MIB(3) + 100},
			     {MIB(16), MIB(40) + 1},
			     {MIB(40) + 1, MIB(48)},
			     {MIB(127), MIB(129)}},
		.free = {{MIB(1), MIB(2)},
			 {MIB(3) + 4096, MIB(16)},
			 {MIB(48), MIB(100)},
			 {MIB(100) + KIB(24), MIB(127)}},
		.highest_ram = MIB(128),
	},
	{
		.name = "kept out: an empty module and one that is back to front keep nothing",
		.entries = {{MIB(1), MIB(15), AVAIL}},
		.reserved = {{MIB(4), MIB(4)}, {MIB(9), MIB(8)}, {MIB(12) + 1, MIB(12) + 1}},
		.free = {{MIB(1), MIB(16)}},
		.highest_ram = MIB(16),
	},
	{
		.name = "low: nothing below 1 MiB is free whatever the firmware says",
		.entries = {{0, MIB(2) + 1, AVAIL}},
		.free = {{MIB(1), MIB(2)}},
		.highest_ram = MIB(2),
	},
	{
		.name = "unknown types, 0 and those above 5, are reserved",
		.entries = {{MIB(1), MIB(15), AVAIL},
			    {MIB(4), MIB(1), 0},
			    {MIB(8), MIB(1), 7},
			    {MIB(12), MIB(1), 0xffffffff}},
		.free = {{MIB(1), MIB(4)}, {MIB(5), MIB(8)}, {MIB(9), MIB(12)}, {MIB(13), MIB(16)}},
		.highest_ram = MIB(16),
	},
	{
		.name = "beyond any processor's reach",
		.entries = {{BIT(60), GIB(1), AVAIL},
			    {MEMMAP_PHYS_END - MIB(1), MIB(2), AVAIL},
			    {MIB(1), MIB(1), AVAIL}},
		.free = {{MIB(1), MIB(2)}, {MEMMAP_PHYS_END - MIB(1), MEMMAP_PHYS_END}},
		.highest_ram = MEMMAP_PHYS_END,
		.ignored = 1,
	},
	{
		.name = "everything is reserved",
		.entries = {{0, GIB(4), AVAIL}, {0, ~0ull, RESV}},
	},
	{
		.name = "nothing at all",
	},
};

static u32 entries_of(const struct corpus_case *c)
{
	u32 n = 0;

	while (n < CORPUS_ENTRIES && (c->entries[n].base || c->entries[n].length))
		n++;
	return n;
}

static u32 ranges_of(const struct mem_range *r)
{
	u32 n = 0;

	while (n < CORPUS_RANGES && (r[n].start || r[n].end))
		n++;
	return n;
}

static struct memmap map;

static void corpus_gives_what_it_should(void **state)
{
	assert_true(ARRAY_SIZE(corpus) >= 12);
	for (u32 i = 0; i < ARRAY_SIZE(corpus); i++) {
		const struct corpus_case *c = &corpus[i];
		u32 expected = ranges_of(c->free);

		memset(&map, 0xcc, sizeof(map));
		assert_int_equal(memmap_build(&map, c->entries, entries_of(c), c->reserved,
					      ranges_of(c->reserved)),
				 0);
		if (map.count != expected ||
		    memcmp(map.ranges, c->free, expected * sizeof(struct mem_range)))
			fail_msg("%s: %u ranges, first %#llx-%#llx", c->name, map.count,
				 (unsigned long long)map.ranges[0].start,
				 (unsigned long long)map.ranges[0].end);
		if (map.highest_ram != c->highest_ram || map.ignored != c->ignored)
			fail_msg("%s: highest %#llx, %u ignored", c->name,
				 (unsigned long long)map.highest_ram, map.ignored);
	}
}

/* Order does not matter: each case again with its entries back to front. */
static void corpus_backwards(void **state)
{
	static struct memmap forwards;

	for (u32 i = 0; i < ARRAY_SIZE(corpus); i++) {
		struct boot_mmap_entry reversed[CORPUS_ENTRIES];
		u32 n = entries_of(&corpus[i]), r = ranges_of(corpus[i].reserved);

		for (u32 j = 0; j < n; j++)
			reversed[j] = corpus[i].entries[n - 1 - j];
		memset(&map, 0, sizeof(map));
		memset(&forwards, 0, sizeof(forwards));
		memmap_build(&forwards, corpus[i].entries, n, corpus[i].reserved, r);
		memmap_build(&map, reversed, n, corpus[i].reserved, r);
		assert_int_equal(map.count, forwards.count);
		assert_memory_equal(map.ranges, forwards.ranges,
				    map.count * sizeof(struct mem_range));
		assert_int_equal(map.ram_count, forwards.ram_count);
		assert_memory_equal(map.ram, forwards.ram, map.ram_count * sizeof(map.ram[0]));
	}
}

/* --- Random maps --------------------------------------------------------------------------- */

#define ORACLE_PAGES 2048 /* 8 MiB: the first 256 are the low MiB */
#define ORACLE_MAPS  20000

struct oracle {
	u8 available[ORACLE_PAGES], acpi[ORACLE_PAGES], other[ORACLE_PAGES], kept[ORACLE_PAGES];
};

/* Only pages that the range reaches are looked at; of the others neither is true. */
static void oracle_set(u8 *pages, u64 base, u64 length, bool inwards)
{
	u64 last = min((base + length) / PAGE_SIZE, (u64)ORACLE_PAGES - 1);

	for (u64 p = base / PAGE_SIZE; p <= last; p++) {
		u64 from = p * PAGE_SIZE, to = from + PAGE_SIZE;
		bool whole = from >= base && to - base <= length;
		bool touched = length && from < base + length && to > base;

		if (inwards ? whole : touched)
			pages[p] = 1;
	}
}

static u64 random_address(void)
{
	u64 a = (u64)random() % (ORACLE_PAGES * PAGE_SIZE);

	return random() % 3 ? a & PAGE_MASK : a;
}

static void check_ranges(const struct mem_range *r, u32 count, const u8 *expected)
{
	u64 page = 0;

	for (u32 i = 0; i < count; i++) {
		assert_true(is_aligned(r[i].start | r[i].end, PAGE_SIZE));
		assert_true(r[i].start < r[i].end);
		/* Sorted, and a gap between each two. */
		assert_true(i == 0 || r[i].start > r[i - 1].end);
		for (; page < r[i].start >> PAGE_SHIFT; page++)
			assert_int_equal(expected[page], 0);
		for (; page < r[i].end >> PAGE_SHIFT; page++)
			assert_int_equal(expected[page], 1);
	}
	for (; page < ORACLE_PAGES; page++)
		assert_int_equal(expected[page], 0);
}

static void random_map(void)
{
	static struct oracle o;
	static u8 ram[ORACLE_PAGES], free[ORACLE_PAGES];
	struct boot_mmap_entry entries[24];
	struct mem_range reserved[6];
	u32 count = (u32)random() % ARRAY_SIZE(entries), kept = (u32)random() % 6;

	memset(&o, 0, sizeof(o));
	for (u32 i = 0; i < count; i++) {
		u32 type = random() % 2 ? AVAIL : (u32)random() % 7;
		u64 base = random_address(), length = random_address() / (1 + random() % 64);

		length = min(length, ORACLE_PAGES * PAGE_SIZE - base);
		entries[i] = (struct boot_mmap_entry){base, length, type};
		if (type == AVAIL)
			oracle_set(o.available, base, length, true);
		else
			oracle_set(type == ACPI || type == NVS ? o.acpi : o.other, base, length,
				   false);
	}
	for (u32 i = 0; i < kept; i++) {
		u64 start = random_address(), length = (u64)random() % KIB(100);

		length = min(length, ORACLE_PAGES * PAGE_SIZE - start);
		reserved[i] = (struct mem_range){start, start + length};
		oracle_set(o.kept, start, length, false);
	}
	for (u32 p = 0; p < ORACLE_PAGES; p++) {
		ram[p] = (o.available[p] || o.acpi[p]) && !o.other[p];
		free[p] = o.available[p] && !o.acpi[p] && !o.other[p] && !o.kept[p] && p >= 256;
	}
	assert_int_equal(memmap_build(&map, entries, count, reserved, kept), 0);
	check_ranges(map.ranges, map.count, free);
	check_ranges(map.ram, map.ram_count, ram);
	assert_int_equal(map.highest_ram, map.ram_count ? map.ram[map.ram_count - 1].end : 0);
}

static void random_maps_match_the_oracle(void **state)
{
	srandom(2);
	for (u32 i = 0; i < ORACLE_MAPS; i++)
		random_map();
}

/* --- Too many ------------------------------------------------------------------------------ */

#define MANY (MEMMAP_RANGES_MAX + 100)

static void too_many_ranges(void **state)
{
	static struct boot_mmap_entry entries[MANY];
	static struct mem_range reserved[MANY];
	struct boot_mmap_entry one = {MIB(1), GIB(1), AVAIL};

	for (u32 i = 0; i < MANY; i++) {
		entries[i] = (struct boot_mmap_entry){MIB(2 + 2 * (u64)i), MIB(1), AVAIL};
		reserved[i] = (struct mem_range){entries[i].base, entries[i].base + MIB(1)};
	}
	assert_int_equal(memmap_build(&map, entries, MANY, NULL, 0), ERR_NOSPC);
	assert_int_equal(map.count, MEMMAP_RANGES_MAX);
	for (u32 i = 0; i < map.count; i++)
		assert_int_equal(map.ranges[i].end - map.ranges[i].start, MIB(1));
	assert_int_equal(memmap_build(&map, entries, MEMMAP_RANGES_MAX, NULL, 0), 0);
	/* Cutting one range to too many pieces loses memory but frees nothing that is kept. */
	one.length = MIB(2 * MANY + 10);
	assert_int_equal(memmap_build(&map, &one, 1, reserved, MANY), ERR_NOSPC);
	for (u32 i = 0; i < map.count; i++) {
		for (u32 j = 0; j < MANY; j++)
			assert_true(map.ranges[i].end <= reserved[j].start ||
				    map.ranges[i].start >= reserved[j].end);
	}
	assert_in_range(map.count, 1, MEMMAP_RANGES_MAX);
}

/* Free memory is always RAM, even when the list of RAM was the one that overflowed. */
static void free_is_ram_when_ram_overflows(void **state)
{
	static struct boot_mmap_entry entries[MANY];

	for (u32 i = 0; i < MANY; i++) {
		u32 type = i % 2 ? AVAIL : ACPI;

		entries[i] = (struct boot_mmap_entry){MIB(2 + 2 * (u64)i), MIB(1), type};
	}
	assert_int_equal(memmap_build(&map, entries, MANY, NULL, 0), ERR_NOSPC);
	assert_true(map.count > 0);
	for (u32 i = 0; i < map.count; i++) {
		bool in = false;

		for (u32 j = 0; j < map.ram_count; j++)
			in |= map.ranges[i].start >= map.ram[j].start &&
			      map.ranges[i].end <= map.ram[j].end;
		assert_true(in);
	}
}

static void clipped_where_the_cpu_ends(void **state)
{
	const struct boot_mmap_entry entries[] = {
		{MIB(1), MIB(7), AVAIL},
		{GIB(63), GIB(2), AVAIL},
		{GIB(512), GIB(1), AVAIL},
	};

	assert_int_equal(memmap_build(&map, entries, 3, NULL, 0), 0);
	assert_false(memmap_clip(&map, GIB(513)));
	assert_int_equal(map.count, 3);
	assert_true(memmap_clip(&map, GIB(64)));
	assert_int_equal(map.count, 2);
	assert_int_equal(map.ranges[1].start, GIB(63));
	assert_int_equal(map.ranges[1].end, GIB(64));
	assert_int_equal(map.ram_count, 2);
	assert_int_equal(map.ram[1].end, GIB(64));
	assert_int_equal(map.highest_ram, GIB(64));
	assert_true(memmap_clip(&map, 0));
	assert_int_equal(map.count + map.ram_count + map.highest_ram, 0);
}

static void shows(void **state)
{
	const struct boot_mmap_entry entries[] = {
		{MIB(2), MIB(2), AVAIL},
		{MIB(4), MIB(1), ACPI},
		{MIB(8), MIB(8), AVAIL},
	};

	assert_int_equal(memmap_build(&map, entries, 3, NULL, 0), 0);
	assert_true(memmap_shows(&map, MIB(2), MIB(3)));
	assert_false(memmap_shows(&map, MIB(2), MIB(3) + 1));
	assert_false(memmap_shows(&map, MIB(2) - 1, 2));
	assert_true(memmap_shows(&map, MIB(8) + 5, MIB(7)));
	assert_false(memmap_shows(&map, MIB(6), 1));
	assert_false(memmap_shows(&map, MIB(20), 1));
	assert_false(memmap_shows(&map, MIB(3), MIB(6)));
	assert_true(memmap_shows(&map, 0, MIB(1)));
	assert_false(memmap_shows(&map, 0, MIB(1) + 1));
	assert_true(memmap_shows(&map, MIB(20), 0));
	assert_false(memmap_shows(&map, ~0ull, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(corpus_gives_what_it_should),
		cmocka_unit_test(corpus_backwards),
		cmocka_unit_test(random_maps_match_the_oracle),
		cmocka_unit_test(too_many_ranges),
		cmocka_unit_test(free_is_ram_when_ram_overflows),
		cmocka_unit_test(clipped_where_the_cpu_ends),
		cmocka_unit_test(shows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
