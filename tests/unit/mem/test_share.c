/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/*
 * Contents that several pages have: each state that they can be in, and what is done to one of the
 * pages meanwhile. What guests do at the same time is mmu/test_machine_share's.
 */
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/share_refs.h"
#include "mem/share_table.h"
#include "mem/watermark.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define PAGES 64u
#define WORDS (PAGE_SIZE / sizeof(u64))

static struct gmem *a, *b, *other; /* b is of a's group */
static struct recorder seen;	   /* by those who show a */
static u64 before;

static int setup(void **state)
{
	before = start(MIB(16));
	pool_init();
	assert_int_equal(share_init(), 0);
	share_hash_mask = ~0ull;
	before = free_now();
	assert_int_equal(gmem_create(PAGES, &a), 0);
	assert_int_equal(gmem_create(PAGES, &b), 0);
	assert_int_equal(gmem_create(PAGES, &other), 0);
	gmem_set_share_group(a, 1);
	gmem_set_share_group(b, 1);
	gmem_set_share_group(other, 2);
	recorder_init(&seen, 0);
	gmem_notifier_add(a, &seen.n);
	return 0;
}

static int teardown(void **state)
{
	struct pool_stats pool;
	struct share_stats s;

	gmem_notifier_remove(a, &seen.n);
	gmem_unref(a);
	gmem_unref(b);
	gmem_unref(other);
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 0);
	share_get_stats(&s);
	assert_int_equal(s.frames, 0);
	assert_int_equal(s.frames_saved, 0);
	assert_int_equal(s.packed_saved, 0);
	assert_int_equal(free_now(), before);
	return 0;
}

static u64 word_of(u64 seed, bool packs, u64 i, u64 *random)
{
	return packs ? seed + i % 4 : random_next(random);
}

static void fill(struct gmem *g, u64 index, u64 seed, bool packs)
{
	u64 random = seed;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, true, &pfn), 0);
	for (u64 i = 0; i < WORDS; i++)
		((u64 *)pfn_to_virt(pfn))[i] = word_of(seed, packs, i, &random);
}

/* Read as a guest reads; the frame. */
static pfn_t check_page(struct gmem *g, u64 index, u64 seed, bool packs)
{
	u64 random = seed;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, false, &pfn), 0);
	for (u64 i = 0; i < WORDS; i++)
		assert_int_equal(((const u64 *)pfn_to_virt(pfn))[i],
				 word_of(seed, packs, i, &random));
	return pfn;
}

static struct gmem_taken take(struct gmem *g, u64 first, u64 pages)
{
	u64 marked = BIT(pages) - 1;
	struct gmem_taken t = {0};

	gmem_take(g, first, pages, &marked, &t);
	return t;
}

static enum gmem_state state_of(struct gmem *g, u64 index)
{
	return gmem_entry_state(gmem_entry(g, index));
}

static u64 objects(void)
{
	struct pool_stats pool;

	pool_get_stats(&pool);
	return pool.objects;
}

static struct share_stats stats(void)
{
	struct share_stats s;

	share_get_stats(&s);
	return s;
}

/* Pages 0 and 1 of a, and 0 of b, have one frame. */
static pfn_t three_hard(void)
{
	fill(a, 0, 5, false);
	fill(a, 1, 5, false);
	fill(b, 0, 5, false);
	assert_int_equal(take(a, 0, 1).hard, 1);
	assert_int_equal(take(a, 1, 1).shared, 1);
	assert_int_equal(take(b, 0, 1).shared, 1);
	assert_int_equal(stats().frames_saved, 2);
	return gmem_entry_pfn(gmem_entry(a, 0));
}

/* --- Found ---------------------------------------------------------------------------------- */

