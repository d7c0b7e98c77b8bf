/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c mem/memmap.c
   tests/unit/mem/frame_arena.c */
/* The frame allocator against an oracle, and each way to have a frame. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/frame_arena.h"

#define BLOCKS	  600
#define OPERATION 60000

/* --- Random operations against an oracle --------------------------------------------------- */

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

/* --- What frames are used for --------------------------------------------------------------- */

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
		cmocka_unit_test(uses),
		cmocka_unit_test(uses_that_change_meanwhile),
		cmocka_unit_test(fails_on_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
