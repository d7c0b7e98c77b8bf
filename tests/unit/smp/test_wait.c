/* SPDX-License-Identifier: MIT */
/* unit-sources: smp/wait.c */
/* Waiting for a condition, with wakes that were meant for somebody else. */
#include "smp/thread.h"
#include "smp/wait.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"

#include <cmocka.h>

#define FOR_NS 100u

static struct wait_queue queue;
static u64 deadlines[3];
static u32 sleeps;

/* The first two sleeps end by a wake, time having passed; the last by its deadline. */
static bool on_sleep(const bool *woken, u64 deadline_ns)
{
	(void)woken;
	deadlines[sleeps++] = deadline_ns;
	hosted_clock_set(clock_ns() + (sleeps < 3 ? FOR_NS / 4 : FOR_NS));
	if (sleeps < 3)
		wait_wake_all(&queue);
	return false;
}

static void wakes_do_not_put_the_deadline_off(void **state)
{
	(void)state;
	wait_queue_init(&queue);
	hosted_clock_set(1000);
	hosted_on_sleep = on_sleep;
	assert_false(wait_event_until(&queue, false, clock_ns() + FOR_NS));
	hosted_on_sleep = NULL;
	assert_int_equal(sleeps, 3);
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(deadlines[i], 1000 + FOR_NS);
	hosted_clock_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wakes_do_not_put_the_deadline_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