static void packed_once(void **state)
{
	u64 states[GMEM_STATES];

	fill(a, 0, 100, true);
	fill(a, 1, 100, true);
	fill(b, 9, 100, true);
	fill(b, 10, 101, true);
	assert_int_equal(take(a, 0, 2).packed, 2);
	assert_int_equal(take(b, 9, 2).packed, 2);
	assert_int_equal(objects(), 2);
	assert_int_equal(stats().found, 2);
	assert_int_equal(stats().packed_saved, 2);
	gmem_count_states(b, states);
	assert_int_equal(states[GMEM_PACKED], 2);
	/* Written, it comes back alone. */
	fill(a, 0, 7, true);
	check_page(a, 0, 7, true);
	check_page(b, 9, 100, true);
	check_page(b, 10, 101, true);
	assert_int_equal(state_of(b, 10), GMEM_GOT_PAGE);
	assert_int_equal(gmem_drop(a, 1), 0);
	assert_int_equal(gmem_drop(b, 9), 0);
	assert_int_equal(objects(), 0);
}

/* The first is found though it did not pack: its frame becomes that of all. */
static void hard_once(void **state)
{
	u64 free, states[GMEM_STATES];
	pfn_t pfn = three_hard();

	assert_int_equal(state_of(a, 0), GMEM_SHARED);
	/* Nobody tries it again. */
	assert_true(gmem_entry(a, 0) & gmem_entry(a, 1) & gmem_entry(b, 0) & GMEM_HARD);
	assert_int_equal(check_page(a, 0, 5, false).v, pfn.v);
	assert_int_equal(check_page(a, 1, 5, false).v, pfn.v);
	assert_int_equal(check_page(b, 0, 5, false).v, pfn.v);
	gmem_count_states(a, states);
	assert_int_equal(states[GMEM_SHARED], 2);
	assert_int_equal(states[GMEM_GOT_PAGE], 0);
	assert_int_equal(a->resident, 2);
	/* It is nowhere else: there is nothing to take. */
	free = free_now();
	assert_int_equal(take(a, 0, 2).kept, 2);
	assert_int_equal(free_now(), free);
	/* With its object goes what is a's; b has the frame still. */
	assert_int_equal(gmem_drop(a, 0), 0);
	assert_int_equal(gmem_drop(a, 1), 0);
	assert_int_equal(check_page(b, 0, 5, false).v, pfn.v);
	assert_int_equal(gmem_drop(b, 0), 0);
	assert_int_equal(free_now(), free + 1);
}

/* Nobody outside the group has them, nor who is in none. */
static void groups_share_nothing(void **state)
{
	struct gmem *none;

	assert_int_equal(gmem_create(PAGES, &none), 0);
	fill(a, 0, 5, false);
	fill(a, 1, 100, true);
	fill(other, 0, 5, false);
	fill(other, 1, 100, true);
	fill(none, 0, 5, false);
	fill(none, 1, 100, true);
	(void)take(a, 0, 2);
	(void)take(other, 0, 2);
	(void)take(none, 0, 2);
	assert_int_equal(objects(), 3);
	assert_int_equal(stats().found, 0);
	assert_int_equal(stats().frames, 2);
	assert_int_equal(state_of(none, 0), GMEM_GOT_PAGE);
	share_hash_mask = 0;
	fill(other, 2, 5, false);
	assert_int_equal(take(other, 2, 1).shared, 0);
	check_page(other, 2, 5, false);
	gmem_unref(none);
}

/* Equal hashes are no equal contents, and whoever makes many gets one comparison for each page. */
static void collisions_are_refused(void **state)
{
	share_hash_mask = 0;
	for (u64 i = 0; i < 32; i++)
		fill(a, i, 100 + i * 10, i % 2);
	(void)take(a, 0, 32);
	assert_int_equal(stats().found, 0);
	assert_int_equal(stats().collisions, 31);
	assert_int_equal(objects(), 16);
	for (u64 i = 0; i < 32; i++)
		check_page(a, i, 100 + i * 10, i % 2);
	assert_int_equal(stats().packed_saved, 0);
	assert_int_equal(stats().frames, 1);
}

