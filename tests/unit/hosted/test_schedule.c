/* SPDX-License-Identifier: MIT */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Jobs that run one at a time: a seed gives the same run again, another seed another one; orders
 * that break a program are met; who waits for ever is found out.
 */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "smp/mutex.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"

#define JOBS   3
#define ROUNDS 200
#define SEEDS  40

static u64 count; /* atomic, but read and written apart */
static struct mutex mutex, other;
static struct wait_queue queue;
static bool opened; /* queue */

static u64 run(void (*fn)(void *arg), u64 seed)
{
	struct hosted_job jobs[JOBS];

	for (u32 i = 0; i < JOBS; i++)
		jobs[i] = (struct hosted_job){"job", fn, (void *)(uintptr_t)i};
	count = 0;
	hosted_run(jobs, JOBS, &(struct hosted_way){.serial = true, .seed = seed, .period = 4});
	return hosted_run_trace();
}

static void count_apart(void *arg)
{
	(void)arg;
	for (u32 i = 0; i < ROUNDS; i++) {
		u64 old = __atomic_load_n(&count, __ATOMIC_RELAXED);

		__atomic_store_n(&count, old + 1, __ATOMIC_RELAXED);
	}
}

static void count_locked(void *arg)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		mutex_lock(&mutex);
		count_apart(NULL);
		mutex_unlock(&mutex);
	}
}

static void a_seed_gives_the_same_run_again(void **state)
{
	u32 same = 0;

	for (u64 seed = 0; seed < SEEDS; seed++) {
		u64 trace = run(count_apart, seed), ended = count, points = hosted_run_points();

		assert_true(run(count_apart, seed) == trace);
		assert_int_equal(count, ended);
		assert_int_equal(hosted_run_points(), points);
		same += run(count_apart, seed + 1) == trace;
	}
	assert_int_equal(same, 0);
}

static void a_lost_update_is_met(void **state)
{
	run(count_apart, 1);
	assert_true(count < JOBS * ROUNDS);
}

static void locks_keep_it_away(void **state)
{
	mutex_init(&mutex, "mutex", LOCK_VM);
	for (u64 seed = 0; seed < 3; seed++) {
		run(count_locked, seed);
		assert_int_equal(count, JOBS * ROUNDS * ROUNDS);
	}
}

/* Two sleep, with and without a deadline; the third wakes them. */
static void sleep_or_wake(void *arg)
{
	u64 begin = clock_ns();

	switch ((uintptr_t)arg) {
	case 0:
		wait_event(&queue, opened);
		break;
	case 1:
		if (!wait_event_until(&queue, opened, begin + 1000000))
			__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
		break;
	default:
		wait_event_until(&queue, false, begin + 2000000);
		/* Its deadline is past, for time goes on while all sleep. */
		count += clock_ns() - begin >= 2000000 ? 10 : 0;
		opened = true;
		wait_wake_all(&queue);
	}
}

static void sleepers_are_woken_and_time_goes_on(void **state)
{
	for (u64 seed = 0; seed < SEEDS; seed++) {
		wait_queue_init(&queue);
		opened = false;
		run(sleep_or_wake, seed);
		assert_int_equal(count, 11);
	}
}

static void deadlock(void *arg)
{
	bool first = (uintptr_t)arg == 0;

	mutex_lock(first ? &mutex : &other);
	if ((uintptr_t)arg == 2)
		wait_event(&queue, false);
	/* trylock looks at no order */
	while (!mutex_trylock(first ? &other : &mutex))
		wait_event(&queue, false);
}

static void who_waits_for_ever_is_found_out(void **state)
{
	int status;
	pid_t child;

	mutex_init(&mutex, "mutex", LOCK_VM);
	mutex_init(&other, "other", LOCK_VM);
	wait_queue_init(&queue);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		run(deadlock, 1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* In parallel the same jobs run as the host has them, and locks hold. */
static void jobs_run_in_parallel_too(void **state)
{
	struct hosted_job jobs[JOBS];

	mutex_init(&mutex, "mutex", LOCK_VM);
	for (u32 i = 0; i < JOBS; i++)
		jobs[i] = (struct hosted_job){"job", count_locked, NULL};
	count = 0;
	hosted_run(jobs, JOBS, &(struct hosted_way){.serial = false, .seed = 1, .period = 50});
	assert_int_equal(count, JOBS * ROUNDS * ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_gives_the_same_run_again),
		cmocka_unit_test(a_lost_update_is_met),
		cmocka_unit_test(locks_keep_it_away),
		cmocka_unit_test(sleepers_are_woken_and_time_goes_on),
		cmocka_unit_test(who_waits_for_ever_is_found_out),
		cmocka_unit_test(jobs_run_in_parallel_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
