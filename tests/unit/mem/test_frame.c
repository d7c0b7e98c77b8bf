/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/frame.c mem/frame_array.c mem/frame_use.c mem/frame_zone.c mem/memmap.c */
/* The frame allocator against an oracle, and each thing it is meant to catch. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/frame_internal.h"
#include "tests/hosted/hosted.h"

static struct memmap map;

static void map_of(const struct mem_range *free, u32 count)
{
	memset(&map, 0, sizeof(map));
	map.count = count;
	memcpy(map.ranges, free, count * sizeof(*free));
	map.highest_ram = free[count - 1].end;
}

static void start(u64 arena)
{
	struct mem_range r = {MIB(1), arena};

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_arena_init(arena);
	map_of(&r, 1);
	assert_int_equal(frame_init(&map), 0);
}

static u64 free_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

/* --- Random operations against an oracle --------------------------------------------------- */

#define ARENA	  MIB(64)
#define PAGES	  (ARENA / PAGE_SIZE)
#define BLOCKS	  600
#define OPERATION 60000

static u8 taken[PAGES];

static void mark(pfn_t pfn, u32 order, u8 from, u8 to)
{
	for (u64 i = 0; i < 1ull << order; i++) {
		assert_in_range(pfn.v + i, MIB(1) >> PAGE_SHIFT, PAGES - 1);
		assert_int_equal(taken[pfn.v + i], from);
		taken[pfn.v + i] = to;
	}
}

/* The largest order has at most so many blocks: fails when freed memory does not merge. */
static u32 largest_order(void)
{
	pfn_t pfn;

	for (u32 order = FRAME_ORDER_MAX + 1; order-- > 0;) {
		if (frame_alloc(order, 0, &pfn) == 0) {
			frame_free(pfn, order);
			return order;
		}
	}
	return ~0u;
}

/* Frames are also had by what they are and by what is free around them. */
static int take_somehow(u32 order, u32 flags, pfn_t *out)
{
	u32 way = (u32)random() % 4, number = (u32)random() % 512;
	int err;

	if (order || way >= 2)
		return frame_alloc(order, flags, out);
	if (way == 0) {
		err = frame_alloc_apart(number, flags, out);
		if (!err)
			assert_int_equal(out->v % 512, number);
		return err;
	}
	*out = PFN(random() % PAGES);
	err = frame_alloc_at(*out, flags);
	if (taken[out->v])
		assert_int_equal(err, ERR_BUSY);
	return err;
}

static void random_operations(void **state)
{
	struct {
		pfn_t pfn;
		u32 order;
	} blocks[BLOCKS];
	u64 initial, used = 0, largest;
	u32 count = 0;

	start(ARENA);
	memset(taken, 0, sizeof(taken));
	initial = free_now();
	largest = largest_order();
	srandom(1);
	for (u32 i = 0; i < OPERATION; i++) {
		hosted_cpu_set((u32)random() % 4);
		if (count < BLOCKS && random() % 2) {
			u32 order = random() % 4 ? 0 : (u32)random() % 10;
			u32 flags = random() % 2 ? FRAME_ZERO : 0;
			pfn_t pfn;
			u8 *p;

			if (take_somehow(order, flags, &pfn))
				continue;
			assert_true(is_aligned(pfn.v, 1ull << order));
			mark(pfn, order, 0, 1);
			p = pfn_to_virt(pfn);
			assert_int_equal(p[0], flags ? 0 : FRAME_JUNK_ALLOC);
			assert_int_equal(p[(PAGE_SIZE << order) - PAGE_SIZE + 63],
					 flags ? 0 : FRAME_JUNK_ALLOC);
			if (flags)
				assert_int_equal(p[(PAGE_SIZE << order) - 1], 0);
			memset(p, 0xee, 4096);
			p[(PAGE_SIZE << order) - 1] = 0xee;
			blocks[count].pfn = pfn;
			blocks[count++].order = order;
			used += 1ull << order;
		} else if (count) {
			u32 which = (u32)random() % count;

			mark(blocks[which].pfn, blocks[which].order, 1, 0);
			used -= 1ull << blocks[which].order;
			frame_free(blocks[which].pfn, blocks[which].order);
			blocks[which] = blocks[--count];
		}
		assert_int_equal(free_now(), initial - used);
	}
	while (count--)
		frame_free(blocks[count].pfn, blocks[count].order);
	assert_int_equal(free_now(), initial);
	assert_int_equal(largest_order(), largest);
}

