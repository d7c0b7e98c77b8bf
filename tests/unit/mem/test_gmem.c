/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* Guest memory objects: their life, first touch, and failing allocations, on one thread. */
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/slab.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

static void creation(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g = NULL;

	assert_int_equal(gmem_create(0, &g), ERR_RANGE);
	assert_int_equal(gmem_create(GMEM_PAGES_MAX + 1, &g), ERR_RANGE);
	assert_int_equal(gmem_create_order(512, 1, &g), ERR_INVAL);
	assert_int_equal(gmem_create_order(512, 18, &g), ERR_INVAL);
	assert_int_equal(gmem_create_order(0, 9, &g), ERR_RANGE);
	assert_int_equal(gmem_create_order(511, 9, &g), ERR_ALIGN);
	assert_int_equal(gmem_create_order(513, 9, &g), ERR_ALIGN);
	/* 2^36 pages want a directory of 2 GiB: too much for 16 MiB, and no harm done. */
	assert_int_equal(gmem_create(GMEM_PAGES_MAX, &g), ERR_NOMEM);
	assert_null(g);
	assert_int_equal(free_now(), before);
	/* A guest of 1 GiB that touched nothing costs 8 KiB of chunks, here with a trailer. */
	assert_int_equal(gmem_create(GIB(1) >> PAGE_SHIFT, &g), 0);
	assert_in_range(before - free_now(), 2, 5);
	assert_int_equal(g->order, 0);
	gmem_ref(g);
	gmem_unref(g);
	assert_int_equal(gmem_entry(g, 0), GMEM_ABSENT);
	assert_int_equal(gmem_entry(g, ~0ull), GMEM_ABSENT);
	assert_int_equal(gmem_resident_peak(g), 0);
	gmem_unref(g);
	assert_int_equal(gmem_create_order(512, 9, &g), 0);
	assert_int_equal(g->order, 9);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void unref(void *g)
{
	gmem_unref(g);
}

static void ref(void *g)
{
	gmem_ref(g);
}

/* Whoever lets go of the last reference while something still depends on it hears of it. */
static void last_reference(void **state)
{
	struct recorder r;
	struct gmem *g;
	u64 entry;
	pfn_t pfn;

	start(MIB(16));
	assert_int_equal(gmem_create(100, &g), 0);
	recorder_init(&r, 0);
	gmem_notifier_add(g, &r.n);
	assert_true(hosted_catch_panic(unref, g));
	gmem_notifier_remove(g, &r.n);
	g->refs = 1;
	gmem_invalidate_begin(g, 99, 1);
	assert_true(hosted_catch_panic(unref, g));
	gmem_invalidate_end(g, 99, 1);
	g->refs = 1;
	assert_int_equal(gmem_get_page(g, 5, true, &pfn), 0);
	assert_int_equal(gmem_claim(g, 5, &entry), 0);
	assert_true(hosted_catch_panic(unref, g));
	assert_true(hosted_catch_panic(unref, g)); /* one too many */
	g->refs = 0;
	assert_true(hosted_catch_panic(ref, g)); /* a reference to what is gone */
}

static u32 freed;

static void count_free(void *arg)
{
	assert_ptr_equal(arg, &freed);
	freed++;
}

/* Whose frames an object was filled with hears of its end, once. */
static void told_of_the_end(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_on_free(g, count_free, &freed), 0);
	assert_int_equal(gmem_on_free(g, count_free, NULL), ERR_EXIST);
	gmem_ref(g);
	gmem_unref(g);
	assert_int_equal(freed, 0);
	gmem_unref(g);
	assert_int_equal(freed, 1);
	assert_int_equal(free_now(), before);
}

