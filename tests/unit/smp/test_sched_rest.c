/* SPDX-License-Identifier: MIT */
/* Whether vCPUs rest, and who is told when one does not any more; in simulated time. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c
 */
#include "tests/unit/smp/sched_time.h"

static struct sched_group group;
static u32 ends;

static void count_end(void)
{
	assert_false(irq_enabled());
	assert_int_equal(hosted_locks_held(), 0);
	ends++;
}

/* Thread 0 is a vCPU, thread 1 one of Weir's own; both have run at this CPU, and sleep. */
static void start_at(u32 cpu_number, u32 cpu)
{
	setup(cpu_number);
	sched_group_init(&group, 100, 0);
	thread_rest_init(count_end);
	for (u32 i = 0; i < 2; i++) {
		make(i, 100, cpu)->group = i ? NULL : &group;
		wake_from(0, &threads[i]);
		run_until(now + MS);
		hosted_cpu_set(cpu);
		schedule_here(SCHEDULE_BLOCK);
	}
	hosted_cpu_set(0);
	ends = 0;
}

static void start(u32 cpu_number)
{
	start_at(cpu_number, cpu_number - 1);
}

static void run_vcpu(void)
{
	wake_from(0, &threads[0]);
	run_until(now + MS);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
}

static void block_vcpu(void)
{
	hosted_cpu_set(threads[0].cpu->id);
	schedule_here(SCHEDULE_BLOCK);
	hosted_cpu_set(0);
}

static void they_rest_until_one_runs(void **state)
{
	u64 turns;

	start(2);
	turns = thread_group_turns();
	assert_true(thread_groups_rest(turns));
	/* Others are none of its business. */
	wake_from(0, &threads[1]);
	run_until(now + 50 * MS);
	assert_int_equal(ends, 0);
	assert_true(thread_groups_rest(turns));
	run_vcpu();
	assert_int_equal(ends, 1);
	/* Once. */
	block_vcpu();
	run_vcpu();
	assert_int_equal(ends, 1);
	teardown();
}

static void one_that_runs_does_not_rest(void **state)
{
	u64 turns;

	start(2);
	run_vcpu();
	turns = thread_group_turns();
	run_until(now + 1000 * MS);
	assert_false(thread_groups_rest(turns));
	/* It ran since, and does not now. */
	block_vcpu();
	assert_false(thread_groups_rest(turns));
	turns = thread_group_turns();
	assert_true(thread_groups_rest(turns));
	/* For no time at all. */
	wake_from(1, &threads[0]);
	hosted_cpu_set(1);
	schedule_here(SCHEDULE_PREEMPT);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	block_vcpu();
	assert_int_equal(ends, 1);
	assert_false(thread_groups_rest(turns));
	teardown();
}

/* Whichever CPU it runs on. */
static void one_that_runs_anywhere(void **state)
{
	for (u32 cpu = 0; cpu < 3; cpu++) {
		start_at(3, cpu);
		run_vcpu();
		assert_int_equal(threads[0].cpu->id, cpu);
		assert_false(thread_groups_rest(thread_group_turns()));
		block_vcpu();
		assert_true(thread_groups_rest(thread_group_turns()));
		teardown();
	}
}

/*
 * Who was told no sleeps not; another may sleep who was told yes, and is told. Each is told once, however
 * many asked.
 */
static void one_is_told_though_another_was_told_no(void **state)
{
	u64 turns, before;

	start(1);
	before = thread_group_turns();
	run_vcpu();
	block_vcpu();
	turns = thread_group_turns();
	assert_true(thread_groups_rest(turns));
	assert_false(thread_groups_rest(before));
	run_vcpu();
	assert_int_equal(ends, 1);
	block_vcpu();
	run_vcpu();
	assert_int_equal(ends, 1);
	teardown();
}

/* Who waits for a CPU, or for the next period, runs nowhere; it is told of as it comes to run. */
static void one_that_waits_rests(void **state)
{
	u64 turns;

	start(1);
	run_vcpu();
	wake_from(0, &threads[1]);
	hosted_cpu_set(0);
	schedule_here(SCHEDULE_YIELD);
	assert_ptr_equal(me->current, &threads[1]);
	assert_int_equal(threads[0].state, THREAD_RUNNABLE);
	turns = thread_group_turns();
	assert_true(thread_groups_rest(turns));
	schedule_here(SCHEDULE_BLOCK);
	assert_ptr_equal(me->current, &threads[0]);
	assert_int_equal(ends, 1);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_rest_until_one_runs),
		cmocka_unit_test(one_that_runs_does_not_rest),
		cmocka_unit_test(one_that_runs_anywhere),
		cmocka_unit_test(one_is_told_though_another_was_told_no),
		cmocka_unit_test(one_that_waits_rests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
