/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * What comes back: young, if it would have stayed with twice the memory; else, and at a first touch,
 * it has to be used twice first.
 */
#include <string.h>
#include "kernel/base/error.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define PAGES  1600u /* a stamp's step is 100 */
#define STEP   100u
#define BLOCKS 1601u

/* Where pages go, by what they hold. */
static const enum gmem_state tiers[] = {GMEM_PACKED, GMEM_FILLED, GMEM_SWAPPED};

static struct gmem *g;
static struct gmem_notifier n;
static struct reclaim_target target;
static bool used[PAGES];
static u64 now_ns;

static u64 notify(struct gmem_notifier *notifier, struct gmem *object, enum gmem_event event,
		  u64 first, u64 pages, u64 *young)
{
	for (u64 i = 0; event == GMEM_EVENT_AGE && i < pages; i++) {
		if (used[first + i])
			young[i / 64] |= BIT(i % 64);
		used[first + i] = false;
	}
	return 0;
}

static int setup(void **state)
{
	const struct reclaim_options options = {.tax = 75};
	const struct reclaim_terms terms = {.max = ~0ull, .shares = 1};

	start(MIB(24));
	assert_int_equal(reclaim_init(&options), 0);
	/* The disk brings nothing ahead. */
	watermarks.low = watermarks.high = 1u << 20;
	watermarks.min = 0;
	fake_disk_init(BLOCKS);
	assert_int_equal(swap_attach(&fake_disk, BLOCKS, 4711), 0);
	assert_int_equal(gmem_create(PAGES, &g), 0);
	memset(&n, 0, sizeof(n));
	memset(used, 0, sizeof(used));
	n.notify = notify;
	gmem_notifier_add(g, &n);
	reclaim_add(&target, g, &terms);
	return 0;
}

static int teardown(void **state)
{
	reclaim_remove(&target);
	gmem_notifier_remove(g, &n);
	gmem_unref(g);
	swap_detach();
	memset(&watermarks, 0, sizeof(watermarks));
	hosted_clock_free();
	return 0;
}

/* The i-th word of a page that goes to the tier. */
static u64 word_of(enum gmem_state tier, u64 page, u32 i, u64 *random)
{
	if (tier == GMEM_SWAPPED)
		return random_next(random);
	return tier == GMEM_FILLED ? page + 1 : page + i % 4;
}

static void touch(enum gmem_state tier, u64 first, u64 pages)
{
	for (u64 page = first; page < first + pages; page++) {
		u64 *words, random = page;
		pfn_t pfn;

		assert_int_equal(gmem_get_page(g, page, true, &pfn), 0);
		words = pfn_to_virt(pfn);
		for (u32 i = 0; i < PAGE_SIZE / sizeof(*words); i++)
			words[i] = word_of(tier, page, i, &random);
		used[page] = true;
	}
}

static void take(enum gmem_state tier, u64 first, u64 pages)
{
	for (u64 i = first; i < first + pages; i++) {
		struct gmem_taken t = {0};
		u64 one = 1;

		gmem_take(g, i, 1, &one, &t);
		assert_int_equal(gmem_entry_state(gmem_entry(g, i)), tier);
	}
}

static void round_of_aging(void)
{
	struct reclaim_effort e = {.ages = 100};

	hosted_clock_set(now_ns += 1000000000);
	assert_true(reclaim_age(&e));
}

static u32 age_of(u64 i)
{
	return gmem_entry_age(g, gmem_entry(g, i));
}

static void two_uses_make_young(void **state)
{
	touch(GMEM_PACKED, 0, 3);
	assert_int_equal(age_of(0), GMEM_COLD_AGE);
	round_of_aging(); /* has seen what made them come */
	assert_int_equal(age_of(0), GMEM_COLD_AGE);
	assert_int_equal(target.working_set, 0);
	used[1] = true;
	round_of_aging();
	assert_int_equal(age_of(0), GMEM_COLD_AGE + 1);
	assert_int_equal(age_of(1), 0);
	assert_int_equal(target.working_set, 1);
	used[0] = true;
	round_of_aging();
	assert_int_equal(age_of(0), 0);
	assert_int_equal(age_of(1), 1);
	assert_int_equal(age_of(2), GMEM_COLD_AGE + 2);
}

/* It is there again, young or not; and counted as a refault if it is, and if its contents came back. */
static void check_back(u64 page, bool near, bool contents)
{
	static u64 fetched, refaults;

	if (!page)
		fetched = refaults = 0;
	assert_int_equal(gmem_entry_state(gmem_entry(g, page)), GMEM_GOT_PAGE);
	assert_int_equal(age_of(page), near ? 0 : GMEM_COLD_AGE);
	assert_int_equal(!!(gmem_entry(g, page) & GMEM_COLD), !near);
	assert_int_equal(g->fetched, fetched += contents);
	assert_int_equal(g->refaults, refaults += near);
}

static void touched(enum gmem_state tier, u64 page)
{
	touch(tier, page, 1);
}

static void written_whole(enum gmem_state tier, u64 page)
{
	static const u64 words[PAGE_SIZE / 8] = {1, 2, 3};

	assert_true(gmem_write_stored(g, page, words));
}

/* taken: pages that were put away before. */
static void comes_back(void (*back)(enum gmem_state tier, u64 page), enum gmem_state tier,
		       u64 taken)
{
	bool contents = back == touched;

	g->taken = taken;
	g->fetched = g->refaults = 0;
	touch(tier, 0, 800);
	take(tier, 0, 400);
	/* 400 were taken since the first was, 400 are there: it would have stayed. */
	back(tier, 0);
	check_back(0, true, contents);
	/* 700 were taken since the second was, 101 are there. */
	take(tier, 400, 300);
	back(tier, 1);
	check_back(1, false, contents);
	back(tier, 699);
	check_back(699, true, contents);
	assert_int_equal(gmem_drop_range(g, 0, PAGES, NULL), 0);
}

static void near_comes_back_young(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(tiers); i++)
		comes_back(touched, tiers[i], 0);
}

static void near_is_young_written_whole(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(tiers); i++)
		comes_back(written_whole, tiers[i], 0);
}

/* Between the one's stamp and the other's they begin again at 0. */
static void stamps_wrap(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(tiers); i++) {
		comes_back(touched, tiers[i], (GMEM_STAMPS - 1) * STEP);
		comes_back(written_whole, tiers[i], (GMEM_STAMPS - 1) * STEP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(two_uses_make_young, setup, teardown),
		cmocka_unit_test_setup_teardown(near_comes_back_young, setup, teardown),
		cmocka_unit_test_setup_teardown(near_is_young_written_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(stamps_wrap, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
