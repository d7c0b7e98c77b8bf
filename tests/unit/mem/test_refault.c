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
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

#define PAGES 1600u /* a stamp's step is 100 */

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
	watermarks.low = watermarks.high = watermarks.min = 0;
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
	hosted_clock_free();
	return 0;
}

static void touch(u64 first, u64 pages)
{
	for (u64 i = first; i < first + pages; i++) {
		pfn_t pfn;
		u64 *p;

		assert_int_equal(gmem_get_page(g, i, true, &pfn), 0);
		p = pfn_to_virt(pfn);
		p[i % 512] = i + 1;
		p[(i + 1) % 512] = i;
		used[i] = true;
	}
}

static void take(u64 first, u64 pages)
{
	for (u64 i = first; i < first + pages; i++) {
		struct gmem_taken t = {0};
		u64 one = 1;

		gmem_take(g, i, 1, &one, &t);
		assert_int_equal(t.freed, 1);
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
	touch(0, 3);
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

static void near_comes_back_young(void **state)
{
	touch(0, 800);
	take(0, 400);
	/* 400 were taken since the first was, 400 are there: it would have stayed. */
	touch(0, 1);
	assert_int_equal(age_of(0), 0);
	assert_int_equal(g->fetched, 1);
	assert_int_equal(g->refaults, 1);
	/* 700 were taken since the second was, 101 are there. */
	take(400, 300);
	touch(1, 1);
	assert_int_equal(age_of(1), GMEM_COLD_AGE);
	assert_int_equal(g->fetched, 2);
	assert_int_equal(g->refaults, 1);
	touch(699, 1);
	assert_int_equal(age_of(699), 0);
	assert_int_equal(g->refaults, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(two_uses_make_young, setup, teardown),
		cmocka_unit_test_setup_teardown(near_comes_back_young, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