/* Of more contents than a bucket has places those that were found stay. */
static void a_full_bucket(void **state)
{
	share_hash_mask = ~0xffffull; /* all in one bucket, and hardly two with one hash */
	fill(a, 0, 100, true);
	fill(a, 1, 100, true);
	(void)take(a, 0, 2);
	for (u64 i = 2; i < 40; i++)
		fill(a, i, 1000 + 10 * i, true);
	(void)take(a, 2, 38);
	assert_int_equal(stats().evicted, 38 - 9);
	fill(b, 0, 100, true);
	(void)take(b, 0, 1);
	assert_int_equal(stats().found, 2);
	for (u64 i = 2; i < 40; i++)
		check_page(a, i, 1000 + 10 * i, true);
	check_page(b, 0, 100, true);
}

/* --- Written -------------------------------------------------------------------------------- */

/* A copy, unmapped before; the last one needs none. */
static void a_write_copies(void **state)
{
	pfn_t pfn = three_hard(), own;
	u32 calls = seen.calls;

	assert_int_equal(gmem_lookup(a, 0, true, &own), ERR_TOO_HARD);
	assert_int_equal(gmem_get_page(a, 0, true, &own), 0);
	assert_int_not_equal(own.v, pfn.v);
	assert_int_equal(seen.calls, calls + 1);
	assert_int_equal(seen.event, GMEM_EVENT_UNMAP);
	assert_int_equal(seen.first, 0);
	assert_int_equal(seen.pages, 1);
	check_page(a, 0, 5, false);
	memset(pfn_to_virt(own), 1, PAGE_SIZE);
	check_page(a, 1, 5, false);
	check_page(b, 0, 5, false);
	assert_int_equal(gmem_drop(a, 1), 0);
	calls = seen.calls;
	assert_int_equal(gmem_get_page(b, 0, true, &own), 0);
	assert_int_equal(own.v, pfn.v);
	assert_true(gmem_entry(b, 0) & GMEM_DIRTY);
	assert_int_equal(stats().owned, 1);
	assert_int_equal(stats().copied, 1);
	assert_int_equal(stats().frames, 0);
	/* Nobody finds it any more: it may be written. */
	fill(a, 3, 5, false);
	assert_int_equal(take(a, 3, 1).shared, 0);
	check_page(b, 0, 5, false);
}

/* All of a page that others have, too, packed: they keep it, and it has what was written. */
static void written_whole_with_others(void **state)
{
	static const u64 words[WORDS] = {7, 8, 9};
	pfn_t pfn;

	for (u64 i = 0; i < 3; i++)
		fill(a, i, 100, true);
	(void)take(a, 0, 3);
	for (u64 i = 0; i < 3; i++) {
		hosted_fail_after(1);
		assert_false(gmem_write_stored(a, i, words));
		hosted_fail_after(0);
		assert_int_equal(state_of(a, i), GMEM_PACKED);
		assert_int_equal(stats().packed_saved, i < 2 ? 2 - i : 0);
		assert_true(gmem_write_stored(a, i, words));
		assert_int_equal(state_of(a, i), GMEM_GOT_PAGE);
		assert_int_equal(objects(), i < 2);
		assert_int_equal(gmem_get_page(a, i, false, &pfn), 0);
		assert_memory_equal(pfn_to_virt(pfn), words, PAGE_SIZE);
	}
	/* Also while one of the others is shown. */
	for (u64 i = 4; i < 7; i++)
		fill(a, i, 100, true);
	(void)take(a, 4, 3);
	pfn = check_page(a, 4, 100, true);
	assert_true(gmem_write_stored(a, 5, words));
	assert_int_equal(check_page(a, 6, 100, true).v, pfn.v);
	assert_int_equal(check_page(a, 4, 100, true).v, pfn.v);
}

static void make_table(void *last_place)
{
	assert_int_equal(share_table_init((u64)last_place), 0);
}

/* A place in the most memory that Weir takes (RAM_END in mem/frame_array.c) fits in the table. */
static void places_in_all_memory(void **state)
{
	u64 last = pool_last_handle(BIT(46)) << PLACE_SHIFT | PLACE_FRAME;

	(void)start(MIB(16));
	assert_false(hosted_catch_panic(make_table, (void *)last));
}

