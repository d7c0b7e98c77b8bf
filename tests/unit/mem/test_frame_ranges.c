/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c mem/memmap.c
   tests/unit/mem/frame_arena.c */
/* Where frames come from: memory as it is found or given later, and runs that leave the allocator. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/frame_arena.h"

static void over_4_gib(void **state)
{
	struct mem_range ranges[] = {{MIB(1), MIB(16)},
				     {GIB(4) - MIB(1), GIB(4) + MIB(9)},
				     {GIB(7) + MIB(5), GIB(7) + MIB(6)}};
	u64 low, above = 0, n = 0;
	pfn_t pfn;

	hosted_cpu_set(0);
	hosted_arena_init(GIB(8));
	map_of(ranges, ARRAY_SIZE(ranges));
	assert_int_equal(frame_init(&map), 0);
	low = free_now();
	/* Nothing above is handed out, or even touched, before the direct map shows it. */
	while (frame_alloc(0, 0, &pfn) == 0) {
		assert_true(pfn_to_hpa(pfn).v < GIB(4));
		frame_of(pfn)->pins = 7;
		n++;
	}
	assert_int_equal(n, low);
	frame_init_high();
	for (n = 0; frame_alloc(0, 0, &pfn) == 0; n++) {
		assert_true(pfn_to_hpa(pfn).v >= GIB(4));
		above += pfn_to_hpa(pfn).v >= GIB(7);
		assert_int_equal(frame_pfn(frame_of(pfn)).v, pfn.v);
	}
	/* 10 MiB less what the arrays of two sections take: 9 MiB and 1 MiB of frames. */
	assert_in_range(n, 10 * 256 - 19 - 2, 10 * 256 - 10);
	assert_in_range(above, 200, 256);
	assert_null(frame_of(PFN(GIB(5) >> PAGE_SHIFT)));
	assert_null(frame_of(PFN(GIB(7) >> PAGE_SHIFT)));
	assert_non_null(frame_of(PFN((GIB(7) + MIB(5)) >> PAGE_SHIFT)));
	assert_null(frame_of(PFN((GIB(7) + MIB(6)) >> PAGE_SHIFT)));
	assert_null(frame_of(PFN(GIB(9) >> PAGE_SHIFT)));
	assert_null(frame_of(PFN(~0ull)));
	assert_null(frame_of(PFN(0)));
}

static void one_gib_block(void **state)
{
	struct mem_range ranges[] = {{MIB(1), MIB(64)}, {GIB(1), GIB(2)}, {GIB(2), GIB(3) - 4096}};
	pfn_t pfn, other;

	hosted_cpu_set(0);
	hosted_arena_init(GIB(3));
	/* The arrays, 18 MiB of them, find room below. */
	map_of(ranges, ARRAY_SIZE(ranges));
	assert_int_equal(frame_init(&map), 0);
	assert_int_equal(frame_alloc(18, 0, &pfn), 0);
	assert_int_equal(pfn_to_hpa(pfn).v, GIB(1));
	assert_int_equal(frame_alloc(18, 0, &other), ERR_NOMEM);
	assert_int_equal(frame_alloc(17, 0, &other), 0);
	frame_free(other, 17);
	frame_free(pfn, 18);
	assert_int_equal(frame_alloc(18, 0, &pfn), 0);
}

static void do_release(void *arg)
{
	struct mem_range *r = arg;

	frame_release_range(r->start, r->end);
}

static void release(void **state)
{
	static const struct boot_mmap_entry entries[] = {
		{0, KIB(640), BOOT_MEM_AVAILABLE},
		{MIB(1), MIB(15), BOOT_MEM_AVAILABLE},
	};
	struct mem_range module = {MIB(3), MIB(5)}, tail = {MIB(15), MIB(17)};
	u64 before;

	hosted_cpu_set(0);
	hosted_arena_init(MIB(32));
	assert_int_equal(memmap_build(&map, entries, 2, &module, 1), 0);
	assert_int_equal(frame_init(&map), 0);
	before = free_now();
	assert_non_null(frame_of(PFN(MIB(4) >> PAGE_SHIFT)));
	frame_release_range(module.start, module.end);
	assert_int_equal(free_now(), before + 512);
	assert_true(hosted_catch_panic(do_release, &module));
	assert_non_null(strstr(hosted_panic_text(), "released twice"));
	/* What was free all along is no less a double free. */
	module = (struct mem_range){MIB(8), MIB(8) + PAGE_SIZE};
	assert_true(hosted_catch_panic(do_release, &module));
	hosted_locks_forget();
	module = (struct mem_range){MIB(9), MIB(8)};
	assert_true(hosted_catch_panic(do_release, &module));
	/* The first MiB is not taken, nor is what is no RAM. */
	before = free_now();
	hosted_log_reset();
	frame_release_range(0, MIB(1));
	assert_int_equal(hosted_log_count(1), 1);
	assert_int_equal(free_now(), before);
	assert_true(hosted_catch_panic(do_release, &tail));
	frame_release_range(MIB(16), MIB(17));
	assert_int_equal(free_now(), before);
}

static void do_free_one(void *arg)
{
	frame_free(*(pfn_t *)arg, 0);
}

