/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* unit-libs: -Wl,--wrap=frame_alloc_at,--wrap=frame_alloc_apart */
/* Where first touches put their pages: 2 MiB of them become one piece where memory allows it. */
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/slab.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define LARGE GMEM_LARGE_PAGES

int __real_frame_alloc_at(pfn_t pfn, u32 flags);
int __wrap_frame_alloc_at(pfn_t pfn, u32 flags);
int __real_frame_alloc_apart(u32 number, u32 flags, pfn_t *out);
int __wrap_frame_alloc_apart(u32 number, u32 flags, pfn_t *out);

/* What others do just before the next frame is taken, or just after. */
static void (*before_take)(void);
static void (*after_take)(void);

static void once(void (**hook)(void))
{
	void (*run)(void) = *hook;

	*hook = NULL;
	if (run)
		run();
}

int __wrap_frame_alloc_at(pfn_t pfn, u32 flags)
{
	int err;

	once(&before_take);
	err = __real_frame_alloc_at(pfn, flags);
	once(&after_take);
	return err;
}

int __wrap_frame_alloc_apart(u32 number, u32 flags, pfn_t *out)
{
	int err;

	once(&before_take);
	err = __real_frame_alloc_apart(number, flags, out);
	once(&after_take);
	return err;
}

static struct gmem *g;

static void touch(struct gmem *object, u64 index)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(object, index, true, &pfn), 0);
	assert_true(all_zero(pfn, 0));
}

static void touch_all(struct gmem *object, u64 first, u64 pages)
{
	for (u64 i = first; i < first + pages; i++) {
		if (gmem_entry_state(gmem_entry(object, i)) == GMEM_ABSENT)
			touch(object, i);
	}
}

static u64 count_large(struct gmem *object)
{
	u64 n = 0;
	pfn_t pfn;

	for (u64 i = 0; i < object->pages; i += LARGE)
		n += gmem_large(object, i, &pfn);
	return n;
}

/* How many 2 MiB are free in one piece. */
static u64 count_free_large(void)
{
	pfn_t taken[64];
	u64 n = 0;

	while (n < 64 && frame_alloc(9, 0, &taken[n]) == 0)
		n++;
	for (u64 i = 0; i < n; i++)
		frame_free(taken[i], 9);
	return n;
}

/* What a guest's faults take besides: tables, descriptors, entries. */
static void touched_in_order(void **state)
{
	u64 before = start(MIB(64));
	struct gmem *h;
	void *others[2 * LARGE / 8];
	u32 count = 0;

	soil_free_memory();
	assert_int_equal(gmem_create(8 * LARGE, &g), 0);
	assert_int_equal(gmem_create(8 * LARGE, &h), 0);
	/* Two guests at once, one backwards. */
	for (u64 i = 0; i < 4 * LARGE; i++) {
		touch(g, i);
		touch(h, 8 * LARGE - 1 - i);
		if (i % 16 == 0)
			others[count++] = i % 32 ? kmalloc(200) : frame_alloc_page(FRAME_ZERO);
	}
	assert_int_equal(count_large(g), 4);
	assert_int_equal(count_large(h), 4);
	for (u32 i = 0; i < count; i++) {
		if (i % 2)
			kfree(others[i]);
		else
			frame_free_page(others[i]);
	}
	gmem_unref(g);
	gmem_unref(h);
	assert_int_equal(free_now(), before);
}

