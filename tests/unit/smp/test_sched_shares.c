/* SPDX-License-Identifier: MIT */
/* What each thread and each VM has of the CPUs, by weight and up to its cap, in simulated time. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c
 */
#include "tests/unit/smp/sched_time.h"

static struct sched_group groups[2];

static void one_to_three_on_one_cpu(void **state)
{
	setup(1);
	for (u32 i = 0; i < 2; i++)
		sched_wake(make(i, i ? 300 : 100, THREAD_ANY_CPU));
	run_until(now + 10000 * MS);
	charge_all();
	expect_percent(threads[0].run_ns, 10000 * MS, 25, 1);
	expect_percent(threads[1].run_ns, 10000 * MS, 75, 1);
	teardown();
}

/* No CPU has more than one thread to spare, and still each gets two thirds. */
static void three_on_two_cpus(void **state)
{
	u64 start;

	setup(2);
	for (u32 i = 0; i < 3; i++)
		sched_wake(make(i, 100, THREAD_ANY_CPU));
	start = now;
	run_until(start + 10000 * MS);
	charge_all();
	for (u32 i = 0; i < 3; i++)
		expect_percent(threads[i].run_ns, 20000 * MS, 100.0 / 3, 1);
	/* By going from one to the other, and that not all the time. */
	assert_in_range(schedulers[0].stats.stolen + schedulers[1].stats.stolen, 100, 2500);
	teardown();
}

/* A CPU that runs one thread without a slice does not look by itself: it is called. */
static void the_third_comes_later(void **state)
{
	u64 before[3];

	setup(2);
	for (u32 i = 0; i < 2; i++)
		sched_wake(make(i, 100, THREAD_ANY_CPU));
	run_until(now + 100 * MS);
	assert_int_equal(hosted_timers_next(), ~0ull);
	sched_wake(make(2, 100, THREAD_ANY_CPU));
	run_until(now + 50 * MS);
	charge_all();
	for (u32 i = 0; i < 3; i++)
		before[i] = threads[i].run_ns;
	run_until(now + 5000 * MS);
	charge_all();
	for (u32 i = 0; i < 3; i++)
		expect_percent(threads[i].run_ns - before[i], 10000 * MS, 100.0 / 3, 1);
	teardown();
}

/* The one that is owed time happens to run when a CPU looks for it: it looks again soon. */
static void a_miss_is_made_good(void **state)
{
	struct scheduler *s = &schedulers[1];

	setup(2);
	sched_wake(make(0, 100, 1));
	sched_wake(make(1, 100, 0));
	run_until(now + 20 * MS);
	make(2, 100, THREAD_ANY_CPU);
	threads[2].allowed = (struct cpu_set){{3}};
	wake_from(0, &threads[2]);
	run_until(now + 100 * MS);
	/* As if it had waited long, and came to run just now. */
	while (threads[2].state != THREAD_RUNNING || threads[2].cpu != &cpus[0])
		run_until(now + STEP);
	threads[2].vruntime = s->rq.clock - 100 * MS;
	hosted_cpu_set(1);
	s->slice_over = true;
	schedule_here(SCHEDULE_PREEMPT);
	assert_ptr_equal(me->current, &threads[0]);
	assert_true(s->slice_runs);
	assert_true(s->slice.deadline_ns <= now + SCHED_SLICE_MIN_NS);
	teardown();
}

/* The second VM has two vCPUs and three times the weight. */
static void one_to_three_with_three_vcpus_on_two_cpus(void **state)
{
	setup(2);
	sched_group_init(&groups[0], 100, 0);
	sched_group_init(&groups[1], 300, 0);
	for (u32 i = 0; i < 3; i++) {
		make(i, 0, THREAD_ANY_CPU)->group = &groups[i ? 1 : 0];
		sched_wake(&threads[i]);
	}
	run_until(now + 10000 * MS);
	charge_all();
	expect_percent(threads[0].run_ns, 20000 * MS, 25, 2);
	expect_percent(threads[1].run_ns + threads[2].run_ns, 20000 * MS, 75, 2);
	teardown();
}

#define STOPPED (3600 * 1000 * MS)

/* The hypervisor that runs it was stopped: who had the CPU then owes nothing for that. */
static void the_machine_stands_still(void **state)
{
	u64 before[4];

	for (u32 i = 0; i < 4; i++) {
		setup(1);
		sched_group_init(&groups[0], 200, 0);
		for (u32 k = 0; k < 4; k++) {
			make(k, 100, 0)->group = k < 2 ? &groups[0] : NULL;
			sched_wake(&threads[k]);
		}
		run_until(now + 1000 * MS);
		while (threads[i].state != THREAD_RUNNING)
			run_until(now + STEP);
		now += STOPPED;
		run_until(now + 100 * MS);
		charge_all();
		for (u32 k = 0; k < 4; k++)
			before[k] = threads[k].run_ns;
		run_until(now + 4000 * MS);
		charge_all();
		for (u32 k = 0; k < 4; k++)
			expect_percent(threads[k].run_ns - before[k], 4000 * MS, 25, 1);
		teardown();
	}
}