/* Everything can be had as single frames, each once; then there is nothing; then all is back. */
static void exhaustion(void **state)
{
	static pfn_t all[PAGES];
	u64 initial, n = 0;
	u32 largest;
	pfn_t pfn;

	start(ARENA);
	memset(taken, 0, sizeof(taken));
	initial = free_now();
	largest = largest_order();
	for (u32 order = 0; order <= FRAME_ORDER_MAX; order += 3) {
		n = 0;
		while (frame_alloc(order, 0, &pfn) == 0) {
			hosted_cpu_set((u32)n % 3);
			mark(pfn, order, 0, 1);
			all[n++] = pfn;
		}
		assert_int_equal(frame_alloc(order, 0, &pfn), ERR_NOMEM);
		if (order == 0) {
			assert_int_equal(n, initial);
			assert_int_equal(free_now(), 0);
			assert_null(frame_alloc_page(0));
		}
		while (n--) {
			hosted_cpu_set((u32)n % 5);
			mark(all[n], order, 1, 0);
			frame_free(all[n], order);
		}
		assert_int_equal(free_now(), initial);
	}
	assert_int_equal(largest_order(), largest);
	assert_int_equal(frame_alloc(FRAME_ORDER_MAX + 1, 0, &pfn), ERR_INVAL);
}

/* A frame that another CPU keeps at hand is found when nothing else is left. */
static void caches_are_emptied_under_pressure(void **state)
{
	static pfn_t all[PAGES];
	u64 n = 0;
	pfn_t pfn;

	start(MIB(8));
	hosted_cpu_set(1);
	while (frame_alloc(0, 0, &pfn) == 0)
		all[n++] = pfn;
	frame_free(all[--n], 0);
	hosted_cpu_set(2);
	assert_int_equal(free_now(), 1);
	assert_int_equal(frame_alloc(0, 0, &pfn), 0);
	assert_int_equal(pfn.v, all[n].v);
	assert_int_equal(frame_alloc(0, 0, &pfn), ERR_NOMEM);
	frame_free(all[n], 0);
	/* Freed through several CPUs' caches, they merge when a large block is wanted. */
	while (n--) {
		hosted_cpu_set((u32)n % 8);
		frame_free(all[n], 0);
	}
	assert_int_equal(frame_alloc(10, 0, &pfn), 0);
	frame_free(pfn, 10);
}

/* --- One frame and no other ----------------------------------------------------------------- */