static void first_touch(void **state)
{
	u64 before = start(MIB(16)), index[] = {0, 1, 511, 512, 5000, 9999};
	struct gmem *g;
	pfn_t pfn, again;

	soil_free_memory();
	assert_int_equal(gmem_create(10000, &g), 0);
	for (u32 i = 0; i < ARRAY_SIZE(index); i++) {
		bool write = i % 2;

		assert_int_equal(gmem_lookup(g, index[i], write, &pfn), ERR_TOO_HARD);
		assert_int_equal(gmem_get_page(g, index[i], write, &pfn), 0);
		assert_true(all_zero(pfn, 0));
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
		assert_int_equal(gmem_resident_peak(g), i + 1);
	}
	assert_int_equal(gmem_get_page(g, 10000, false, &pfn), ERR_RANGE);
	assert_int_equal(gmem_get_page(g, ~0ull, true, &pfn), ERR_RANGE);
	assert_int_equal(gmem_lookup(g, 10000, false, &pfn), ERR_TOO_HARD);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* What a mapping may be allowed is what the guest wants, or all that it may want without harm. */
static void looked_up_to_be_mapped(void **state)
{
	static const struct {
		u64 entry; /* state and flags */
		bool write, may_write;
		int want;
		bool dirty; /* then */
	} cases[] = {
		{GMEM_GOT_PAGE, false, true, 1, true},
		{GMEM_GOT_PAGE, true, true, 1, true},
		{GMEM_GOT_PAGE, false, false, 0, false},
		{GMEM_GOT_PAGE, true, false, ERR_TOO_HARD, false},
		{GMEM_GOT_PAGE | GMEM_DIRTY, false, true, 1, true},
		{GMEM_GOT_PAGE | GMEM_DIRTY, true, true, 1, true},
		{GMEM_GOT_PAGE | GMEM_DIRTY, false, false, 0, true},
		{GMEM_GOT_PAGE | GMEM_DIRTY, true, false, ERR_TOO_HARD, true},
		{GMEM_GOT_PAGE | GMEM_HARD, false, true, 0, false},
		{GMEM_GOT_PAGE | GMEM_HARD, true, true, 1, true},
		{GMEM_GOT_PAGE | GMEM_HARD | GMEM_DIRTY, false, true, 1, true},
		{GMEM_SHARED, false, true, 0, false},
		{GMEM_SHARED, true, true, ERR_TOO_HARD, false},
		{GMEM_SHARED | GMEM_DIRTY, false, true, 0, true},
		{GMEM_BUSY, false, true, ERR_TOO_HARD, false},
		{GMEM_PACKED | GMEM_DIRTY, false, true, ERR_TOO_HARD, true},
	};
	u64 before = start(MIB(16)), *e, was;
	struct gmem *g;
	pfn_t pfn, got;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_lookup_to_map(g, 7, false, true, &got), ERR_TOO_HARD);
	assert_int_equal(gmem_get_page(g, 7, false, &pfn), 0);
	e = gmem_entry_find(g, 7);
	was = *e;
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		*e = (was & ~(GMEM_STATE_MASK | GMEM_DIRTY)) | cases[i].entry;
		got = PFN(0);
		assert_int_equal(gmem_lookup_to_map(g, 7, cases[i].write, cases[i].may_write, &got),
				 cases[i].want);
		assert_int_equal(got.v, cases[i].want < 0 ? 0 : pfn.v);
		assert_int_equal(!!(*e & GMEM_DIRTY), cases[i].dirty);
	}
	*e = was;
	assert_int_equal(gmem_lookup_to_map(g, 8, true, true, &got), ERR_TOO_HARD);
	assert_int_equal(gmem_lookup_to_map(g, 100, false, true, &got), ERR_TOO_HARD);
	assert_int_equal(gmem_lookup_to_map(g, ~0ull, true, true, &got), ERR_TOO_HARD);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* R12: who looks a page up or gets it holds no reference, so whoever takes it away puts none. */
static void r12_no_reference(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	for (u32 i = 0; i < 10; i++) {
		assert_int_equal(gmem_get_page(g, 7, true, &pfn), 0);
		assert_int_equal(gmem_lookup(g, 7, true, &pfn), 0);
		assert_int_equal(frame_of(pfn)->refs, 1);
		assert_int_equal(frame_of(pfn)->pins, 0);
	}
	assert_int_equal(gmem_drop(g, 7), 0);
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

/* --- Each allocation of a scenario fails in turn: an error comes out, and nothing leaks. ----- */

static int touch_pages(struct gmem *g)
{
	pfn_t pfn;
	int err = gmem_get_page(g, 3, true, &pfn);

	if (!err)
		err = gmem_get_page(g, 4, false, &pfn);
	return err ? err : gmem_get_page(g, 100000, false, &pfn);
}

static int pin_page(struct gmem *g)
{
	pfn_t pfn;
	int err = gmem_pin(g, 200000, true, &pfn);

	if (!err)
		gmem_unpin(g, 200000, pfn, true);
	assert_int_equal(g->pins + g->account->pins, 0);
	return err;
}

/* The frames are the caller's in any case. */
static int fill_pages(struct gmem *g)
{
	pfn_t pfn;
	int err = frame_alloc(1, 0, &pfn);

	if (err)
		return err;
	err = gmem_fill(g, 1023, pfn, 2);
	if (err) {
		assert_int_equal(gmem_entry(g, 1023), GMEM_ABSENT);
		assert_int_equal(gmem_entry(g, 1024), GMEM_ABSENT);
	}
	/* Before the object lets go of the entries: it must not touch the frames. */
	frame_free(pfn, 1);
	return err;
}

static int drop_all(struct gmem *g)
{
	return gmem_drop_range(g, 0, 1023, NULL);
}

static u32 fail_each(u32 order, int (*const *steps)(struct gmem *g), u32 count)
{
	u64 before = free_now();
	u32 n = 0;

	do {
		struct gmem *g = NULL;
		int err;

		hosted_fail_after(++n);
		err = gmem_create_order(GIB(1) >> PAGE_SHIFT, order, &g);
		for (u32 i = 0; i < count && !err; i++)
			err = steps[i](g);
		assert_int_equal(err, hosted_fail_happened() ? ERR_NOMEM : 0);
		if (g)
			gmem_unref(g);
		assert_int_equal(free_now(), before);
	} while (hosted_fail_happened());
	hosted_fail_after(0);
	return n - 1;
}

static void every_allocation_fails_once(void **state)
{
	int (*const steps[])(struct gmem * g) = {touch_pages, pin_page, fill_pages, drop_all};

	start(MIB(32));
	/*
	 * Object, its page, directory, its page; a chunk and a page thrice, one page alone; the
	 * frames to fill with and two chunks. Dropping takes no memory (R38).
	 */
	assert_int_equal(fail_each(0, steps, ARRAY_SIZE(steps)), 4 + 7 + 3);
	/* One chunk is a GiB then: the object's four as before, the chunk, two pages, one to pin. */
	assert_int_equal(fail_each(9, steps, 2), 4 + 1 + 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(told_of_the_end),
		cmocka_unit_test(creation),
		cmocka_unit_test(last_reference),
		cmocka_unit_test(first_touch),
		cmocka_unit_test(looked_up_to_be_mapped),
		cmocka_unit_test(r12_no_reference),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(every_allocation_fails_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