/* Of its vCPUs each lends and sleeps in turn: the part of the next that runs is greater. */
static void all_lend_no_more_than_the_weight(void **state)
{
	u32 lent = 0;

	setup(2);
	sched_group_init(&groups[0], 90, 0);
	for (u32 i = 0; i < 8; i++) {
		sched_group_add(&groups[0]);
		sched_group_enter(&groups[0], now);
	}
	for (u32 i = 0; i < 8; i++) {
		lent += sched_group_loan(&groups[0]);
		sched_group_leave(&groups[0], now);
	}
	assert_in_range(lent, 80, 90);
	sched_group_remove(&groups[0]);
	assert_int_equal(sched_group_loan(&groups[0]), 12);
	sched_group_destroy(&groups[0]);
	teardown();
}

/* Two VMs of one weight, with a vCPU for each CPU. Those of the first nap for a moment, often. */
static void naps(u32 cpu_number, u64 every_ns)
{
	u64 since[CPUS_MAX] = {0}, napped = 0, end;

	setup(cpu_number);
	for (u32 i = 0; i < 2; i++)
		sched_group_init(&groups[i], 100, 0);
	for (u32 i = 0; i < 2 * cpu_number; i++) {
		make(i, 0, THREAD_ANY_CPU)->group = &groups[i / cpu_number];
		sched_wake(&threads[i]);
	}
	for (end = now + 10000 * MS; now < end; run_until(now + STEP)) {
		for (u32 i = 0; i < cpu_number; i++) {
			struct thread *t = &threads[i];

			if (t->state != THREAD_RUNNING)
				since[i] = now;
			if (now - since[i] < every_ns || t->cpu->current != t)
				continue;
			hosted_cpu_set(t->cpu->id);
			schedule_here(SCHEDULE_BLOCK);
			wake_from(t->cpu->id, t);
			since[i] = now;
		}
	}
	charge_all();
	for (u32 i = 0; i < cpu_number; i++)
		napped += threads[i].run_ns;
	expect_percent(napped, cpu_number * 10000 * MS, 50, 1);
	teardown();
}

static void naps_gain_nothing(void **state)
{
	for (u32 n = 1; n <= 4; n *= 2) {
		naps(n, MS);
		naps(n, 3 * MS / 2);
		naps(n, 4 * MS);
		naps(n, 9 * MS);
	}
}

/* Nobody can use more than a CPU: what one cannot, the others share. */
static void more_weight_than_a_cpu(void **state)
{
	setup(2);
	sched_wake(make(0, 900, THREAD_ANY_CPU));
	sched_wake(make(1, 100, THREAD_ANY_CPU));
	sched_wake(make(2, 100, THREAD_ANY_CPU));
	run_until(now + 10000 * MS);
	charge_all();
	expect_percent(threads[0].run_ns, 10000 * MS, 100, 3);
	expect_percent(threads[1].run_ns, 10000 * MS, 50, 3);
	expect_percent(threads[2].run_ns, 10000 * MS, 50, 3);
	teardown();
}

static void many_weights_on_four_cpus(void **state)
{
	u64 weights = 0;

	setup(4);
	for (u32 i = 0; i < 16; i++) {
		sched_wake(make(i, 50 + 10 * i, THREAD_ANY_CPU));
		weights += 50 + 10 * i;
	}
	run_until(now + 20000 * MS);
	charge_all();
	for (u32 i = 0; i < 16; i++)
		expect_percent(threads[i].run_ns, 80000 * MS,
			       100.0 * (50 + 10 * i) / (double)weights, 1);
	teardown();
}

/*
 * Five threads of two CPUs have their parts of these, whatever runs on a third. others: how many
 * threads that one has, of 10 each; all pinned to it, or the last may go anywhere and has 100.
 */