static void at_a_place(void **state)
{
	u64 initial;
	u32 largest;
	pfn_t block, pfn;

	start(ARENA);
	initial = free_now();
	largest = largest_order();
	/* From the middle of whatever block has it, whose halves are still to be had. */
	assert_int_equal(frame_alloc(9, 0, &block), 0);
	frame_free(block, 9);
	pfn = PFN(block.v + 300);
	assert_int_equal(frame_alloc_at(pfn, FRAME_ZERO), 0);
	assert_int_equal(*(u64 *)pfn_to_virt(pfn), 0);
	assert_int_equal(frame_of(pfn)->refs, 1);
	assert_int_equal(initial - free_now(), 1);
	assert_int_equal(frame_alloc_at(pfn, 0), ERR_BUSY);
	assert_int_equal(frame_alloc_at(PFN(block.v + 301), 0), 0);
	assert_int_equal(*(u8 *)pfn_to_virt(PFN(block.v + 301)), FRAME_JUNK_ALLOC);
	assert_int_equal(frame_alloc_at(block, 0), 0);
	assert_int_equal(frame_alloc_at(PFN(block.v + 511), 0), 0);
	assert_int_equal(initial - free_now(), 4);
	/* It is found in this CPU's cache, but not in another's, nor where there is no RAM of ours. */
	frame_free(pfn, 0);
	frame_free(PFN(block.v + 511), 0);
	hosted_fail_after(1);
	assert_int_equal(frame_alloc_at(pfn, 0), ERR_NOMEM);
	assert_int_equal(frame_alloc_at(pfn, FRAME_ZERO), 0);
	assert_int_equal(*(u64 *)pfn_to_virt(pfn), 0);
	assert_int_equal(initial - free_now(), 3);
	assert_int_equal(frame_alloc_at(pfn, 0), ERR_BUSY);
	assert_int_equal(frame_alloc_at(PFN(block.v + 511), 0), 0);
	frame_free(pfn, 0);
	hosted_cpu_set(1);
	assert_int_equal(frame_alloc_at(pfn, 0), ERR_BUSY);
	hosted_cpu_set(0);
	assert_int_equal(frame_alloc_at(PFN(3), 0), ERR_BUSY);
	assert_int_equal(frame_alloc_at(PFN(PAGES), 0), ERR_BUSY);
	assert_int_equal(frame_alloc_at(PFN(~0ull), 0), ERR_BUSY);
	assert_int_equal(frame_alloc_at(PFN(MIB(1) >> PAGE_SHIFT), 0), ERR_BUSY);
	/* As any allocation it may be made to fail, once, where it would have succeeded. */
	hosted_fail_after(1);
	assert_int_equal(frame_alloc_at(block, 0), ERR_BUSY);
	assert_false(hosted_fail_happened());
	assert_int_equal(frame_alloc_at(PFN(block.v + 1), 0), ERR_NOMEM);
	assert_true(hosted_fail_happened());
	frame_free(PFN(block.v + 301), 0);
	frame_free(block, 0);
	frame_free(PFN(block.v + 511), 0);
	assert_int_equal(free_now(), initial);
	assert_int_equal(largest_order(), largest);
}

static bool is_in(const pfn_t *blocks, u32 count, u64 pfn)
{
	for (u32 i = 0; i < count; i++) {
		if (pfn / 512 == blocks[i].v / 512)
			return true;
	}
	return false;
}

static void apart(void **state)
{
	u64 initial, n;
	pfn_t first, second, pfn, whole[PAGES / 512];
	u32 largest, count = 0;

	start(ARENA);
	initial = free_now();
	largest = largest_order();
	assert_int_equal(frame_alloc_apart(512, 0, &pfn), ERR_INVAL);
	assert_int_equal(frame_alloc_apart(~0u, 0, &pfn), ERR_INVAL);
	hosted_fail_after(1);
	assert_int_equal(frame_alloc_apart(0, 0, &pfn), ERR_NOMEM);
	assert_int_equal(frame_alloc_apart(7, FRAME_ZERO, &first), 0);
	assert_int_equal(first.v % 512, 7);
	assert_int_equal(frame_alloc_apart(7, 0, &second), 0);
	assert_int_equal(second.v % 512, 7);
	assert_int_not_equal(first.v, second.v);
	assert_int_equal(initial - free_now(), 2);
	/* Nobody else is given what is beside them, order by order, while there is other memory. */
	for (u32 order = 0; order < 9; order++) {
		assert_int_equal(frame_alloc(order, 0, &pfn), 0);
		assert_true(pfn.v / 512 != first.v / 512 && pfn.v / 512 != second.v / 512);
		frame_free(pfn, order);
	}
	while (frame_alloc(9, 0, &pfn) == 0)
		whole[count++] = pfn;
	assert_int_equal(frame_alloc_apart(7, 0, &pfn), ERR_BUSY);
	for (n = 0; frame_alloc_at(PFN(first.v + 1 + n), 0) == 0 && n < 100; n++)
		;
	assert_int_equal(n, 100);
	/* Then they are given everything. */
	n = free_now();
	while (n && frame_alloc(0, 0, &pfn) == 0)
		n--;
	assert_int_equal(n, 0);
	assert_int_equal(frame_alloc(0, 0, &pfn), ERR_NOMEM);
	/* What is freed merges whatever list its buddies were on. */
	for (u64 i = 0; i < PAGES; i++) {
		if (frame_of(PFN(i)) && frame_of(PFN(i))->refs && !is_in(whole, count, i))
			frame_free(PFN(i), 0);
	}
	while (count--)
		frame_free(whole[count], 9);
	assert_int_equal(free_now(), initial);
	assert_int_equal(largest_order(), largest);
}

