/* SPDX-License-Identifier: MIT */
/* Who runs next, which wakes are remembered, and when a CPU has to be told. */
/* unit-sources: smp/runqueue.c */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "smp/runqueue.h"
#include "tests/hosted/hosted.h"

#define THREADS 5

static struct runqueue rq;
static struct thread idle, threads[THREADS];

static int setup(void **state)
{
	(void)state;
	memset(threads, 0, sizeof(threads));
	memset(&idle, 0, sizeof(idle));
	idle.state = THREAD_RUNNING;
	list_init(&idle.run_link);
	for (u32 i = 0; i < THREADS; i++)
		list_init(&threads[i].run_link);
	runqueue_init(&rq, &idle);
	return 0;
}

static void test_round_robin(void **state)
{
	struct thread *now = &idle;

	for (u32 i = 0; i < 3; i++)
		assert_int_equal(runqueue_wake(&rq, &threads[i]), i == 0);
	for (u32 turn = 0; turn < 9; turn++) {
		now = runqueue_next(&rq, now);
		assert_ptr_equal(now, &threads[turn % 3]);
		assert_int_equal(now->state, THREAD_RUNNING);
		assert_int_equal(rq.queued, 2);
	}
	assert_int_equal(idle.state, THREAD_RUNNABLE);
}

static void test_alone(void **state)
{
	runqueue_wake(&rq, &threads[0]);
	assert_ptr_equal(runqueue_next(&rq, &idle), &threads[0]);
	assert_ptr_equal(runqueue_next(&rq, &threads[0]), &threads[0]);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	assert_true(runqueue_block(&rq, &threads[0]));
	assert_ptr_equal(runqueue_next(&rq, &threads[0]), &idle);
	assert_int_equal(idle.state, THREAD_RUNNING);
	assert_ptr_equal(runqueue_next(&rq, &idle), &idle);
}

static void test_wake_remembered(void **state)
{
	runqueue_wake(&rq, &threads[0]);
	runqueue_next(&rq, &idle);
	assert_false(runqueue_wake(&rq, &threads[0])); /* while it runs */
	assert_false(runqueue_block(&rq, &threads[0]));
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	/* Once: the next sleep is one. */
	assert_true(runqueue_block(&rq, &threads[0]));
}

static void test_wake_while_queued(void **state)
{
	runqueue_wake(&rq, &threads[0]);
	assert_false(runqueue_wake(&rq, &threads[0]));
	assert_int_equal(rq.queued, 1);
	runqueue_next(&rq, &idle);
	assert_false(runqueue_block(&rq, &threads[0]));
}

static void test_wake_between_block_and_next(void **state)
{
	runqueue_wake(&rq, &threads[0]);
	runqueue_next(&rq, &idle);
	assert_true(runqueue_block(&rq, &threads[0]));
	assert_true(runqueue_wake(&rq, &threads[0]));
	assert_ptr_equal(runqueue_next(&rq, &threads[0]), &threads[0]);
	assert_int_equal(rq.queued, 0);
}

static void test_tell_only_when_empty(void **state)
{
	assert_true(runqueue_wake(&rq, &threads[0]));
	assert_false(runqueue_wake(&rq, &threads[1]));
	runqueue_next(&rq, &idle);
	assert_false(runqueue_wake(&rq, &threads[2]));
	runqueue_block(&rq, &threads[0]);
	runqueue_next(&rq, &threads[0]);
	runqueue_block(&rq, &threads[1]);
	runqueue_next(&rq, &threads[1]);
	assert_int_equal(rq.queued, 0);
	/* One runs without a slice: it has to be given one. */
	assert_true(runqueue_wake(&rq, &threads[0]));
}

static void test_dead(void **state)
{
	runqueue_wake(&rq, &threads[0]);
	runqueue_wake(&rq, &threads[1]);
	runqueue_next(&rq, &idle);
	threads[0].state = THREAD_DEAD;
	assert_ptr_equal(runqueue_next(&rq, &threads[0]), &threads[1]);
	assert_false(runqueue_wake(&rq, &threads[0]));
	assert_int_equal(rq.queued, 0);
}

/* No step of any kind loses a thread that may run, or lets one wait for ever. */
static void test_random(void **state)
{
	struct thread *now = &idle;
	u32 waited[THREADS] = {0};

	srand(7);
	for (u32 step = 0; step < 100000; step++) {
		u32 i = (u32)rand() % THREADS, runnable = 0;

		if (rand() % 2)
			runqueue_wake(&rq, &threads[i]);
		if (now != &idle && rand() % 4 == 0)
			runqueue_block(&rq, now);
		now = runqueue_next(&rq, now);
		assert_int_equal(now->state, THREAD_RUNNING);
		for (u32 j = 0; j < THREADS; j++) {
			runnable += threads[j].state == THREAD_RUNNABLE;
			waited[j] = threads[j].state == THREAD_RUNNABLE ? waited[j] + 1 : 0;
			assert_true(waited[j] < THREADS);
			assert_true(threads[j].state != THREAD_RUNNING || now == &threads[j]);
		}
		assert_int_equal(runnable, rq.queued);
		assert_true(now != &idle || runnable == 0);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_robin),
		TEST(test_alone),
		TEST(test_wake_remembered),
		TEST(test_wake_while_queued),
		TEST(test_wake_between_block_and_next),
		TEST(test_tell_only_when_empty),
		TEST(test_dead),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
