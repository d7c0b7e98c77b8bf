/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c tests/unit/mem/storm.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * The storms of storm.h, one thread at a time, in many orders. What fails says with which seed;
 * WEIR_SEED=it repeats that run alone as the first. WEIR_FUZZ=full: more of them. And what a storm
 * meets too seldom, in the orders that matter.
 */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"
#include "tests/unit/mem/storm.h"

static u64 seed;
static u32 runs = 120;

static void r08_r09_r10_small(void **state)
{
	struct storm_counts c, sum = {0};

	for (u32 i = 0; i < runs; i++) {
		struct hosted_way way = {.serial = true, .seed = seed + i, .period = 1 + i % 30};

		printf("seed %llu\n", (unsigned long long)way.seed);
		storm_small(&way, 150, &c);
		sum.refused += c.refused;
		sum.used += c.used;
		sum.moved += c.moved;
	}
	printf("refused %llu, used %llu, moved %llu\n", (unsigned long long)sum.refused,
	       (unsigned long long)sum.used, (unsigned long long)sum.moved);
	/* The moments that matter are met, not just passed by. */
	assert_true(sum.refused > runs && sum.used > runs && sum.moved > runs);
}

static void r34_r37_large(void **state)
{
	struct storm_counts c;

	for (u32 i = 0; i < runs / 4; i++) {
		struct hosted_way way = {.serial = true, .seed = seed + i, .period = 1 + i % 10};

		printf("seed %llu\n", (unsigned long long)way.seed);
		storm_large(&way, 20, &c);
	}
}

/* --- one at a time, stopped at each point ---------------------------------------------------- */

enum {
	ENDS,
	LOOKS,
	JOBS
};

static u64 sample; /* from before the invalidation */
static bool begun; /* atomic */
static bool good;

static void ends(void *arg)
{
	gmem_invalidate_begin(arg, 5, 1);
	__atomic_store_n(&begun, true, __ATOMIC_RELEASE);
	hosted_count_points();
	gmem_invalidate_end(arg, 5, 1);
	hosted_count_no_more();
}

static void looks(void *arg)
{
	while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		hosted_stand(1);
	good = gmem_seq_unchanged(arg, 5, sample);
}

/* R09: what was sampled before an invalidation is good at no point of its end. */
static void r09_the_end_is_one_step(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g;
	u32 point;

	assert_int_equal(gmem_create(64, &g), 0);
	for (point = 1;; point++) {
		const struct hosted_job jobs[JOBS] = {
			[ENDS] = {"end", ends, g},
			[LOOKS] = {"look", looks, g},
		};
		struct hosted_way way = {.directed = true, .period = 1, .stop = {{ENDS, point}}};

		sample = gmem_seq_sample(g, 5);
		begun = false;
		hosted_run(jobs, JOBS, &way);
		assert_false(good);
		if (hosted_points_counted(ENDS) < point)
			break;
	}
	assert_true(point > 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* A seed is worth something only if it gives the same run again. */
static void a_seed_repeats(void **state)
{
	struct hosted_way way = {.serial = true, .seed = seed, .period = 5};
	struct storm_counts c, again;
	u64 trace;

	storm_small(&way, 150, &c);
	trace = hosted_run_trace();
	storm_small(&way, 150, &again);
	assert_true(hosted_run_trace() == trace);
	assert_memory_equal(&c, &again, sizeof(c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_repeats),
		cmocka_unit_test(r09_the_end_is_one_step),
		cmocka_unit_test(r08_r09_r10_small),
		cmocka_unit_test(r34_r37_large),
	};
	const char *extent = getenv("WEIR_FUZZ"), *text = getenv("WEIR_SEED");

	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = text ? strtoull(text, NULL, 0) : 1;
	if (extent && strcmp(extent, "full") == 0)
		runs *= 20;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