static void nobody(void)
{
}

/* Who has less of its own than it was promised copies from what is kept for copies, and no other. */
static void who_is_owed_pages_copies(void **state)
{
	pfn_t pfn = three_hard(), own;

	watermarks.min = watermarks.low = free_now() + 100;
	watermarks.wake = nobody;
	a->resident_min = 2;
	assert_int_equal(gmem_get_page(a, 0, true, &own), ERR_NOMEM);
	watermarks.copies[1] = 1;
	assert_int_equal(gmem_get_page(b, 0, true, &own), ERR_NOMEM);
	assert_int_equal(gmem_get_page(a, 0, true, &own), 0);
	assert_int_equal(watermarks.copies[1], 0);
	assert_int_not_equal(own.v, pfn.v);
	memset(&watermarks, 0, sizeof(watermarks));
}

/* Contents stay, and so does the sharing, where there is no memory for a copy. */
static void no_memory_for_a_copy(void **state)
{
	pfn_t pfn = three_hard(), own;

	hosted_fail_after(1);
	assert_int_equal(gmem_get_page(a, 0, true, &own), ERR_NOMEM);
	hosted_fail_after(0);
	assert_int_equal(state_of(a, 0), GMEM_SHARED);
	assert_int_equal(check_page(a, 0, 5, false).v, pfn.v);
	watermarks.min = watermarks.low = 1u << 20;
	watermarks.wake = nobody;
	assert_int_equal(gmem_get_page(a, 0, true, &own), ERR_NOMEM);
	memset(&watermarks, 0, sizeof(watermarks));
	assert_int_equal(stats().frames_saved, 2);
	assert_int_equal(gmem_get_page(a, 0, true, &own), 0);
	check_page(a, 0, 5, false);
}

/* --- Held and pinned ------------------------------------------------------------------------ */

static void held_while_written(void **state)
{
	pfn_t pfn = three_hard(), held, own, pinned;

	assert_int_equal(gmem_hold(a, 0, false, &held), 0);
	assert_int_equal(held.v, pfn.v);
	assert_int_equal(a->pins, 0);
	/* Others are not kept from writing, nor is the page itself. */
	assert_int_equal(gmem_get_page(b, 0, true, &own), 0);
	assert_int_equal(gmem_get_page(a, 1, true, &own), 0);
	assert_int_equal(gmem_get_page(a, 0, true, &own), 0);
	assert_int_not_equal(own.v, pfn.v);
	memset(pfn_to_virt(own), 1, PAGE_SIZE);
	gmem_release(a, 0, held, false);
	assert_int_equal(stats().frames, 0);
	/* For writing, or for long, in a frame of its own. */
	pfn = three_hard();
	assert_int_equal(gmem_hold(a, 0, true, &own), 0);
	assert_int_not_equal(own.v, pfn.v);
	assert_int_equal(gmem_pin(a, 1, false, &pinned), 0);
	assert_int_not_equal(pinned.v, pfn.v);
	assert_int_equal(a->pins, 2);
	check_page(a, 1, 5, false);
	gmem_release(a, 0, own, true);
	gmem_unpin(a, 1, pinned, false);
	/* And in the middle of it the object and all its entries go. */
	assert_int_equal(gmem_hold(b, 0, false, &held), 0);
	assert_int_equal(gmem_drop(b, 0), 0);
	assert_int_equal(stats().frames, 1);
	gmem_release(b, 0, held, false);
	assert_int_equal(stats().frames, 0);
}

/* --- Read ----------------------------------------------------------------------------------- */