/* --- What it catches ----------------------------------------------------------------------- */

struct block {
	pfn_t pfn;
	u32 order;
};

static void do_free(void *arg)
{
	struct block *b = arg;

	frame_free(b->pfn, b->order);
}

static void expect_panic(struct block b, const char *text)
{
	assert_true(hosted_catch_panic(do_free, &b));
	if (!strstr(hosted_panic_text(), text))
		fail_msg("panic said: %s", hosted_panic_text());
	hosted_locks_forget();
}

static void double_free(void **state)
{
	for (u32 order = 0; order < 4; order++) {
		struct block b = {.order = order};

		start(MIB(8));
		assert_int_equal(frame_alloc(order, 0, &b.pfn), 0);
		frame_free(b.pfn, order);
		expect_panic(b, "freed twice");
		/* From another CPU, too: it is not in that one's cache. */
		hosted_cpu_set(1);
		expect_panic(b, "freed twice");
	}
}

static void wrong_frees(void **state)
{
	struct block b = {.order = 3};

	start(MIB(8));
	assert_int_equal(frame_alloc(3, 0, &b.pfn), 0);
	expect_panic((struct block){PFN(b.pfn.v + 1), 0}, "not allocated");
	expect_panic((struct block){b.pfn, 2}, "not allocated");
	expect_panic((struct block){b.pfn, 4}, "not allocated");
	expect_panic((struct block){b.pfn, FRAME_ORDER_MAX + 1}, "not allocated");
	expect_panic((struct block){PFN(3), 0}, "not allocated");
	expect_panic((struct block){PFN(MIB(8) >> PAGE_SHIFT), 0}, "not allocated");
	expect_panic((struct block){PFN(~0ull), 0}, "not allocated");
	/* The array of frames itself is not to be freed. */
	expect_panic((struct block){PFN(MIB(1) >> PAGE_SHIFT), 0}, "not allocated");
	frame_of(b.pfn)->pins = 1;
	expect_panic(b, "pins");
	frame_of(b.pfn)->pins = 0;
	frame_of(b.pfn)->refs = 2;
	expect_panic(b, "references");
	frame_of(b.pfn)->refs = 1;
	frame_free(b.pfn, 3);
}

static void do_alloc_all(void *arg)
{
	pfn_t pfn;

	while (frame_alloc(0, 0, &pfn) == 0)
		;
}

static void write_after_free(void **state)
{
	for (u32 order = 0; order < 3; order++) {
		for (u32 offset = 0; offset < 64; offset += 63) {
			u32 last = (1u << order) - 1;
			pfn_t pfn;
			u8 *p;

			start(MIB(8));
			assert_int_equal(frame_alloc(order, 0, &pfn), 0);
			frame_free(pfn, order);
			p = pfn_to_virt(PFN(pfn.v + last));
			assert_int_equal(p[offset], FRAME_JUNK_FREE);
			p[offset] ^= 1;
			assert_true(hosted_catch_panic(do_alloc_all, NULL));
			assert_non_null(strstr(hosted_panic_text(), "after it was freed"));
			hosted_locks_forget();
		}
	}
	assert_int_not_equal(FRAME_JUNK_FREE, FRAME_JUNK_ALLOC);
}

/* --- Where frames come from ---------------------------------------------------------------- */

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

