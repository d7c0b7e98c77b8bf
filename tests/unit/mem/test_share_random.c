/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c tests/unit/mem/share_storm.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * The storm of share_storm.h: one step after the other, with a look at all that is counted after each,
 * and one thread at a time in many orders. What fails says with which seed; WEIR_SEED=it repeats that
 * run alone as the first. WEIR_FUZZ=full: more of them.
 */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/mem/share_storm.h"

static u64 seed;
static u32 runs = 10;

static void add(struct share_storm_counts *sum, const struct share_storm_counts *c)
{
	for (u32 i = 0; i < sizeof(*c) / sizeof(u64); i++)
		((u64 *)sum)[i] += ((const u64 *)c)[i];
}

static void print(const struct share_storm_counts *c)
{
	printf("alone %llu, of them packed %llu, without memory %llu, to the disk %llu, ended "
	       "%llu, written whole %llu\n",
	       (unsigned long long)c->alone, (unsigned long long)c->alone_shown,
	       (unsigned long long)c->no_memory, (unsigned long long)c->on_disk,
	       (unsigned long long)c->ended, (unsigned long long)c->whole);
}

static void counted_after_each_step(void **state)
{
	struct share_storm_counts c, sum = {0};

	for (u32 i = 0; i < runs; i++) {
		printf("seed %llu\n", (unsigned long long)(seed + i));
		/* With a disk, and with memory that fails, or not. */
		share_steps(seed + i, 800, i & 2 ? 5 : 0, i & 1, &c);
		add(&sum, &c);
	}
	print(&sum);
	assert_true(sum.alone > sum.alone_shown && sum.alone_shown > 10 * runs);
	assert_true(sum.no_memory > runs && sum.on_disk > runs && sum.ended > runs);
	assert_true(sum.whole > runs);
}

static void in_many_orders(void **state)
{
	struct share_storm_counts c, sum = {0};

	for (u32 i = 0; i < 4 * runs; i++) {
		struct hosted_way way = {.serial = true, .seed = seed + i, .period = 1 + i % 20};

		printf("seed %llu\n", (unsigned long long)way.seed);
		share_storm(&way, 20, i & 2 ? 5 : 0, i & 1, &c);
		add(&sum, &c);
	}
	print(&sum);
	assert_true(sum.alone_shown > 0 && sum.no_memory > 0 && sum.on_disk > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counted_after_each_step),
		cmocka_unit_test(in_many_orders),
	};
	const char *extent = getenv("WEIR_FUZZ"), *text = getenv("WEIR_SEED");

	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = text ? strtoull(text, NULL, 0) : 1;
	if (extent && strcmp(extent, "full") == 0)
		runs *= 20;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
