/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c tests/unit/mem/share_storm.c */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-sanitizer: thread */
/* The storm of share_storm.h on threads that run in parallel. WEIR_FUZZ=full: longer. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/mem/share_storm.h"

static struct hosted_way way = {.period = 50};
static u32 longer = 1;

static void storms(void **state)
{
	struct share_storm_counts c;
	u64 alone = 0;

	for (u32 i = 0; i < 8; i++, way.seed++) {
		share_storm(&way, 60 * longer, i & 2 ? 5 : 0, i & 1, &c);
		printf("seed %llu: alone %llu, of them packed %llu, without memory %llu, to the "
		       "disk "
		       "%llu, ended %llu\n",
		       (unsigned long long)way.seed, (unsigned long long)c.alone,
		       (unsigned long long)c.alone_shown, (unsigned long long)c.no_memory,
		       (unsigned long long)c.on_disk, (unsigned long long)c.ended);
		alone += c.alone;
	}
	assert_true(alone > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(storms),
	};
	const char *extent = getenv("WEIR_FUZZ"), *text = getenv("WEIR_SEED");

	setvbuf(stdout, NULL, _IOLBF, 0);
	way.seed = text ? strtoull(text, NULL, 0) : 1;
	if (extent && strcmp(extent, "full") == 0)
		longer = 20;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
