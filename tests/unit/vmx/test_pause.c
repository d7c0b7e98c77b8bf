/* SPDX-License-Identifier: MIT */
/* Which PAUSEs are a loop that lasts: by the times between them alone. */
#include "tests/hosted/hosted.h"
#include "vmx/pause.h"

#include <cmocka.h>

static struct pause_loop loop;

static int setup(void **state)
{
	loop = (struct pause_loop){0};
	return 0;
}

/* How many of these PAUSEs were one too many. */
static u32 too_long(u64 *now, u32 pauses, u64 apart)
{
	u32 n = 0;

	for (u32 i = 0; i < pauses; i++) {
		*now += apart;
		n += pause_loop_is_long(&loop, *now);
	}
	return n;
}

static void single_ones(void **state)
{
	u64 now = 0;

	assert_int_equal(too_long(&now, 1, 5 * PAUSE_EXIT_WINDOW), 0);
	assert_int_equal(too_long(&now, 1000, PAUSE_EXIT_GAP + 1), 0);
	assert_int_equal(too_long(&now, 1000, 10 * PAUSE_EXIT_WINDOW), 0);
}

/* The window from the first on, and another one from then on. */
static void loops(void **state)
{
	u64 now = 12345678;

	assert_int_equal(too_long(&now, 1, 0), 0);
	assert_int_equal(too_long(&now, PAUSE_EXIT_WINDOW / 1024, 1024), 0);
	assert_int_equal(too_long(&now, 1, 1), 1);
	assert_int_equal(too_long(&now, PAUSE_EXIT_WINDOW / 1024, 1024), 0);
	assert_int_equal(too_long(&now, 1, 1024), 1);
	assert_int_equal(too_long(&now, 100 * (PAUSE_EXIT_WINDOW / 1024 + 1), 1024), 100);
	/* As far apart as may be. */
	now += PAUSE_EXIT_WINDOW;
	assert_int_equal(too_long(&now, 1, 0), 0);
	assert_int_equal(too_long(&now, PAUSE_EXIT_WINDOW / PAUSE_EXIT_GAP, PAUSE_EXIT_GAP), 0);
	assert_int_equal(too_long(&now, 1, PAUSE_EXIT_GAP), 1);
}

/* Short waits, one after the other, with work between them. */
static void short_loops(void **state)
{
	u64 now = 0;

	for (u32 i = 0; i < 1000; i++) {
		now += PAUSE_EXIT_GAP + 1;
		assert_int_equal(too_long(&now, PAUSE_EXIT_WINDOW / 1024, 1024), 0);
	}
}

/* On a CPU whose TSC is behind that of the last one: at worst one loop too few or too many. */
static void the_tsc_goes_back(void **state)
{
	u64 now = 1000000;

	(void)too_long(&now, 10, 1024);
	now -= 500000;
	(void)too_long(&now, 1, 0);
	assert_int_equal(too_long(&now, PAUSE_EXIT_WINDOW / 1024, 1024), 0);
	assert_int_equal(too_long(&now, 1, 1024), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(single_ones, setup),
		cmocka_unit_test_setup(loops, setup),
		cmocka_unit_test_setup(short_loops, setup),
		cmocka_unit_test_setup(the_tsc_goes_back, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
