/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: mem/gmem.c mem/gmem_change.c mem/gmem_get.c mem/gmem_notify.c mem/gmem_pin.c
 *   mem/slab.c mem/frame.c mem/frame_array.c
 */
/* Guest memory objects: states, accounting, pins, and failing allocations, on one thread. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/gmem.h"
#include "mem/slab.h"
#include "tests/hosted/hosted.h"

static u64 free_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

static u64 start(u64 arena)
{
	static struct memmap map;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_arena_init(arena);
	memset(&map, 0, sizeof(map));
	map.count = 1;
	map.ranges[0] = (struct mem_range){MIB(1), arena};
	assert_int_equal(frame_init(&map), 0);
	slab_init();
	return free_now();
}

static void creation(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g = NULL;

	assert_int_equal(gmem_create(0, &g), ERR_RANGE);
	assert_int_equal(gmem_create(GMEM_PAGES_MAX + 1, &g), ERR_RANGE);
	/* 2^36 pages want a directory of 1 GiB: too much for 16 MiB, and no harm done. */
	assert_int_equal(gmem_create(GMEM_PAGES_MAX, &g), ERR_NOMEM);
	assert_int_equal(free_now(), before);
	/* A guest of 1 GiB that touched nothing costs 8 KiB of chunks, here with a trailer. */
	assert_int_equal(gmem_create(GIB(1) >> PAGE_SHIFT, &g), 0);
	assert_in_range(before - free_now(), 2, 5);
	gmem_ref(g);
	gmem_unref(g);
	assert_int_equal(gmem_entry(g, 0), GMEM_ABSENT);
	assert_int_equal(gmem_entry(g, ~0ull), GMEM_ABSENT);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void first_touch(void **state)
{
	u64 before = start(MIB(16)), index[] = {0, 1, 511, 512, 5000, 9999};
	struct gmem *g;
	pfn_t pfn, again;

	/* Every free frame has something in it. */
	for (u64 i = 0; i < 8; i++) {
		void *pages[64];

		for (u32 j = 0; j < 64; j++)
			memset(pages[j] = frame_alloc_page(0), 0x77, PAGE_SIZE);
		for (u32 j = 0; j < 64; j++)
			frame_free_page(pages[j]);
	}
	assert_int_equal(gmem_create(10000, &g), 0);
	for (u32 i = 0; i < ARRAY_SIZE(index); i++) {
		bool write = i % 2;
		const u8 *p;

		assert_int_equal(gmem_lookup(g, index[i], write, &pfn), ERR_TOO_HARD);
		assert_int_equal(gmem_get_page(g, index[i], write, &pfn), 0);
		p = pfn_to_virt(pfn);
		for (u32 j = 0; j < PAGE_SIZE; j++)
			assert_int_equal(p[j], 0);
		assert_int_equal(gmem_entry_state(gmem_entry(g, index[i])), GMEM_GOT_PAGE);
		assert_int_equal(gmem_entry_pfn(gmem_entry(g, index[i])).v, pfn.v);
		assert_int_equal(!!(gmem_entry(g, index[i]) & GMEM_DIRTY), write);
		assert_int_equal(gmem_get_page(g, index[i], false, &again), 0);
		assert_int_equal(again.v, pfn.v);
		assert_int_equal(gmem_lookup(g, index[i], false, &again), 0);
		assert_int_equal(again.v, pfn.v);
		/* A look for writing makes it dirty, in exit context too. */
		assert_int_equal(gmem_lookup(g, index[i], true, &again), 0);
		assert_true(gmem_entry(g, index[i]) & GMEM_DIRTY);
		assert_int_equal(g->resident, i + 1);
		assert_int_equal(gmem_touched_peak(g), i + 1);
	}
	assert_int_equal(gmem_get_page(g, 10000, false, &pfn), ERR_RANGE);
	assert_int_equal(gmem_get_page(g, ~0ull, true, &pfn), ERR_RANGE);
	assert_int_equal(gmem_lookup(g, 10000, false, &pfn), ERR_TOO_HARD);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void out_of_memory(void **state)
{
	u64 before = start(MIB(8)), i = 0;
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(GIB(1) >> PAGE_SHIFT, &g), 0);
	while (gmem_get_page(g, i, true, &pfn) == 0)
		i++;
	assert_int_equal(gmem_get_page(g, i, true, &pfn), ERR_NOMEM);
	assert_int_equal(gmem_pin(g, i, true, &pfn), ERR_NOMEM);
	assert_int_equal(gmem_entry(g, i), GMEM_ABSENT);
	assert_int_equal(g->resident, i);
	assert_int_equal(free_now(), 0);
	/* What is there still works. */
	assert_int_equal(gmem_get_page(g, i - 1, true, &pfn), 0);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void unref(void *g)
{
	gmem_unref(g);
}

static void pins(void **state)
{
	u64 before = start(MIB(16)), entry;
	struct gmem *g;
	pfn_t pfn, other;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_pin(g, 100, false, &pfn), ERR_RANGE);
	assert_int_equal(gmem_pin(g, 7, false, &pfn), 0);
	assert_int_equal(frame_of(pfn)->pins, 1);
	assert_int_equal(gmem_pin(g, 7, false, &other), 0);
	assert_int_equal(other.v, pfn.v);
	assert_int_equal(frame_of(pfn)->pins, 2);
	assert_false(gmem_entry(g, 7) & GMEM_DIRTY);
	/* A pinned page is not taken away (and is not freed: the object is still in use). */
	assert_int_equal(gmem_claim(g, 7, &entry), ERR_BUSY);
	assert_int_equal(gmem_entry_state(gmem_entry(g, 7)), GMEM_GOT_PAGE);
	assert_true(hosted_catch_panic(unref, g));
	gmem_ref((g->refs = 1, g)); /* as before the panic, and one more */
	gmem_unref(g);
	gmem_unpin(g, 7, pfn, false);
	assert_int_equal(gmem_claim(g, 7, &entry), ERR_BUSY);
	assert_false(gmem_entry(g, 7) & GMEM_DIRTY);
	gmem_unpin(g, 7, pfn, true);
	assert_true(gmem_entry(g, 7) & GMEM_DIRTY);
	/* The bound holds for one page and for many, and what was refused left no pin. */
	for (u32 i = 0; i < GMEM_PINS_MAX; i++)
		assert_int_equal(gmem_pin(g, i % 10, true, &pfn), 0);
	assert_int_equal(gmem_pin(g, 50, true, &pfn), ERR_NOSPC);
	for (u32 i = 0; i < GMEM_PINS_MAX; i++)
		gmem_unpin(g, i % 10, gmem_entry_pfn(gmem_entry(g, i % 10)), true);
	assert_int_equal(g->pins, 0);
	assert_int_equal(gmem_pin(g, 50, true, &pfn), 0);
	gmem_unpin(g, 50, pfn, true);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

struct unpin {
	struct gmem *g;
	u64 index;
	pfn_t pfn;
};

static void do_unpin(void *arg)
{
	struct unpin *u = arg;

	gmem_unpin(u->g, u->index, u->pfn, false);
}

static void one_unpin_too_many(void **state)
{
	struct unpin u = {.index = 3};

	start(MIB(16));
	assert_int_equal(gmem_create(100, &u.g), 0);
	assert_int_equal(gmem_pin(u.g, 3, false, &u.pfn), 0);
	gmem_unpin(u.g, 3, u.pfn, false);
	assert_true(hosted_catch_panic(do_unpin, &u));
	hosted_locks_forget();
}

static void claim_and_settle(void **state)
{
	u64 before = start(MIB(16)), entry, other;
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(1000, &g), 0);
	assert_int_equal(gmem_claim(g, 1000, &entry), ERR_RANGE);
	assert_int_equal(gmem_claim(g, 5, &entry), ERR_NOENT);
	assert_int_equal(gmem_get_page(g, 4, true, &pfn), 0);
	assert_int_equal(gmem_claim(g, 5, &entry), ERR_NOENT);
	assert_int_equal(gmem_claim(g, 4, &entry), 0);
	assert_int_equal(gmem_entry_pfn(entry).v, pfn.v);
	assert_true(entry & GMEM_DIRTY);
	assert_int_equal(gmem_claim(g, 4, &other), ERR_BUSY);
	assert_int_equal(gmem_lookup(g, 4, false, &pfn), ERR_TOO_HARD);
	/* The page goes: its next touch is a first touch. */
	frame_free(gmem_entry_pfn(entry), 0);
	gmem_settle(g, 4, GMEM_ABSENT);
	assert_int_equal(gmem_get_page(g, 4, false, &pfn), 0);
	assert_int_equal(*(u8 *)pfn_to_virt(pfn), 0);
	assert_int_equal(g->resident, 1);
	assert_int_equal(gmem_touched_peak(g), 1);
	/* A shared page is fit for reading; for writing there is no way out yet. */
	assert_int_equal(gmem_claim(g, 4, &entry), 0);
	gmem_settle(g, 4, (entry & ~GMEM_STATE_MASK) | GMEM_SHARED);
	assert_int_equal(gmem_lookup(g, 4, false, &pfn), 0);
	assert_int_equal(gmem_lookup(g, 4, true, &pfn), ERR_TOO_HARD);
	assert_int_equal(gmem_get_page(g, 4, true, &pfn), ERR_NOTSUP);
	assert_int_equal(gmem_pin(g, 4, true, &pfn), ERR_NOTSUP);
	assert_int_equal(gmem_claim(g, 4, &other), 0);
	gmem_settle(g, 4, entry);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* Each allocation of the scenario fails in turn: an error comes out, and nothing leaks. */
static void every_allocation_fails_once(void **state)
{
	u64 before = start(MIB(16));
	u32 n = 0;

	do {
		struct gmem *g = NULL;
		int err;
		pfn_t pfn;

		hosted_fail_after(++n);
		err = gmem_create(GIB(1) >> PAGE_SHIFT, &g);
		if (!err)
			err = gmem_get_page(g, 3, true, &pfn);
		if (!err)
			err = gmem_get_page(g, 4, false, &pfn);
		if (!err)
			err = gmem_get_page(g, 100000, false, &pfn);
		if (!err) {
			err = gmem_pin(g, 200000, true, &pfn);
			if (!err)
				gmem_unpin(g, 200000, pfn, true);
		}
		assert_int_equal(err, hosted_fail_happened() ? ERR_NOMEM : 0);
		if (g)
			gmem_unref(g);
		assert_int_equal(free_now(), before);
	} while (hosted_fail_happened());
	/* Object, its page, directory, its page; a chunk and a page thrice, one page alone. */
	assert_int_equal(n - 1, 4 + 7);
	hosted_fail_after(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(creation),
		cmocka_unit_test(first_touch),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(pins),
		cmocka_unit_test(one_unpin_too_many),
		cmocka_unit_test(claim_and_settle),
		cmocka_unit_test(every_allocation_fails_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