static void touched_at_random(void **state)
{
	u64 before = start(MIB(32)), random = 5;

	assert_int_equal(gmem_create(4 * LARGE, &g), 0);
	for (u32 i = 0; i < 8000; i++)
		touch_all(g, random_below(&random, 4 * LARGE), 1);
	touch_all(g, 0, 4 * LARGE);
	assert_int_equal(count_large(g), 4);
	/* All dropped in some order: whoever comes next finds 2 MiB whole again. */
	assert_int_equal(gmem_drop_range(g, 7, LARGE, NULL), 0);
	assert_int_equal(gmem_drop_range(g, 0, 4 * LARGE, NULL), 0);
	touch_all(g, 0, 4 * LARGE);
	assert_int_equal(count_large(g), 4);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* A place holds nothing back: the last frame is anybody's, and guests get on without. */
static void places_are_not_reserved(void **state)
{
	u64 before = start(MIB(16)), taken = 0, left;
	void *pages[4096];

	assert_int_equal(gmem_create(6 * LARGE, &g), 0);
	touch(g, 3);
	touch(g, LARGE + 3);
	left = free_now();
	while ((pages[taken] = frame_alloc_page(0)))
		taken++;
	assert_int_equal(taken, left);
	for (u32 i = 0; i < 1000; i++)
		frame_free_page(pages[--taken]);
	/* Frames are free, but not those. */
	touch_all(g, 0, LARGE + 200);
	assert_int_equal(count_large(g), 0);
	assert_int_equal(g->slot_phys[0].place, GMEM_PLACE_NONE);
	/* And no 2 MiB are, for one that is touched first now. */
	touch(g, 2 * LARGE);
	assert_int_equal(g->slot_phys[2].place, GMEM_PLACE_NONE);
	while (taken)
		frame_free_page(pages[--taken]);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* Until there is nothing else others take what is beside. */
static void places_are_taken_last(void **state)
{
	u64 before = start(MIB(16)), usual, taken = 0;
	void *pages[4096];

	assert_int_equal(gmem_create(6 * LARGE, &g), 0);
	for (u64 i = 0; i < 3; i++)
		touch(g, i * LARGE);
	/* The CPU's cache takes some in advance. */
	usual = free_now() - 3 * (LARGE - 1) - 64;
	while (taken < usual)
		pages[taken++] = frame_alloc_page(0);
	touch_all(g, 0, 3 * LARGE);
	assert_int_equal(count_large(g), 3);
	while (taken)
		frame_free_page(pages[--taken]);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* An object that has no 2 MiB, or whose last ones are not whole, breaks none up for it. */
static void small_objects_have_no_place(void **state)
{
	u64 before = start(MIB(16)), whole;

	assert_int_equal(gmem_create(LARGE + 100, &g), 0);
	whole = count_free_large();
	touch(g, LARGE);
	touch(g, LARGE + 99);
	assert_int_equal(count_free_large(), whole);
	touch(g, 5);
	assert_int_equal(count_free_large(), whole - 1);
	touch_all(g, 0, LARGE + 100);
	assert_int_equal(count_free_large(), whole - 1);
	assert_int_equal(count_large(g), 1);
	assert_int_equal(g->slot_phys[1].place, GMEM_PLACE_NONE);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* Pages that come back one by one in another order, before their frames have left the CPU's cache. */
static void given_back_and_touched_again(void **state)
{
	u64 before = start(MIB(16));

	assert_int_equal(gmem_create(2 * LARGE, &g), 0);
	touch_all(g, 0, 300);
	for (u64 i = 100; i < 140; i++)
		assert_int_equal(gmem_drop(g, i), 0);
	touch_all(g, 100, 40);
	touch_all(g, 0, LARGE);
	assert_int_equal(count_large(g), 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/*
 * A guest that touches one page of each 2 MiB leaves others their 2 MiB: no more are broken up
 * where half of what is free is in pieces.
 */
static void sparse_touches_leave_large_pages(void **state)
{
	u64 before = start(MIB(64)), whole;

	assert_int_equal(gmem_create(64 * LARGE, &g), 0);
	whole = count_free_large();
	for (u64 i = 0; i < 64; i++)
		touch(g, i * LARGE);
	assert_in_range(count_free_large(), whole / 2 - 1, whole / 2 + 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
	assert_int_equal(count_free_large(), whole);
}

/* --- Two at once ---------------------------------------------------------------------------- */

static u64 touch_index;

static void touch_it(void)
{
	touch(g, touch_index);
}

static void two_at_once(void **state)
{
	u64 before = start(MIB(32));

	assert_int_equal(gmem_create(8 * LARGE, &g), 0);
	/* Both choose a place; one of them begins again and takes the other's. */
	touch_index = 9;
	before_take = touch_it;
	touch(g, 7);
	touch_index = LARGE + 9;
	after_take = touch_it;
	touch(g, LARGE + 7);
	/* Both want the same page, whose frame goes to one of them: the place is good still. */
	touch_index = 2 * LARGE;
	before_take = touch_it;
	touch(g, 2 * LARGE);
	touch_index = 2 * LARGE + 1;
	before_take = touch_it;
	touch(g, 2 * LARGE + 1);
	touch_all(g, 0, 3 * LARGE);
	assert_int_equal(g->resident, 3 * LARGE);
	assert_int_equal(count_large(g), 3);
	/* But one who comes while the frame is another's, and is first, has a frame elsewhere. */
	touch(g, 3 * LARGE);
	touch_index = 3 * LARGE + 1;
	after_take = touch_it;
	touch(g, 3 * LARGE + 1);
	assert_int_equal(g->slot_phys[3].place, GMEM_PLACE_NONE);
	touch_all(g, 3 * LARGE, LARGE);
	assert_int_equal(count_large(g), 3);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void failing_allocations(void **state)
{
	u64 before = start(MIB(32));
	u32 n = 0;

	do {
		int err = 0;
		pfn_t pfn;

		assert_int_equal(gmem_create(2 * LARGE + 10, &g), 0);
		hosted_fail_after(++n);
		for (u64 i = 0; i < 4 && !err; i++)
			err = gmem_get_page(g, (i + 1) * LARGE / 2, true, &pfn);
		assert_int_equal(err, hosted_fail_happened() ? ERR_NOMEM : 0);
		hosted_fail_after(0);
		/* The failure is over, and nothing of it is left. */
		touch_all(g, 0, 2 * LARGE + 10);
		assert_int_equal(count_large(g), 2);
		gmem_unref(g);
		assert_int_equal(free_now(), before);
	} while (n < 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(touched_in_order),
		cmocka_unit_test(touched_at_random),
		cmocka_unit_test(places_are_not_reserved),
		cmocka_unit_test(places_are_taken_last),
		cmocka_unit_test(small_objects_have_no_place),
		cmocka_unit_test(given_back_and_touched_again),
		cmocka_unit_test(sparse_touches_leave_large_pages),
		cmocka_unit_test(two_at_once),
		cmocka_unit_test(failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