static void assert_uses(u64 guest, u64 pool, u64 other)
{
	struct frame_stats s;
	u64 sum = 0;

	assert_int_equal(frame_used_for(FRAME_USE_GUEST), guest);
	assert_int_equal(frame_used_for(FRAME_USE_POOL), pool);
	assert_int_equal(frame_used_for(FRAME_USE_OTHER), other);
	for (u32 use = 0; use < FRAME_USE_COUNT; use++)
		sum += frame_used_for((enum frame_use)use);
	frame_get_stats(&s);
	assert_int_equal(s.free + sum, s.total);
}

/* Each way to get frames says what for, whatever CPU gives them back; and what is free is no use. */
static void uses(void **state)
{
	pfn_t one, block, apart, at, adopted;

	start(ARENA);
	assert_uses(0, 0, 0);
	assert_int_equal(frame_alloc(0, FRAME_ZERO | FRAME_FOR(GUEST), &one), 0);
	assert_int_equal(frame_alloc(3, FRAME_FOR(POOL), &block), 0);
	assert_uses(1, 8, 0);
	assert_int_equal(frame_alloc_apart(7, FRAME_ZERO | FRAME_FOR(GUEST), &apart), 0);
	at = PFN(apart.v + 1);
	assert_int_equal(frame_alloc_at(at, FRAME_FOR(POOL)), 0);
	assert_uses(2, 9, 0);
	assert_int_equal(frame_reserve(5, 1, &adopted), 0);
	assert_uses(2, 9, 0);
	frame_adopt(adopted, 5);
	assert_uses(7, 9, 0);
	hosted_cpu_set(3);
	frame_free(one, 0);
	frame_free(block, 3);
	assert_uses(6, 1, 0);
	assert_int_equal(frame_alloc(0, 0, &one), 0);
	assert_uses(6, 1, 1);
	frame_free(one, 0);
	frame_free(apart, 0);
	frame_free(at, 0);
	for (u64 i = 0; i < 5; i++)
		frame_free(PFN(adopted.v + i), 0);
	assert_uses(0, 0, 0);
	hosted_cpu_set(0);
	hosted_fail_after(1);
	assert_int_equal(frame_alloc(0, FRAME_FOR(GUEST), &one), ERR_NOMEM);
	hosted_fail_after(0);
	assert_uses(0, 0, 0);
}

/* Handed out on a CPU that was looked at already, and back on one that was not: that is none, not 2^64 less one. */
static void uses_that_change_meanwhile(void **state)
{
	start(ARENA);
	frame_uses[3].frames[FRAME_USE_SWAP] = -1ull;
	assert_int_equal(frame_used_for(FRAME_USE_SWAP), 0);
	frame_uses[3].frames[FRAME_USE_SWAP] = 0;
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

static void fails_on_order(void **state)
{
	pfn_t pfn;
	void *page;

	start(MIB(8));
	hosted_fail_after(2);
	assert_int_equal(frame_alloc(0, 0, &pfn), 0);
	assert_null(frame_alloc_page(0));
	assert_true(hosted_fail_happened());
	page = frame_alloc_page(FRAME_ZERO);
	assert_non_null(page);
	frame_free_page(page);
	frame_free(pfn, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
		cmocka_unit_test(exhaustion),
		cmocka_unit_test(caches_are_emptied_under_pressure),
		cmocka_unit_test(at_a_place),
		cmocka_unit_test(apart),
		cmocka_unit_test(double_free),
		cmocka_unit_test(wrong_frees),
		cmocka_unit_test(write_after_free),
		cmocka_unit_test(over_4_gib),
		cmocka_unit_test(one_gib_block),
		cmocka_unit_test(release),
		cmocka_unit_test(reserve),
		cmocka_unit_test(reserve_between),
		cmocka_unit_test(uses),
		cmocka_unit_test(uses_that_change_meanwhile),
		cmocka_unit_test(no_memory_for_the_array),
		cmocka_unit_test(fails_on_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
