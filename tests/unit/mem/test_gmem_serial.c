/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c tests/unit/mem/storm.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * The storms of storm.h, one thread at a time, in many orders. What fails says with which seed;
 * WEIR_SEED=it repeats that run alone as the first. WEIR_FUZZ=full: more of them.
 */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
