/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c tests/unit/mem/storm.c */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-sanitizer: thread */
/* The storms of storm.h on threads that run in parallel. WEIR_FUZZ=full: longer. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/mem/storm.h"

static struct hosted_way way = {.period = 50};
static u32 longer = 1;

static void r08_r09_r10_small(void **state)
{
	struct storm_counts c;

	storm_small(&way, 8000 * longer, &c);
	printf("linked %llu, refused %llu, used %llu, unmapped %llu, dropped %llu, moved %llu, "
	       "pinned %llu, left %llu\n",
	       (unsigned long long)c.linked, (unsigned long long)c.refused,
	       (unsigned long long)c.used, (unsigned long long)c.unmapped,
	       (unsigned long long)c.dropped, (unsigned long long)c.moved,
	       (unsigned long long)c.pinned, (unsigned long long)c.left);
	assert_true(c.linked && c.used && c.unmapped && c.dropped);
	assert_true(c.moved && c.pinned && c.left);
}

static void r34_r37_large(void **state)
{
	struct storm_counts c;

	storm_large(&way, 150 * longer, &c);
	printf("2 MiB pages: pinned %llu, dropped %llu\n", (unsigned long long)c.pinned,
	       (unsigned long long)c.dropped);
	assert_true(c.pinned && c.dropped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r08_r09_r10_small),
		cmocka_unit_test(r34_r37_large),
	};
	const char *extent = getenv("WEIR_FUZZ"), *text = getenv("WEIR_SEED");

	setvbuf(stdout, NULL, _IOLBF, 0);
	way.seed = text ? strtoull(text, NULL, 0) : 1;
	if (extent && strcmp(extent, "full") == 0)
		longer = 20;
	printf("seed %llu\n", (unsigned long long)way.seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
