/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c tests/unit/mem/swap_object.c */
/*
 * Pages that are resident and on the swap disk, too; and packed pages that go there: each against what
 * can happen to it (docs/memory.md). The disk does requests when the test says so.
 */
#include <pthread.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"
#include "mem/share.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/swap_object.h"

static u64 objects(void)
{
	struct pool_stats s;

	pool_get_stats(&s);
	return s.objects;
}

static int end(void **state)
{
	(void)teardown(state);
	assert_int_equal(stats_now().kept, 0);
	assert_int_equal(objects(), 0);
	return 0;
}

/* What swap_object.h has only to write and to be hard: also to read, and to pack. */

static u8 *page_for(u64 index, bool write)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, write, &pfn), 0);
	return pfn_to_virt(pfn);
}

/* packs: to some 2,700 bytes. */
static u64 word_of(u64 i, bool packs, u64 *random)
{
	return packs && i % 2 ? 0x1111 : random_next(random);
}

static void fill_with(u64 index, bool packs)
{
	u64 *p = (u64 *)(void *)page_for(index, true), random = index + 1;

	for (u64 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = word_of(i, packs, &random);
}

static void check(u64 index, bool packs)
{
	const u64 *p = (const u64 *)(void *)page_for(index, false);
	u64 random = index + 1;

	for (u64 i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(p[i], word_of(i, packs, &random));
}

static void put_pages_on_disk(u64 first, u64 n)
{
	for (u64 i = first; i < first + n; i++)
		fill_with(i, false);
	for (u64 i = first; i < first + n; i += 64)
		(void)take(i, min(first + n - i, 64ull));
	for (u64 i = first; i < first + n; i++)
		assert_int_equal(state_of(i), GMEM_SWAPPED);
}

static void pack(u64 first, u64 n)
{
	for (u64 i = first; i < first + n; i++)
		fill_with(i, true);
	assert_int_equal(take(first, n).packed, n);
}

static u64 to_disk(u64 first, u64 n)
{
	return gmem_write_packed(g, first, n, 0, n);
}

/* --- On the disk and resident --------------------------------------------------------------- */

/* It was not written: nothing has to be, and it is there. */
static void clean_goes_back(void **state)
{
	put_pages_on_disk(0, 1);
	for (u32 i = 0; i < 3; i++) {
		struct gmem_taken t;

		check(0, false);
		assert_int_equal(stats_now().kept, 1);
		assert_int_equal(stats_now().used, 1);
		t = take(0, 1);
		assert_int_equal(t.freed, 1);
		assert_int_equal(t.writing, 0);
		assert_int_equal(state_of(0), GMEM_SWAPPED);
		assert_int_equal(stats_now().kept, 0);
	}
	assert_int_equal(stats_now().writes, 1);
	assert_int_equal(stats_now().put_back, 3);
	check(0, false);
}

/* What it lacks by that of what it was promised is kept for it, written or there already. */
static void kept_for_who_is_owed(void **state)
{
	g->resident_min = 2;
	for (u32 i = 0; i < 2; i++) {
		g->owed = watermarks.owed = 0; /* counted anew */
		if (i == 0)
			put_pages_on_disk(0, 2);
		else
			assert_int_equal(take(0, 2).freed, 2);
		assert_int_equal(watermarks.owed, 2);
		check(0, false);
		check(1, false);
	}
	watermarks.owed = 0;
}

/* What was written since is written again, elsewhere; the block is free. */
static void dirty_does_not(void **state)
{
	put_pages_on_disk(0, 1);
	check(0, false);
	page_for(0, true)[77] ^= 1;
	assert_int_equal(take(0, 1).writing, 1);
	assert_int_equal(stats_now().used, 1);
	assert_int_equal(stats_now().writes, 2);
	page_for(0, true)[77] ^= 1;
	check(0, false);
}

static void dirty_by_a_hold(void **state)
{
	pfn_t pfn;

	put_pages_on_disk(0, 1);
	assert_int_equal(gmem_hold(g, 0, false, &pfn), 0);
	assert_int_equal(take(0, 1).kept, 1); /* pinned */
	((u8 *)pfn_to_virt(pfn))[5] ^= 1;
	gmem_release(g, 0, pfn, true);
	assert_int_equal(take(0, 1).writing, 1);
	page_for(0, true)[5] ^= 1;
	check(0, false);
}

/* It is zero, or packs now. */
static void dirty_is_something_else(void **state)
{
	put_pages_on_disk(0, 2);
	check(0, false);
	check(1, false);
	memset(page_for(0, true), 0, PAGE_SIZE);
	fill_with(1, true);
	assert_int_equal(take(0, 2).freed, 2);
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(state_of(1), GMEM_PACKED);
	assert_int_equal(stats_now().used, 0);
	check(1, true);
}

static void kept_dropped(void **state)
{
	put_pages_on_disk(0, 2);
	check(0, false);
	assert_int_equal(gmem_drop(g, 0), 0);
	assert_int_equal(stats_now().used, 1);
	assert_int_equal(page_for(0, false)[9], 0);
	check(1, false);
	/* The other goes with the object. */
}

/* Who reads to write keeps nothing. */
static void not_kept_to_be_written(void **state)
{
	put_pages_on_disk(0, 1);
	(void)page_for(0, true);
	assert_int_equal(stats_now().used, 0);
}

/* Of a disk that is half full no block is kept. */
static void not_kept_where_few_are_free(void **state)
{
	put_pages_on_disk(0, 204);
	assert_int_equal(stats_now().used, 204);
	watermarks.low = 1u << 20; /* nothing comes ahead */
	watermarks.wake = reclaim_wake;
	check(100, false);
	assert_int_equal(stats_now().kept, 0);
	assert_int_equal(stats_now().used, 203);
	for (u64 i = 0; i < 4; i++)
		(void)page_for(i, true);
	check(101, false);
	assert_int_equal(stats_now().kept, 1);
	memset(&watermarks, 0, sizeof(watermarks));
}

/* Where the disk takes nothing more those go that need no writing. */
static void clean_goes_to_a_full_disk(void **state)
{
	put_pages_on_disk(0, 1);
	check(0, false);
	for (u64 i = 64; i < 64 + BLOCKS - 2; i++)
		fill_with(i, false);
	for (u64 i = 64; i < 64 + BLOCKS - 2; i += 64)
		(void)take(i, min(64 + BLOCKS - 2 - i, 64ull));
	assert_false(swap_takes());
	assert_true(reclaim_may_go(gmem_entry(g, 0)));
	assert_int_equal(take(0, 1).freed, 1);
	check(0, false);
}

/* --- What does not pack and may be others', too --- */

/* Alone it goes to the disk; in a frame that two have it stays, until one of them has it alone. */
static void hard_in_a_frame_of_several(void **state)
{
	gmem_set_share_group(g, 1);
	put_pages_on_disk(0, 1);
	fake_disk_hold_writes();
	for (u64 i = 64; i < 64 + SWAP_WRITES_MAX; i++)
		fill_with(i, false);
	assert_int_equal(take(64, SWAP_WRITES_MAX).writing, SWAP_WRITES_MAX);
	fill_with(1, false);
	memcpy(page_for(2, true), page_for(1, false), PAGE_SIZE);
	(void)take(1, 1);
	assert_int_equal(take(2, 1).shared, 1);
	assert_int_equal(state_of(1), GMEM_SHARED);
	assert_int_equal(take(1, 2).kept, 2); /* the disk takes none */
	do_all();
	assert_int_equal(take(1, 2).kept, 2); /* not one's alone */
	assert_int_equal(gmem_drop(g, 2), 0);
	assert_int_equal(take(1, 1).writing, 1);
	do_all();
	assert_int_equal(state_of(1), GMEM_SWAPPED);
	/* What comes from there is not taken for known contents. */
	check(1, false);
	assert_true(gmem_entry(g, 1) & GMEM_KEPT);
	assert_int_equal(take(1, 1).freed, 1);
	check(1, false);
}

/* --- Packed pages that go to it ------------------------------------------------------------- */

static void packed_goes_on(void **state)
{
	u64 free;

	pack(0, 8);
	free = free_now();
	assert_int_equal(to_disk(0, 8), 8);
	assert_int_equal(objects(), 0);
	assert_true(free_now() > free);
	assert_int_equal(stats_now().packed, 8);
	for (u64 i = 0; i < 8; i++)
		assert_int_equal(state_of(i), GMEM_SWAPPED);
	assert_int_equal(g->packed_bytes, 0);
	for (u64 i = 0; i < 8; i++)
		check(i, true);
	/* As it came from there it goes back; what is written packs again. */
	assert_int_equal(take(0, 1).freed, 1);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	page_for(1, true)[0] ^= 1;
	assert_int_equal(take(1, 1).packed, 1);
	page_for(1, true)[0] ^= 1;
	check(1, true);
}

/* A page that packs is no hard one for having been there. */
static void packs_where_no_block_is_kept(void **state)
{
	pack(0, 1);
	assert_int_equal(to_disk(0, 1), 1);
	put_pages_on_disk(100, 204);
	check(0, true);
	assert_int_equal(stats_now().kept, 0);
	assert_int_equal(take(0, 1).packed, 1);
}

static void only_so_old(void **state)
{
	pack(0, 2);
	g->taken += 4 * gmem_stamp_step(g);
	pack(2, 2);
	assert_int_equal(gmem_write_packed(g, 0, 4, 5, 4), 0);
	assert_int_equal(gmem_write_packed(g, 0, 4, 4, 4), 2);
	assert_int_equal(state_of(1), GMEM_SWAPPED);
	assert_int_equal(state_of(2), GMEM_PACKED);
	assert_int_equal(gmem_write_packed(g, 0, 4, 0, 1), 1);
	assert_int_equal(state_of(3), GMEM_PACKED);
	/* It keeps the time when it was put away. */
	assert_int_equal(gmem_stamp_age(g, gmem_entry(g, 0)), 4);
}

static void nobody(void)
{
}

/* The frame to write it from is lent of what is kept for promises, but not of the last few. */
static void lent_of_what_is_promised(void **state)
{
	u64 free = free_now();

	pack(0, 2);
	watermarks = (struct watermarks){.min = 10, .low = 20, .wake = nobody, .owed = free};
	assert_int_equal(to_disk(0, 1), 1);
	watermarks.min = 2 * free;
	assert_int_equal(to_disk(1, 1), 0);
	assert_int_equal(state_of(1), GMEM_PACKED);
	memset(&watermarks, 0, sizeof(watermarks));
}

static void what_several_have_stays(void **state)
{
	gmem_set_share_group(g, 1);
	pack(0, 1);
	for (u64 i = 0; i < PAGE_SIZE; i++)
		page_for(1, true)[i] = page_for(0, false)[i];
	assert_int_equal(take(1, 1).packed + take(0, 1).packed, 2);
	assert_int_equal(objects(), 1);
	assert_int_equal(to_disk(0, 2), 0);
	assert_int_equal(state_of(0), GMEM_PACKED);
	assert_int_equal(gmem_drop(g, 1), 0);
	assert_int_equal(to_disk(0, 2), 1);
	check(0, true);
}

static void *touch(void *arg)
{
	check((u64)arg, true);
	return NULL;
}

/* What is given back is what it was, and says when it was put away. */
static void packed_given_back(void **state)
{
	u64 entry;

	g->taken = 9 * gmem_stamp_step(g);
	pack(0, 1);
	entry = gmem_entry(g, 0);
	fake_disk_hold(true);
	assert_int_equal(to_disk(0, 1), 1);
	swap_give_back(g, 0);
	assert_int_equal(gmem_entry(g, 0), entry);
	do_all();
}

/* It is unpacked at once; the disk has done nothing. */
static void packed_touched(void **state)
{
	u64 free;

	pack(0, 1);
	free = free_now();
	fake_disk_hold(true);
	assert_int_equal(to_disk(0, 1), 1);
	assert_int_equal(state_of(0), GMEM_BUSY);
	(void)touch((void *)0);
	assert_int_equal(stats_now().given_back, 1);
	assert_int_equal(state_of(0), GMEM_GOT_PAGE);
	assert_int_equal(fake_disk_waiting(), 1);
	assert_int_equal(take(0, 1).packed, 1);
	do_all();
	assert_int_equal(stats_now().used, 0);
	assert_int_equal(state_of(0), GMEM_PACKED);
	assert_int_equal(free_now(), free);
}

static void packed_taken(void **state)
{
	pack(0, 1);
	fake_disk_hold(true);
	assert_int_equal(to_disk(0, 1), 1);
	assert_int_equal(to_disk(0, 1), 0);
	assert_int_equal(take(0, 1).kept, 1);
	do_all();
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	fake_disk_hold(false);
	check(0, true);
}

static void packed_dropped(void **state)
{
	pack(0, 1);
	fake_disk_hold(true);
	assert_int_equal(to_disk(0, 1), 1);
	assert_int_equal(gmem_drop(g, 0), 0);
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(objects(), 0);
	do_all();
	assert_int_equal(stats_now().used, 0);
}

static void *unref(void *arg)
{
	gmem_unref(g);
	__atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
	return NULL;
}

static void packed_object_goes(void **state)
{
	pthread_t thread;
	bool gone = false;

	pack(0, 2);
	fake_disk_hold(true);
	assert_int_equal(to_disk(0, 2), 2);
	assert_int_equal(pthread_create(&thread, NULL, unref, &gone), 0);
	assert_true(fake_disk_do(NULL));
	for (u32 i = 0; i < 1000; i++)
		sched_yield();
	assert_false(__atomic_load_n(&gone, __ATOMIC_ACQUIRE));
	do_all();
	pthread_join(thread, NULL);
	g = NULL;
}

static void packed_write_error(void **state)
{
	u64 free;

	pack(0, 2);
	free = free_now();
	fake_disk_fail(0, 1);
	assert_int_equal(to_disk(0, 2), 2);
	fake_disk_fail(0, 0);
	assert_int_equal(stats_now().bad, 2);
	assert_int_equal(state_of(0), GMEM_PACKED);
	assert_int_equal(free_now(), free);
	check(0, true);
	check(1, true);
}

static void packed_damaged_there(void **state)
{
	pfn_t pfn;

	pack(0, 2);
	assert_int_equal(to_disk(0, 2), 2);
	fake_disk_block(gmem_entry(g, 1) >> GMEM_PFN_SHIFT)[9] ^= 4;
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_CORRUPT);
	check(0, true);
}

static void no_frame_to_write_it_from(void **state)
{
	pack(0, 1);
	hosted_fail_after(1);
	assert_int_equal(to_disk(0, 1), 0);
	hosted_fail_after(0);
	assert_int_equal(state_of(0), GMEM_PACKED);
	watermarks.min = watermarks.low = 1u << 20;
	watermarks.wake = reclaim_wake;
	assert_int_equal(to_disk(0, 1), 0);
	memset(&watermarks, 0, sizeof(watermarks));
	assert_int_equal(to_disk(0, 1), 1);
}

static void packed_to_a_full_disk(void **state)
{
	pack(0, 1);
	put_pages_on_disk(64, BLOCKS - 1);
	assert_int_equal(to_disk(0, 1), 0);
	assert_int_equal(state_of(0), GMEM_PACKED);
	check(0, true);
}

/* --- Who chooses them ----------------------------------------------------------------------- */

/* Where nothing else is to be had, the oldest first; never of a VM at its own max. */
static void reclaim_chooses(void **state)
{
	const struct reclaim_terms terms = {.max = ~0ull, .shares = 1};
	struct reclaim_effort e = {.want = 64};
	static struct reclaim_target t;

	pack(0, 40);
	g->taken += 8 * gmem_stamp_step(g);
	pack(512, 40);
	reclaim_add(&t, g, &terms);
	e.only = &t;
	reclaim_write_packed(&e);
	e.only = NULL;
	e.freed = 64;
	reclaim_write_packed(&e);
	assert_int_equal(stats_now().packed, 0);
	e.freed = 0;
	for (u32 i = 0; i < 8 && !stats_now().packed; i++)
		reclaim_write_packed(&e);
	assert_int_equal(stats_now().packed, 40);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	assert_int_equal(state_of(512), GMEM_PACKED);
	e.freed = 1; /* something else goes */
	for (u32 i = 0; i < 8; i++)
		reclaim_write_packed(&e);
	assert_int_equal(stats_now().packed, 40);
	e.freed = 0;
	for (u32 i = 0; i < 8; i++)
		reclaim_write_packed(&e);
	assert_int_equal(stats_now().packed, 80);
	reclaim_remove(&t);
}

#define CELL(name) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CELL(clean_goes_back),
		CELL(kept_for_who_is_owed),
		CELL(dirty_does_not),
		CELL(dirty_by_a_hold),
		CELL(dirty_is_something_else),
		CELL(kept_dropped),
		CELL(not_kept_to_be_written),
		CELL(not_kept_where_few_are_free),
		CELL(clean_goes_to_a_full_disk),
		CELL(hard_in_a_frame_of_several),
		CELL(packed_goes_on),
		CELL(packs_where_no_block_is_kept),
		CELL(only_so_old),
		CELL(lent_of_what_is_promised),
		CELL(what_several_have_stays),
		CELL(packed_given_back),
		CELL(packed_touched),
		CELL(packed_taken),
		CELL(packed_dropped),
		CELL(packed_object_goes),
		CELL(packed_write_error),
		CELL(packed_damaged_there),
		CELL(no_frame_to_write_it_from),
		CELL(packed_to_a_full_disk),
		CELL(reclaim_chooses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