/* The reserved run is nobody's to free, and all the rest can be had without touching it. */
static void check_reserved(pfn_t pfn, u64 pages, u64 left)
{
	memset(pfn_to_virt(pfn), 0xee, pages * PAGE_SIZE);
	assert_true(hosted_catch_panic(do_free_one, &pfn));
	hosted_locks_forget();
	memset(taken, 0, sizeof(taken));
	for (u64 i = 0; i < pages; i++)
		mark(PFN(pfn.v + i), 0, 0, 2);
	for (u64 i = 0; i < left; i++) {
		pfn_t other;

		assert_int_equal(frame_alloc(0, 0, &other), 0);
		mark(other, 0, 0, 1);
	}
	for (u64 i = 0; i < PAGES; i++) {
		if (taken[i] == 1)
			frame_free(PFN(i), 0);
	}
}

/* A run of any length leaves the allocator, what is around it does not, and it comes back whole. */
static void reserve(void **state)
{
	struct frame_stats before, now;
	u32 largest;
	pfn_t pfn;

	start(ARENA);
	frame_get_stats(&before);
	largest = largest_order();
	assert_int_equal(frame_reserve(0, 1, &pfn), ERR_RANGE);
	assert_int_equal(frame_reserve(ARENA / PAGE_SIZE, 1, &pfn), ERR_NOMEM);
	for (u64 pages = 1; pages < before.free; pages = pages * 2 + pages % 7) {
		u64 align = pages % 3 ? 512 : 1;

		assert_int_equal(frame_reserve(pages, align, &pfn), 0);
		assert_true(is_aligned(pfn.v, align));
		frame_get_stats(&now);
		assert_int_equal(now.free, before.free - pages);
		assert_int_equal(now.total, before.total - pages);
		check_reserved(pfn, pages, now.free);
		frame_release_range(pfn.v << PAGE_SHIFT, (pfn.v + pages) << PAGE_SHIFT);
		frame_get_stats(&now);
		assert_int_equal(now.free, before.free);
		assert_int_equal(now.total, before.total);
		assert_int_equal(largest_order(), largest);
	}
	/* All there is, which no block holds. */
	assert_int_equal(frame_reserve(before.free, 1, &pfn), 0);
	assert_int_equal(frame_alloc(0, 0, &(pfn_t){0}), ERR_NOMEM);
	frame_release_range(pfn.v << PAGE_SHIFT, (pfn.v + before.free) << PAGE_SHIFT);
	hosted_fail_after(1);
	assert_int_equal(frame_reserve(1, 1, &pfn), ERR_NOMEM);
}

/* Between frames in use: only where the run is long enough counting from the alignment. */
static void reserve_between(void **state)
{
	static pfn_t all[PAGES];
	u64 n = 0, in_the_way;
	pfn_t pfn;

	start(ARENA);
	while (frame_alloc(0, 0, &all[n]) == 0)
		n++;
	in_the_way = MIB(20) / PAGE_SIZE + 300;
	for (u64 i = 0; i < n; i++) {
		if (all[i].v != in_the_way && all[i].v >= MIB(18) / PAGE_SIZE + 1 &&
		    all[i].v < MIB(28) / PAGE_SIZE)
			frame_free(all[i], 0);
	}
	assert_int_equal(frame_reserve(1600, 512, &pfn), ERR_NOMEM);
	assert_int_equal(frame_reserve(1536, 512, &pfn), 0);
	assert_int_equal(pfn.v, MIB(22) / PAGE_SIZE);
	frame_release_range(pfn.v << PAGE_SHIFT, (pfn.v + 1536) << PAGE_SHIFT);
	assert_int_equal(frame_reserve(800, 1, &pfn), 0);
	assert_int_equal(pfn.v, MIB(18) / PAGE_SIZE + 1);
	frame_release_range(pfn.v << PAGE_SHIFT, (pfn.v + 800) << PAGE_SHIFT);
	assert_int_equal(frame_reserve(300, 512, &pfn), 0);
	assert_int_equal(pfn.v, MIB(20) / PAGE_SIZE);
	frame_release_range(pfn.v << PAGE_SHIFT, (pfn.v + 300) << PAGE_SHIFT);
}

/* Init fails cleanly when there is nowhere to put the array. */
static void no_memory_for_the_array(void **state)
{
	struct mem_range small[] = {{MIB(1), MIB(1) + PAGE_SIZE}, {MIB(2), MIB(2) + PAGE_SIZE}};
	struct mem_range high = {GIB(4), GIB(5)};
	pfn_t pfn;

	hosted_cpu_set(0);
	hosted_arena_init(GIB(5));
	map_of(small, 2);
	assert_int_equal(frame_init(&map), ERR_NOMEM);
	map_of(&high, 1);
	assert_int_equal(frame_init(&map), ERR_NOMEM);
	memset(&map, 0, sizeof(map));
	assert_int_equal(frame_init(&map), ERR_NOMEM);
	assert_int_equal(frame_alloc(0, 0, &pfn), ERR_NOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(over_4_gib),	   cmocka_unit_test(one_gib_block),
		cmocka_unit_test(release),	   cmocka_unit_test(reserve),
		cmocka_unit_test(reserve_between), cmocka_unit_test(no_memory_for_the_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
