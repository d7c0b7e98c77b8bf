/* SPDX-License-Identifier: MIT */
/* A capped vCPU that runs is looked at again: it has a slice, or is to be parked. In simulated time. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c smp/thread_lift.c
 */
/* unit-cflags: -include tests/hosted/points.h */
#include "tests/hosted/points_off.h" /* here: points are those of smp/ */

#include "tests/hosted/schedule.h"
#include "tests/unit/smp/sched_time.h"

static struct sched_group vm;

/* As on the target, where interrupts are on. */
void thread_preempt(void)
{
	bool on = irq_save();

	schedule_here(SCHEDULE_PREEMPT);
	irq_restore(on);
}

static void start(u32 cap)
{
	setup(1);
	sched_group_init(&vm, 100, cap);
	make(0, 0, 0)->group = &vm;
	sched_wake(&threads[0]);
	run_until(now + 1000 * MS);
	while (threads[0].state != THREAD_RUNNING)
		run_until(now + STEP);
}

static u64 vm_ran(void)
{
	charge_all();
	return threads[0].run_ns;
}

#define LEFT (10 * MS)

static u32 points, charged_at;

/* Another CPU charges another vCPU of the VM for what is left of the cap. */
static void charge_elsewhere(void)
{
	if (++points < charged_at || !spin_is_free(&vm.lock))
		return;
	hosted_on_point = NULL;
	hosted_cpu_set(1);
	sched_group_charge(&vm, LEFT, now);
	hosted_cpu_set(0);
}

/*
 * Wherever that is while a slice begins here. Before, this one could run on as if it had no cap, until
 * something else happened on its CPU.
 */
static void used_up_elsewhere_meanwhile(void **state)
{
	bool charged = true;
	u32 n;

	for (n = 1; charged; n++) {
		start(50);
		vm.used_ns = vm.quota_ns - LEFT;
		vm.throttled = false;
		vm.period_end_ns = now + 90 * MS;
		schedulers[0].slice_runs = schedulers[0].cap_runs = false;
		cpus[0].need_resched = false;
		hosted_timers_forget();
		points = 0;
		charged_at = n;
		hosted_on_point = charge_elsewhere;
		sched_start_slice();
		charged = !hosted_on_point;
		hosted_on_point = NULL;
		assert_true(sched_group_throttled(&vm) == charged);
		if (!cpus[0].need_resched)
			assert_in_range(hosted_timers_next(), now, now + LEFT);
		teardown();
	}
	print_message("%u points\n", n - 2);
	assert_in_range(n, 5, 50);
}

/* Hurried as a period ends in which it has no time left: in the next it has no more than any other. */
static void hurried_over_the_end_of_a_period(void **state)
{
	u64 ran, begin;

	start(50);
	while (threads[0].state != THREAD_PARKED)
		run_until(now + STEP);
	run_until(vm.period_end_ns - 5 * MS);
	assert_int_equal(threads[0].state, THREAD_PARKED);
	thread_hurry(&threads[0], HURRY_UNTIL_DONE);
	run_until(now + 12 * MS);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	assert_false(sched_group_throttled(&vm));
	thread_hurry_no_more(&threads[0]);
	ran = vm_ran();
	begin = now;
	run_until(now + 1000 * MS);
	expect_percent(vm_ran() - ran, now - begin, 48, 8);
	teardown();
}

/* What a hypervisor has not run of it it owes to no period. */
static void while_the_machine_stood_still(void **state)
{
	u64 ran, begin;

	start(50);
	now += 3600 * 1000 * MS;
	run_until(now + 200 * MS);
	ran = vm_ran();
	begin = now;
	run_until(now + 1000 * MS);
	expect_percent(vm_ran() - ran, now - begin, 50, 8);
	teardown();
}

/* Until then it looks once a period, and not more often. */
static void who_is_hurried_seldom_looks(void **state)
{
	const struct timer *slice = &schedulers[0].slice;
	u64 begin, last;
	u32 looks = 0;

	start(50);
	thread_hurry(&threads[0], HURRY_UNTIL_DONE);
	last = slice->deadline_ns;
	for (begin = now; now - begin < 1000 * MS; last = slice->deadline_ns) {
		run_until(now + STEP);
		looks += slice->deadline_ns != last;
	}
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	assert_in_range(looks, 9, 12);
	thread_hurry_no_more(&threads[0]);
	run_until(now + STEP);
	assert_int_equal(threads[0].state, THREAD_PARKED);
	teardown();
}

/* Who comes beside a capped one has its turn after a slice, however much of the cap is left, or is not. */
static void who_comes_does_not_wait_for_the_cap(void **state)
{
	u64 begin;

	for (u32 i = 0; i < 3; i++) {
		start(i ? 50 : 400);
		if (i == 2)
			thread_hurry(&threads[0], HURRY_UNTIL_DONE);
		run_until(vm.period_end_ns + 2 * STEP);
		assert_int_equal(threads[0].state, THREAD_RUNNING);
		make(1, 100, 0);
		sched_wake(&threads[1]);
		for (begin = now; threads[1].state != THREAD_RUNNING && now - begin < 1000 * MS;)
			run_until(now + STEP);
		assert_in_range(now - begin, 0, SCHED_SLICE_MAX_NS + STEP);
		if (i == 2)
			thread_hurry_no_more(&threads[0]);
		teardown();
	}
}

/* What is left is looked at when it was to be, however often the CPU is kicked, and whoever comes before. */
static void the_look_is_not_put_off(void **state)
{
	u64 look;

	for (u32 i = 0; i < 2; i++) {
		start(50);
		run_until(vm.period_end_ns + 2 * STEP);
		assert_int_equal(threads[0].state, THREAD_RUNNING);
		look = schedulers[0].slice.deadline_ns;
		assert_in_range(look, now + 45 * MS, now + 51 * MS);
		while (now < look - 4 * MS) {
			ipi_kick(0);
			run_until(now + STEP);
		}
		make(1, 100, 0);
		if (i)
			sched_wake(&threads[1]);
		assert_int_equal(schedulers[0].slice.deadline_ns, look);
		assert_true(schedulers[0].slice_runs == i);
		run_until(look + STEP);
		assert_true(threads[0].state != THREAD_RUNNING);
		teardown();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(used_up_elsewhere_meanwhile),
		cmocka_unit_test(hurried_over_the_end_of_a_period),
		cmocka_unit_test(while_the_machine_stood_still),
		cmocka_unit_test(who_is_hurried_seldom_looks),
		cmocka_unit_test(who_comes_does_not_wait_for_the_cap),
		cmocka_unit_test(the_look_is_not_put_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