static void five_on_two_cpus(u32 others, bool last_is_free)
{
	static const u32 weights[] = {100, 100, 100, 200, 200};
	u64 before[5];

	setup(3);
	for (u32 i = 0; i < 5; i++) {
		make(i, weights[i], 1)->allowed = (struct cpu_set){{6}};
		wake_from(1, &threads[i]);
	}
	for (u32 i = 0; i < others; i++) {
		make(5 + i, 10, 0);
		if (last_is_free && i == others - 1) {
			threads[5 + i].weight = 100;
			cpu_set_fill(&threads[5 + i].allowed);
		}
		wake_from(0, &threads[5 + i]);
	}
	run_until(now + 1000 * MS);
	charge_all();
	for (u32 i = 0; i < 5; i++)
		before[i] = threads[i].run_ns;
	run_until(now + 10000 * MS);
	charge_all();
	for (u32 i = 0; i < 5; i++)
		expect_percent(threads[i].run_ns - before[i], 20000 * MS, weights[i] / 7.0, 1);
	assert_in_range(schedulers[1].stats.stolen + schedulers[2].stats.stolen, 100, 500);
	teardown();
}

/* Of two pairs of CPUs each has threads of its own. In one of them virtual time is slow. */
static void two_pairs(u32 slow)
{
	u64 before[8];

	setup(4);
	for (u32 i = 0; i < 8; i++) {
		u32 pair = i < 3 ? 1 - slow : slow;

		make(i, 100, 2 * pair)->allowed = (struct cpu_set){{3ull << 2 * pair}};
		wake_from(2 * pair, &threads[i]);
	}
	run_until(now + 1000 * MS);
	charge_all();
	for (u32 i = 0; i < 8; i++)
		before[i] = threads[i].run_ns;
	run_until(now + 10000 * MS);
	charge_all();
	for (u32 i = 0; i < 8; i++)
		expect_percent(threads[i].run_ns - before[i], 20000 * MS, i < 3 ? 100.0 / 3 : 20,
			       1);
	teardown();
}

static void pairs_of_cpus_are_apart(void **state)
{
	two_pairs(0);
	two_pairs(1);
}

static void who_is_pinned_elsewhere_matters_to_none(void **state)
{
	five_on_two_cpus(0, false);
	five_on_two_cpus(2, false);
	five_on_two_cpus(2, true);
	five_on_two_cpus(3, true);
}

/* Two CPUs whose clocks are hours apart, for one was alone all the time. */
static void clocks_that_are_far_apart(void **state)
{
	u64 before[3];

	setup(2);
	sched_wake(make(0, 1, 0));
	run_until(now + 5000 * MS);
	threads[0].vruntime += 3600000 * MS;
	for (u32 i = 1; i < 3; i++)
		sched_wake(make(i, 1, i == 1 ? 1 : THREAD_ANY_CPU));
	run_until(now + 1000 * MS);
	charge_all();
	for (u32 i = 0; i < 3; i++)
		before[i] = threads[i].run_ns;
	run_until(now + 10000 * MS);
	charge_all();
	for (u32 i = 0; i < 3; i++)
		expect_percent(threads[i].run_ns - before[i], 20000 * MS, 100.0 / 3, 3);
	teardown();
}

/* Alone on its CPU, and no more than its cap; the rest of the time it is idle. */
static void a_cap_alone(void **state)
{
	setup(1);
	sched_group_init(&groups[0], 100, 30);
	make(0, 0, THREAD_ANY_CPU)->group = &groups[0];
	sched_wake(&threads[0]);
	run_until(now + 10000 * MS);
	charge_all();
	expect_percent(threads[0].run_ns, 10000 * MS, 30, 0.5);
	/* Once a period, and not more often. */
	assert_in_range(schedulers[0].stats.parked, 90, 110);
	teardown();
}

/* What it may not use, the other one has; and where it may use more than its share, it does not. */
static void a_cap_beside_others(void **state)
{
	setup(1);
	sched_group_init(&groups[0], 300, 30);
	sched_group_init(&groups[1], 100, 90);
	for (u32 i = 0; i < 2; i++) {
		make(i, 0, THREAD_ANY_CPU)->group = &groups[i];
		sched_wake(&threads[i]);
	}
	run_until(now + 10000 * MS);
	charge_all();
	expect_percent(threads[0].run_ns, 10000 * MS, 30, 1);
	expect_percent(threads[1].run_ns, 10000 * MS, 70, 1);
	teardown();
}

/* Three vCPUs on four CPUs, a CPU and a half for all of them; one sleeps now and then. */
static void a_cap_over_several_cpus(void **state)
{
	u64 sum = 0;

	setup(4);
	sched_group_init(&groups[0], 100, 150);
	for (u32 i = 0; i < 3; i++) {
		make(i, 0, THREAD_ANY_CPU)->group = &groups[0];
		sched_wake(&threads[i]);
	}
	run_until(now + 10000 * MS);
	charge_all();
	for (u32 i = 0; i < 3; i++) {
		sum += threads[i].run_ns;
		assert_true(threads[i].run_ns > 4000 * MS);
	}
	expect_percent(sum, 10000 * MS, 150, 2);
	teardown();
}

