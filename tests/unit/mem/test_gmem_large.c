/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* Guest memory objects: pages of 2 MiB, and 2 MiB of small ones that happen to be one piece. */
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

#define LARGE GMEM_LARGE_PAGES

/* --- psize=2M ------------------------------------------------------------------------------- */

static void first_touch(void **state)
{
	u64 before = start(MIB(32));
	struct gmem *g;
	pfn_t pfn, run;

	soil_free_memory();
	assert_int_equal(gmem_create_order(3 * LARGE, 9, &g), 0);
	assert_int_equal(gmem_lookup(g, 700, false, &pfn), ERR_TOO_HARD);
	assert_false(gmem_large(g, 700, &pfn));
	assert_int_equal(gmem_get_page(g, 700, false, &pfn), 0);
	run = PFN(pfn.v - (700 - LARGE));
	assert_true(is_aligned(run.v, LARGE));
	assert_true(all_zero(run, 9));
	assert_int_equal(g->resident, LARGE);
	assert_int_equal(gmem_resident_peak(g), LARGE);
	/* Every page of it is there, and its neighbours are not. */
	for (u64 i = 0; i < LARGE; i++) {
		assert_int_equal(gmem_lookup(g, LARGE + i, false, &pfn), 0);
		assert_int_equal(pfn.v, run.v + i);
		assert_int_equal(gmem_entry(g, LARGE + i), entry_of(pfn, GMEM_GOT_PAGE));
	}
	assert_int_equal(gmem_entry(g, LARGE - 1), GMEM_ABSENT);
	assert_int_equal(gmem_entry(g, 2 * LARGE), GMEM_ABSENT);
	assert_int_equal(gmem_get_page(g, 3 * LARGE, false, &pfn), ERR_RANGE);
	/* A write to one page makes the whole dirty. */
	assert_int_equal(gmem_get_page(g, LARGE + 3, true, &pfn), 0);
	assert_true(gmem_entry(g, 2 * LARGE - 1) & GMEM_DIRTY);
	assert_true(gmem_large(g, LARGE + 77, &pfn));
	assert_int_equal(pfn.v, run.v);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void a_large_look_makes_it_dirty(void **state)
{
	u64 before = start(MIB(32));
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create_order(LARGE, 9, &g), 0);
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), 0);
	assert_false(gmem_entry(g, 5) & GMEM_DIRTY);
	assert_true(gmem_large(g, 5, &pfn));
	assert_true(gmem_entry(g, 5) & GMEM_DIRTY);
	assert_false(gmem_large(g, LARGE, &pfn));
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void out_of_large_memory(void **state)
{
	u64 before = start(MIB(8));
	struct gmem *g;
	pfn_t pfn;
	u64 n = 0;

	assert_int_equal(gmem_create_order(8 * LARGE, 9, &g), 0);
	while (gmem_get_page(g, n * LARGE, true, &pfn) == 0)
		n++;
	assert_in_range(n, 1, 3);
	assert_int_equal(gmem_get_page(g, n * LARGE, true, &pfn), ERR_NOMEM);
	/* Not left BUSY: another try fails the same way, and works once there is memory. */
	assert_int_equal(gmem_pin(g, n * LARGE + 5, true, &pfn), ERR_NOMEM);
	assert_int_equal(gmem_entry(g, n * LARGE), GMEM_ABSENT);
	assert_int_equal(g->resident, n * LARGE);
	assert_int_equal(gmem_drop(g, 0), 0);
	assert_int_equal(gmem_get_page(g, n * LARGE, true, &pfn), 0);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void pins_are_on_the_whole(void **state)
{
	u64 before = start(MIB(32)), entry;
	struct gmem_account a = {.pins_max = 10};
	struct frame *head;
	struct gmem *g;
	pfn_t pfn, other;

	assert_int_equal(gmem_create_order(2 * LARGE, 9, &g), 0);
	gmem_set_account(g, &a);
	assert_int_equal(gmem_pin(g, LARGE + 3, true, &pfn), 0);
	assert_int_equal(gmem_pin(g, LARGE + 4, false, &other), 0);
	assert_int_equal(other.v, pfn.v + 1);
	head = frame_of(PFN(pfn.v - 3));
	assert_int_equal(head->pins, 2);
	assert_int_equal(frame_of(pfn)->pins, 0);
	assert_int_equal(a.pins, 2);
	assert_int_equal(gmem_drop(g, LARGE), ERR_BUSY);
	gmem_unpin(g, LARGE + 3, pfn, true);
	assert_int_equal(gmem_drop(g, LARGE), ERR_BUSY);
	gmem_unpin(g, LARGE + 4, other, false);
	assert_int_equal(head->pins + a.pins + g->pins, 0);
	assert_int_equal(gmem_claim(g, LARGE, &entry), ERR_NOTSUP);
	assert_int_equal(gmem_claim(g, 2 * LARGE, &entry), ERR_RANGE);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void drop_whole_pages(void **state)
{
	u64 before = start(MIB(64)), done = 5;
	struct recorder r;
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create_order(10 * LARGE, 9, &g), 0);
	recorder_init(&r, 1);
	gmem_notifier_add(g, &r.n);
	for (u64 i = 0; i < 4; i++) {
		assert_int_equal(gmem_get_page(g, i * LARGE, true, &pfn), 0);
		memset(pfn_to_virt(pfn), 0x55, PAGE_SIZE);
	}
	assert_int_equal(gmem_drop(g, 1), ERR_ALIGN);
	assert_int_equal(gmem_drop_range(g, 0, LARGE - 1, &done), ERR_ALIGN);
	assert_int_equal(done, 0);
	assert_int_equal(gmem_drop_range(g, 256, LARGE, &done), ERR_ALIGN);
	assert_int_equal(gmem_drop(g, 10 * LARGE), ERR_RANGE);
	assert_int_equal(g->resident, 4 * LARGE);
	assert_int_equal(gmem_drop(g, 3 * LARGE), 0);
	assert_int_equal(r.calls, 1);
	assert_int_equal(r.first, 3 * LARGE);
	assert_int_equal(r.pages, LARGE);
	assert_int_equal(gmem_entry(g, 4 * LARGE - 1), GMEM_GIVEN);
	assert_int_equal(gmem_given_back(g), LARGE);
	assert_int_equal(gmem_pin(g, 2 * LARGE + 9, false, &pfn), 0);
	assert_int_equal(gmem_drop_range(g, 0, 10 * LARGE, &done), ERR_BUSY);
	assert_int_equal(done, 2 * LARGE);
	gmem_unpin(g, 2 * LARGE + 9, pfn, false);
	assert_int_equal(gmem_drop_range(g, 0, 10 * LARGE, &done), 0);
	assert_int_equal(done, 10 * LARGE);
	assert_int_equal(g->resident, 0);
	assert_int_equal(gmem_given_back(g), 4 * LARGE);
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), 0);
	assert_true(all_zero(pfn, 9));
	assert_int_equal(gmem_given_back(g), 3 * LARGE);
	assert_int_equal(g->removed, 4 * LARGE);
	gmem_notifier_remove(g, &r.n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void fill_whole_pages(void **state)
{
	u64 before = start(MIB(32)), entry;
	struct gmem *g;
	pfn_t block, pfn;

	assert_int_equal(frame_alloc(10, FRAME_ZERO, &block), 0);
	assert_int_equal(gmem_create_order(4 * LARGE, 9, &g), 0);
	assert_int_equal(gmem_fill(g, 1, block, LARGE), ERR_ALIGN);
	assert_int_equal(gmem_fill(g, 0, block, LARGE + 1), ERR_ALIGN);
	assert_int_equal(gmem_fill(g, 0, PFN(block.v + 1), LARGE), ERR_ALIGN);
	assert_int_equal(gmem_get_page(g, 3 * LARGE, true, &pfn), 0);
	assert_int_equal(gmem_fill(g, 2 * LARGE, block, 2 * LARGE), ERR_EXIST);
	assert_int_equal(gmem_entry(g, 2 * LARGE), GMEM_ABSENT);
	assert_int_equal(gmem_fill(g, LARGE, block, 2 * LARGE), 0);
	assert_int_equal(g->resident, 3 * LARGE);
	assert_true(gmem_large(g, 2 * LARGE + 1, &pfn));
	assert_int_equal(pfn.v, block.v + LARGE);
	assert_int_equal(gmem_lookup(g, 2 * LARGE - 1, true, &pfn), 0);
	assert_int_equal(pfn.v, block.v + LARGE - 1);
	assert_int_equal(gmem_claim(g, LARGE, &entry), ERR_NOTSUP);
	assert_int_equal(gmem_drop(g, LARGE), ERR_BUSY);
	gmem_unref(g);
	frame_free(block, 10);
	assert_int_equal(free_now(), before);
}

/* --- Pages of 4 KiB that are one piece by luck ----------------------------------------------- */

#define ARENA	     MIB(16)
#define ARENA_FRAMES (ARENA / PAGE_SIZE)

/* 512 frames, each allocated by itself, that are one aligned piece. */
static pfn_t take_run(void)
{
	static bool mine[ARENA_FRAMES];
	u64 run = 0, have = 0;
	pfn_t pfn;

	memset(mine, 0, sizeof(mine));
	while (frame_alloc(0, FRAME_ZERO, &pfn) == 0)
		mine[pfn.v] = true;
	while (have < LARGE) {
		have = is_aligned(run, LARGE) ? 0 : have;
		have = mine[run++] ? have + 1 : 0;
		assert_in_range(run, 1, ARENA_FRAMES);
	}
	run -= LARGE;
	for (u64 i = 0; i < ARENA_FRAMES; i++) {
		if (mine[i] && i - run >= LARGE)
			frame_free(PFN(i), 0);
	}
	return PFN(run);
}

/* What the page holds becomes another frame, as whoever claims it would do it. */
static void exchange(struct gmem *g, u64 index, u64 entry)
{
	u64 old;

	assert_int_equal(gmem_claim(g, index, &old), 0);
	frame_free(gmem_entry_pfn(old), 0);
	gmem_settle(g, index, entry);
}

static void by_luck(void **state)
{
	u64 before = start(ARENA), old;
	pfn_t run = take_run(), pfn, other;
	struct gmem *g;

	assert_int_equal(gmem_create(3 * LARGE + 100, &g), 0);
	for (u64 i = 0; i < LARGE; i++) {
		assert_false(gmem_large(g, LARGE + i, &pfn));
		assert_int_equal(gmem_get_page(g, LARGE + i, false, &pfn), 0);
		exchange(g, LARGE + i, entry_of(PFN(run.v + i), GMEM_GOT_PAGE));
	}
	assert_false(gmem_entry(g, LARGE + 511) & GMEM_DIRTY);
	assert_true(gmem_large(g, LARGE + 200, &pfn));
	assert_int_equal(pfn.v, run.v);
	for (u64 i = 0; i < LARGE; i++)
		assert_true(gmem_entry(g, LARGE + i) & GMEM_DIRTY);
	assert_true(gmem_large(g, LARGE, &pfn));
	assert_true(gmem_large(g, 2 * LARGE - 1, &pfn));
	/* Not what is beside it or beyond the end; a chunk that is not whole never is. */
	assert_false(gmem_large(g, LARGE - 1, &pfn));
	assert_false(gmem_large(g, 2 * LARGE, &pfn));
	assert_false(gmem_large(g, 3 * LARGE + 1, &pfn));
	assert_false(gmem_large(g, 4 * LARGE, &pfn));
	assert_false(gmem_large(g, ~0ull, &pfn));
	/* One page is shared, is elsewhere, is BUSY, or is gone: it is no large page then. */
	assert_int_equal(gmem_claim(g, LARGE + 9, &old), 0);
	assert_false(gmem_large(g, LARGE, &pfn));
	gmem_settle(g, LARGE + 9, (old & ~GMEM_STATE_MASK) | GMEM_SHARED);
	assert_false(gmem_large(g, LARGE, &pfn));
	assert_false(gmem_large(g, LARGE, &pfn));
	assert_int_equal(gmem_claim(g, LARGE + 9, &old), 0);
	assert_int_equal(frame_alloc(0, FRAME_ZERO, &other), 0);
	gmem_settle(g, LARGE + 9, entry_of(other, GMEM_GOT_PAGE));
	assert_false(gmem_large(g, LARGE, &pfn));
	/* Found once, the next who ask need not search it. */
	assert_true(g->slot_phys[1].scattered);
	assert_false(gmem_large(g, LARGE, &pfn));
	/* That it was not large once is not held against it. */
	exchange(g, LARGE + 9, entry_of(PFN(run.v + 9), GMEM_GOT_PAGE));
	assert_true(gmem_large(g, LARGE, &pfn));
	assert_int_equal(gmem_drop(g, 2 * LARGE - 1), 0);
	assert_false(gmem_large(g, LARGE, &pfn));
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* Contiguous is not enough. */
static void aligned_or_not(void **state)
{
	u64 before = start(ARENA);
	struct gmem *g;
	pfn_t block, pfn;

	assert_int_equal(frame_alloc(10, FRAME_ZERO, &block), 0);
	assert_int_equal(gmem_create(3 * LARGE, &g), 0);
	assert_int_equal(gmem_fill(g, 0, PFN(block.v + 256), LARGE), 0);
	assert_int_equal(gmem_fill(g, LARGE, block, LARGE), 0);
	assert_int_equal(gmem_fill(g, 2 * LARGE + 1, block, LARGE - 1), 0);
	assert_int_equal(gmem_fill(g, 2 * LARGE, PFN(block.v + LARGE), 1), 0);
	assert_false(gmem_large(g, 0, &pfn));
	assert_true(gmem_large(g, LARGE, &pfn));
	assert_int_equal(pfn.v, block.v);
	assert_false(gmem_large(g, 2 * LARGE, &pfn));
	gmem_unref(g);
	frame_free(block, 10);
	assert_int_equal(free_now(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_touch),
		cmocka_unit_test(out_of_large_memory),
		cmocka_unit_test(pins_are_on_the_whole),
		cmocka_unit_test(drop_whole_pages),
		cmocka_unit_test(fill_whole_pages),
		cmocka_unit_test(by_luck),
		cmocka_unit_test(aligned_or_not),
		cmocka_unit_test(a_large_look_makes_it_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
