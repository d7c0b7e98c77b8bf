/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * What is owed of min= is counted while one who was promised it gives a page back, which is counted for
 * him since a time before: at every point of the one the other is done whole.
 */
#include "mem/gmem_private.h"
#include "mem/reclaim_private.h"
#include "mem/share.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"

#define PROMISE 8u

enum {
	COUNTS,
	GIVES,
	JOBS
};

static struct reclaim_target target;

static void counts(void *arg)
{
	(void)arg;
	hosted_count_points();
	reclaim_count_owed();
	hosted_count_no_more();
}

static void gives(void *arg)
{
	hosted_count_points();
	assert_int_equal(gmem_drop(arg, 0), 0);
	hosted_count_no_more();
}

/* It is owed a page that it has: it gave one back and got it again since it was counted last. */
static void owe_what_it_has(struct gmem *g)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	reclaim_count_owed();
	assert_int_equal(gmem_drop(g, 0), 0);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	assert_int_equal(watermarks.owed, 1);
	assert_int_equal(gmem_lacks(g), 0);
}

static u32 stopped_everywhere(struct gmem *g, u32 job)
{
	u32 point;

	for (point = 1;; point++) {
		const struct hosted_job jobs[JOBS] = {
			[COUNTS] = {"count", counts, g},
			[GIVES] = {"give", gives, g},
		};
		struct hosted_way way = {.directed = true, .period = 1, .stop = {{job, point}}};

		owe_what_it_has(g);
		hosted_run(jobs, JOBS, &way);
		assert_int_equal(gmem_lacks(g), 1);
		assert_true(watermarks.owed >= 1);
		reclaim_count_owed();
		assert_int_equal(watermarks.owed, 1);
		if (hosted_points_counted(job) < point)
			return point;
	}
}

static void kept_at_every_point(void **state)
{
	struct reclaim_terms terms = {.min = PROMISE, .max = ~0ull, .shares = 1};
	struct gmem *g;
	pfn_t pfn;

	(void)state;
	start(MIB(16));
	assert_int_equal(gmem_create(PROMISE, &g), 0);
	reclaim_add(&target, g, &terms);
	for (u64 i = 0; i < PROMISE; i++)
		assert_int_equal(gmem_get_page(g, i, true, &pfn), 0);
	assert_true(stopped_everywhere(g, COUNTS) > 1);
	assert_true(stopped_everywhere(g, GIVES) > 1);
	reclaim_remove(&target);
	gmem_unref(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_at_every_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