/* One that is long in coming to where it may be parked pays for it in the periods after. */
static void a_debt_is_paid(void **state)
{
	u64 before;

	setup(1);
	sched_group_init(&groups[0], 100, 20);
	make(0, 0, THREAD_ANY_CPU)->group = &groups[0];
	sched_wake(&threads[0]);
	parks = false;
	run_until(now + 300 * MS);
	assert_in_range(threads[0].run_ns, 295 * MS, 301 * MS);
	parks = true;
	before = threads[0].run_ns;
	run_until(now + 1000 * MS);
	charge_all();
	/* It had 60 ms in those three periods, so 240 are owed: twelve periods' worth. */
	assert_in_range(threads[0].run_ns - before, 0, MS);
	run_until(now + 1000 * MS);
	charge_all();
	assert_in_range(threads[0].run_ns - before, 140 * MS, 185 * MS);
	teardown();
}

/* Woken while it is parked it stays so, and remembers. */
static void parked_and_woken(void **state)
{
	setup(1);
	sched_group_init(&groups[0], 100, 10);
	make(0, 0, THREAD_ANY_CPU)->group = &groups[0];
	sched_wake(&threads[0]);
	run_until(now + 50 * MS);
	assert_int_equal(threads[0].state, THREAD_PARKED);
	sched_wake(&threads[0]);
	assert_int_equal(threads[0].state, THREAD_PARKED);
	assert_true(threads[0].wake_pending);
	run_until(now + 55 * MS);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	hosted_cpu_set(0);
	schedule_here(SCHEDULE_BLOCK);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	teardown();
}

/*
 * As it is parked another CPU begins the next period: it goes on at once, and nobody waits longer
 * for it.
 */
static void parked_as_a_period_begins(void **state)
{
	struct sched_group *g = &groups[0];
	u64 end;

	setup(1);
	sched_group_init(g, 100, 10);
	make(0, 0, THREAD_ANY_CPU)->group = g;
	sched_wake(&threads[0]);
	run_until(now + 50 * MS);
	assert_int_equal(threads[0].state, THREAD_PARKED);
	end = g->period_end_ns;
	assert_int_equal(hosted_timers_next(), end);
	/* Another one uses the next period up before the timer has been seen to. */
	now = end + MS;
	hosted_clock_set(now);
	sched_group_charge(g, 20 * MS, now);
	assert_true(sched_group_throttled(g));
	sched_group_arm(g);
	assert_int_equal(hosted_timers_next(), end);
	run_until(now + STEP);
	assert_int_equal(threads[0].state, THREAD_PARKED);
	assert_int_equal(hosted_timers_next(), end + CAP_PERIOD_NS);
	/* Or does not, and this one was looking for the end of the one before. */
	now = end + 4 * CAP_PERIOD_NS + MS;
	hosted_timers_forget();
	g->refill_ns = 0;
	hosted_clock_set(now);
	sched_group_charge(g, MS, now);
	assert_false(sched_group_throttled(g));
	sched_group_arm(g);
	assert_int_equal(hosted_timers_next(), now);
	run_until(now + 2 * STEP);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	teardown();
}

/* A group that slept for long has one period's worth, not that of all it slept. */
static void unused_time_is_not_saved(void **state)
{
	setup(1);
	sched_group_init(&groups[0], 100, 10);
	run_until(now + 5000 * MS);
	make(0, 0, THREAD_ANY_CPU)->group = &groups[0];
	sched_wake(&threads[0]);
	run_until(now + 1000 * MS);
	charge_all();
	assert_in_range(threads[0].run_ns, 95 * MS, 112 * MS);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_to_three_on_one_cpu),
		cmocka_unit_test(three_on_two_cpus),
		cmocka_unit_test(the_third_comes_later),
		cmocka_unit_test(a_miss_is_made_good),
		cmocka_unit_test(one_to_three_with_three_vcpus_on_two_cpus),
		cmocka_unit_test(the_machine_stands_still),
		cmocka_unit_test(all_lend_no_more_than_the_weight),
		cmocka_unit_test(naps_gain_nothing),
		cmocka_unit_test(more_weight_than_a_cpu),
		cmocka_unit_test(many_weights_on_four_cpus),
		cmocka_unit_test(pairs_of_cpus_are_apart),
		cmocka_unit_test(who_is_pinned_elsewhere_matters_to_none),
		cmocka_unit_test(clocks_that_are_far_apart),
		cmocka_unit_test(a_cap_alone),
		cmocka_unit_test(a_cap_beside_others),
		cmocka_unit_test(a_cap_over_several_cpus),
		cmocka_unit_test(a_debt_is_paid),
		cmocka_unit_test(parked_and_woken),
		cmocka_unit_test(parked_as_a_period_begins),
		cmocka_unit_test(unused_time_is_not_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