/* Packed contents of several get one frame for all who read, and cool down without being packed. */
static void shown_to_all_readers(void **state)
{
	pfn_t pfn, own;
	u64 free;

	for (u64 i = 0; i < 3; i++)
		fill(a, i, 100, true);
	(void)take(a, 0, 3);
	assert_int_equal(objects(), 1);
	pfn = check_page(a, 0, 100, true);
	assert_int_equal(state_of(a, 0), GMEM_SHARED);
	free = free_now();
	assert_int_equal(check_page(a, 1, 100, true).v, pfn.v);
	assert_int_equal(free_now(), free);
	assert_int_equal(stats().shown, 1);
	/* The third writes: it gets its own, whether it was packed or not. */
	assert_int_equal(gmem_get_page(a, 2, true, &own), 0);
	assert_int_not_equal(own.v, pfn.v);
	check_page(a, 2, 100, true);
	assert_int_equal(objects(), 1);
	assert_int_equal(take(a, 0, 1).freed, 0);
	assert_int_equal(state_of(a, 0), GMEM_PACKED);
	assert_int_equal(take(a, 1, 1).freed, 1);
	assert_int_equal(objects(), 1);
	assert_int_equal(stats().frames, 0);
	/* Back again, and written by one and the other. */
	pfn = check_page(a, 0, 100, true);
	assert_int_equal(check_page(a, 1, 100, true).v, pfn.v);
	assert_int_equal(gmem_get_page(a, 0, true, &own), 0);
	assert_int_not_equal(own.v, pfn.v);
	assert_int_equal(gmem_get_page(a, 1, true, &own), 0);
	assert_int_equal(own.v, pfn.v);
	assert_int_equal(objects(), 0);
	check_page(a, 1, 100, true);
}

static void dropped_while_shown(void **state)
{
	for (u64 i = 0; i < 3; i++)
		fill(a, i, 100, true);
	(void)take(a, 0, 3);
	check_page(a, 0, 100, true);
	check_page(a, 1, 100, true);
	assert_int_equal(gmem_drop(a, 2), 0);
	assert_int_equal(gmem_drop(a, 0), 0);
	assert_int_equal(objects(), 1);
	assert_int_equal(gmem_drop(a, 1), 0);
	assert_int_equal(objects(), 0);
	/* With the object: teardown. */
	for (u64 i = 0; i < 3; i++)
		fill(a, i, 100, true);
	(void)take(a, 0, 3);
	check_page(a, 1, 100, true);
	(void)three_hard();
}

/* --- Moved ---------------------------------------------------------------------------------- */

/* Packs to half a page. */
static u64 half_word(u64 seed, u64 i, u64 *random)
{
	return i % 2 ? random_next(random) : seed;
}

static void fill_half(struct gmem *g, u64 index, u64 seed)
{
	u64 random = seed;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, true, &pfn), 0);
	for (u64 i = 0; i < WORDS; i++)
		((u64 *)pfn_to_virt(pfn))[i] = half_word(seed, i, &random);
}

static void check_half(struct gmem *g, u64 index, u64 seed)
{
	u64 random = seed;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, false, &pfn), 0);
	for (u64 i = 0; i < WORDS; i++)
		assert_int_equal(((u64 *)pfn_to_virt(pfn))[i], half_word(seed, i, &random));
}

/*
 * Equal pairs that are given back but for one of a span keep no more frames than what is left of them
 * fills: what several have moves as all else does, and is found as before.
 */
static void what_several_have_moves(void **state)
{
	struct pool_stats full, sparse, after;

	for (u64 i = 0; i < PAGES; i++) {
		fill_half(a, i, 1 + i);
		fill_half(b, i, 1 + i);
	}
	for (u64 i = 0; i < PAGES; i += 32) {
		(void)take(a, i, 32);
		(void)take(b, i, 32);
	}
	pool_get_stats(&full);
	assert_int_equal(full.objects, PAGES);
	for (u64 i = 0; i < PAGES; i++) {
		if (i % 4 == 0)
			continue;
		assert_int_equal(gmem_drop(a, i), 0);
		assert_int_equal(gmem_drop(b, i), 0);
	}
	pool_get_stats(&sparse);
	assert_int_equal(sparse.objects, PAGES / 4);
	assert_int_equal(sparse.frames, full.frames);
	(void)pool_compact(~0u);
	pool_get_stats(&after);
	assert_true(after.frames <= full.frames / 4 && after.moved);
	/* Also by who comes now, and by who reads with others. */
	for (u64 i = 0; i < PAGES; i += 4) {
		fill_half(a, i + 1, 1 + i);
		assert_int_equal(take(a, i + 1, 1).packed, 1);
		assert_int_equal(gmem_entry(a, i + 1) >> GMEM_PFN_SHIFT,
				 gmem_entry(a, i) >> GMEM_PFN_SHIFT);
		check_half(a, i, 1 + i);
		check_half(b, i, 1 + i);
	}
	assert_int_equal(objects(), PAGES / 4);
}

