/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/restart.c */
/* When a VM that was reset starts again, and how much of it the log tells. */
#include <cmocka.h>
#include "kernel/restart.h"

#define SECOND 1000000000ull

static void a_long_run_starts_again_at_once(void **state)
{
	struct restart r = {0};

	for (u32 i = 1; i <= 20; i++) {
		assert_false(restart_is_due(&r, i * 60 * SECOND));
		restart_ask(&r, i * 60 * SECOND, 2 * SECOND);
		assert_true(restart_is_due(&r, i * 60 * SECOND));
		assert_true(restart_is_loud(&r));
		restart_done(&r);
	}
	assert_int_equal(r.count, 20);
}

static void quick_runs_wait_longer_and_longer(void **state)
{
	static const u64 delays_ms[] = {10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000};
	struct restart r = {0};
	u64 now = SECOND;

	for (u32 i = 0; i < ARRAY_SIZE(delays_ms); i++) {
		u64 delay = delays_ms[i] * 1000000;

		restart_ask(&r, now, 1000);
		assert_false(restart_is_due(&r, now + delay - 1));
		assert_true(restart_is_due(&r, now + delay));
		restart_done(&r);
		now += delay;
	}
	/* One that lasted makes good. */
	restart_ask(&r, now, RESTART_QUICK_NS);
	assert_true(restart_is_due(&r, now));
	restart_done(&r);
	restart_ask(&r, now, RESTART_QUICK_NS - 1);
	assert_false(restart_is_due(&r, now));
	assert_true(restart_is_due(&r, now + RESTART_DELAY_NS));
}

static void the_log_is_not_filled(void **state)
{
	struct restart r = {0};
	u32 lines = 0;

	for (u32 i = 1; i <= 100000; i++) {
		restart_ask(&r, i, 0);
		lines += restart_is_loud(&r);
		restart_done(&r);
	}
	assert_int_equal(lines, RESTART_LOUD + 14); /* 8, 16, ... 65536 */
}

/* Nor by one that runs for a while each time. */
static void nor_slowly(void **state)
{
	struct restart r = {0};
	u32 lines = 0;

	for (u32 i = 1; i <= 3600; i++) {
		restart_ask(&r, i * 1100000000ull, 1100000000);
		lines += restart_is_loud(&r);
		restart_done(&r);
	}
	assert_in_range(lines, 60, 85);
	/* Who has been quiet for long is told of again, and whoever is started by hand. */
	restart_ask(&r, 5000 * SECOND, 0);
	assert_true(restart_is_loud(&r));
	for (u32 i = 0; i < 10; i++)
		restart_ask(&r, 5000 * SECOND, 0);
	assert_false(restart_is_loud(&r));
	restart_by_hand(&r);
	assert_true(restart_is_loud(&r));
}

/* What may be told of its programs, which is bounded, counts from the last start that was told. */
static void programs_are_told_of_again(void **state)
{
	struct restart r = {.programs_told = 4};
	u32 tellings = 0;

	restart_ask(&r, 5 * SECOND, 0);
	assert_int_equal(r.programs_told, 0);
	for (u32 i = 1; i <= 100000; i++) {
		r.programs_told = 4;
		restart_ask(&r, 5 * SECOND + i, 0);
		assert_int_equal(r.programs_told, restart_is_loud(&r) ? 0 : 4);
		tellings += !r.programs_told;
	}
	assert_in_range(tellings, 4, 20);
	r.programs_told = 4;
	restart_by_hand(&r);
	assert_int_equal(r.programs_told, 0);
}

static void short_of_memory(void **state)
{
	struct restart r = {0};

	restart_ask(&r, 5, 2 * SECOND);
	assert_true(restart_put_off(&r, 5));
	assert_true(r.pending);
	assert_false(restart_is_due(&r, 5 + RESTART_MEMORY_NS - 1));
	assert_true(restart_is_due(&r, 5 + RESTART_MEMORY_NS));
	assert_false(restart_put_off(&r, 5 + RESTART_MEMORY_NS)); /* is said once */
	restart_done(&r);
	restart_ask(&r, 6, 2 * SECOND);
	assert_true(restart_put_off(&r, 6));
}

/* One that starts again and again, and finds no memory each time. */
static void short_of_memory_over_and_over(void **state)
{
	struct restart r = {0};
	u32 lines = 0, tries = 0;

	for (u32 i = 0; i < 1000; i++) {
		restart_ask(&r, i * SECOND / 10, 0);
		lines += restart_put_off(&r, i * SECOND / 10);
		restart_done(&r);
	}
	assert_in_range(lines, 4, 12);
	/* But one that waits for long is told of, once. */
	restart_ask(&r, 100 * SECOND, 0);
	assert_false(restart_is_loud(&r));
	for (lines = 0; tries < 5000; tries++)
		lines += restart_put_off(&r, 100 * SECOND);
	assert_int_equal(lines, 1);
}

static void crash_in_a_row(struct restart *r, u32 times)
{
	for (u32 i = 0; i < times; i++) {
		assert_true(restart_ask_after_crash(r, SECOND, RESTART_STABLE_NS - 1));
		assert_true(r->pending);
		restart_done(r);
	}
}

static void crashes_in_a_row_are_bounded(void **state)
{
	struct restart r = {0};

	crash_in_a_row(&r, RESTART_CRASHES_MAX);
	/* One that lasted ends the row, and is the first of the next. */
	assert_true(restart_ask_after_crash(&r, SECOND, RESTART_STABLE_NS));
	restart_done(&r);
	crash_in_a_row(&r, RESTART_CRASHES_MAX - 1);
	assert_false(restart_ask_after_crash(&r, SECOND, RESTART_STABLE_NS - 1));
	assert_false(r.pending);
	/* Who starts it by hand gives it as many again. */
	crash_in_a_row(&r, RESTART_CRASHES_MAX);
}

/* Why it crashed: of as many as the log tells of, and of the one that it stays down for. */
static void crashes_that_are_told(void **state)
{
	struct restart r = {0};
	u32 told = 0;

	for (u32 i = 0; i <= RESTART_CRASHES_MAX; i++) {
		assert_true(restart_tells_crash(&r));
		assert_int_equal(restart_ask_after_crash(&r, SECOND, 0), i < RESTART_CRASHES_MAX);
		restart_done(&r);
	}
	/* Who runs just long enough to end each row. */
	for (u64 i = 1; i <= 5 * 600; i++) {
		u64 ran = i % 5 ? 0 : RESTART_STABLE_NS;

		told += restart_tells_crash(&r);
		assert_true(restart_ask_after_crash(&r, i / 5 * RESTART_STABLE_NS, ran));
		restart_done(&r);
	}
	assert_in_range(told, 600, 2 * 600 + RESTART_LOUD + 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crashes_in_a_row_are_bounded),
		cmocka_unit_test(crashes_that_are_told),
		cmocka_unit_test(a_long_run_starts_again_at_once),
		cmocka_unit_test(quick_runs_wait_longer_and_longer),
		cmocka_unit_test(the_log_is_not_filled),
		cmocka_unit_test(nor_slowly),
		cmocka_unit_test(programs_are_told_of_again),
		cmocka_unit_test(short_of_memory),
		cmocka_unit_test(short_of_memory_over_and_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