/* A frame that shows what is packed does so wherever that moves. */
static void moved_while_shown(void **state)
{
	struct pool_stats pool;
	pfn_t shown, now;

	for (u64 i = 0; i < PAGES; i++)
		fill_half(a, i, 1 + i);
	fill_half(b, 0, PAGES);
	for (u64 i = 0; i < PAGES; i += 32)
		(void)take(a, i, 32);
	(void)take(b, 0, 1);
	assert_int_equal(gmem_get_page(a, PAGES - 1, false, &shown), 0);
	for (u64 i = 0; i < PAGES - 1; i++) {
		if (i != 1)
			assert_int_equal(gmem_drop(a, i), 0);
	}
	(void)pool_compact(~0u);
	pool_get_stats(&pool);
	assert_true(pool.moved);
	assert_int_equal(gmem_get_page(b, 0, false, &now), 0);
	assert_int_equal(now.v, shown.v);
	(void)take(a, PAGES - 1, 1);
	(void)take(b, 0, 1);
	assert_int_equal(objects(), 2);
	check_half(b, 0, PAGES);
	check_half(a, 1, 2);
}

/* --- Memory --------------------------------------------------------------------------------- */

/* Each allocation that all of it takes fails once: nothing is lost. */
static void every_allocation_fails_once(void **state)
{
	for (u64 n = 1;; n++) {
		pfn_t pfn;
		bool failed;

		for (u64 i = 0; i < 4; i++)
			fill(a, i, i < 2 ? 100 : 5, i < 2);
		hosted_fail_after(n);
		(void)take(a, 0, 2);
		(void)take(a, 2, 2);
		for (u64 i = 0; i < 4; i++)
			(void)gmem_get_page(a, i, i % 2, &pfn);
		(void)take(a, 0, 4);
		failed = hosted_fail_happened();
		hosted_fail_after(0);
		for (u64 i = 0; i < 4; i++)
			check_page(a, i, i < 2 ? 100 : 5, i < 2);
		assert_int_equal(gmem_drop_range(a, 0, 4, NULL), 0);
		if (!failed)
			break;
	}
	assert_int_equal(objects(), 0);
}

/* Without a table all is as it was before there was one. */
static void without_a_table(void **state)
{
	hosted_fail_often(1, 1);
	assert_int_equal(share_init(), ERR_NOMEM);
	hosted_fail_often(0, 0);
	fill(a, 0, 5, false);
	fill(a, 1, 100, true);
	fill(a, 2, 100, true);
	assert_int_equal(take(a, 0, 3).packed, 2);
	assert_int_equal(state_of(a, 0), GMEM_GOT_PAGE);
	assert_int_equal(objects(), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(packed_once, setup, teardown),
		cmocka_unit_test_setup_teardown(hard_once, setup, teardown),
		cmocka_unit_test_setup_teardown(groups_share_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(collisions_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_bucket, setup, teardown),
		cmocka_unit_test_setup_teardown(a_write_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(written_whole_with_others, setup, teardown),
		cmocka_unit_test(places_in_all_memory),
		cmocka_unit_test_setup_teardown(who_is_owed_pages_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_for_a_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(held_while_written, setup, teardown),
		cmocka_unit_test_setup_teardown(shown_to_all_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(dropped_while_shown, setup, teardown),
		cmocka_unit_test_setup_teardown(what_several_have_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(moved_while_shown, setup, teardown),
		cmocka_unit_test_setup_teardown(every_allocation_fails_once, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_table, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
