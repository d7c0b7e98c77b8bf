/* SPDX-License-Identifier: MIT */
/* How long a thread waits between a wake-up and the CPU: the bound of smp/runqueue.h, and the maximum kept. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c
 */
#include "tests/hosted/random.h"
#include "tests/unit/smp/sched_time.h"

#define SLEEPERS 12u
#define EVENTS	 300000u

/* One wake-up of each thread, until it has the CPU. */
static struct {
	u64 since; /* 0: it does not wait */
	u64 owed;  /* in time of its own */
	u32 others;
} waits[SLEEPERS];
static u64 longest, longest_part; /* of waits; of waits as parts of their bounds, in percent */
/* Each is a VM with one vCPU, which others wait for now and then. */
static bool hurries;
static struct sched_group vms[SLEEPERS];

static u64 counter(u32 i)
{
	return sched_stat_group.read(sched_stat_group.owner, i);
}

static u64 longest_counted(void)
{
	return counter(offsetof(struct sched_stats, wait_max) / sizeof(u64));
}

static bool wants(u32 i)
{
	return threads[i].state == THREAD_RUNNABLE || threads[i].state == THREAD_RUNNING;
}

static u64 bound_of(u32 i)
{
	u64 bound = 0;

	for (u32 k = 0; k < SLEEPERS; k++) {
		if (waits[i].others & BIT(k))
			bound += SCHED_CREDIT_NS + SCHED_SLICE_MAX_NS +
				 max(SCHED_SLICE_MAX_NS,
				     waits[i].owed * threads[k].weight / threads[i].weight) +
				 (hurries ? SCHED_HURRY_NS : 0);
	}
	return bound;
}

/* After each moment in which threads may have come to run. The clock's grain is a part of a rate. */
static void look_who_runs(void)
{
	u32 i = (u32)(me->current - threads);

	if (me->current == &idles[0] || !waits[i].since)
		return;
	if (waits[i].others) {
		u64 waited = now - waits[i].since, bound = bound_of(i);

		if (waited > bound + 1000)
			fail_msg("thread %u waited %llu us and not %llu", i,
				 (unsigned long long)waited / 1000,
				 (unsigned long long)bound / 1000);
		longest = max(longest, waited);
		longest_part = max(longest_part, 100 * waited / bound);
		assert_true(threads[i].wait_max_ns >= waited);
	}
	waits[i].since = 0;
}

/* To the end of a slice or a time, whichever comes first: nothing is noticed late. */
static void run_exactly_until(u64 end)
{
	do {
		now = max(now, min(end, hosted_timers_next()));
		hosted_timers_run(now);
		step_cpu(0);
		look_who_runs();
	} while (now < end);
}

static void wake(u32 i)
{
	struct thread *t = &threads[i];
	s64 after;

	sched_wake(t);
	after = (s64)(t->vruntime - schedulers[0].rq.clock) + t->put_off;
	waits[i].since = now;
	waits[i].owed = (u64)max(after, (s64)0) * t->weight / WEIGHT_DEFAULT;
	/* In one queue and at one weight. */
	assert_true(waits[i].owed <=
		    (hurries ? SCHED_DEBT_NS : SCHED_SLICE_MAX_NS) + SCHED_SLICE_MAX_NS + 1000);
	waits[i].others = 0;
	for (u32 k = 0; k < SLEEPERS; k++) {
		if (k == i)
			continue;
		if (wants(k))
			waits[i].others |= (u32)BIT(k);
		waits[k].others |= (u32)BIT(i);
	}
	step_cpu(0);
	look_who_runs();
}

static void yield(u32 to)
{
	sched_want(&threads[to]);
	schedule_here(SCHEDULE_YIELD);
	look_who_runs();
}

static void start(void)
{
	setup(1);
	memset(waits, 0, sizeof(waits));
	longest = longest_part = 0;
}

static void make_vm(u32 i)
{
	sched_group_init(&vms[i], threads[i].weight, 0);
	threads[i].group = &vms[i];
}

/* One more, or one less. */
static void hurry(u32 i)
{
	s32 by = threads[i].hurried ? -1 : 1;

	sched_hurry(&threads[i], by, SCHED_HURRY_NS);
	step_cpu(0);
	look_who_runs();
}

/* Anything that threads of any weights may do on a CPU, for a long time. */
static void wait_at_random(void)
{
	for (u64 seed = 1; seed <= 4; seed++) {
		u64 r = seed;

		start();
		for (u32 i = 0; i < SLEEPERS; i++) {
			make(i, 10 + random_below(&r, seed * 100), 0);
			if (hurries)
				make_vm(i);
			wake(i);
		}
		for (u32 n = 0; n < EVENTS; n++) {
			u32 i = random_below(&r, SLEEPERS), what = random_below(&r, 8);

			/* Some phases are crowded; in some two play into each other's hands. */
			if (threads[i].state == THREAD_BLOCKED && what < (n / 1000 % 2 ? 1u : 5u))
				wake(i);
			else if (me->current != &idles[0] && n / 1000 % 4 == 3)
				yield(n % 2);
			else if (me->current != &idles[0] && what == 5)
				yield(i);
			else if (me->current != &idles[0] && what >= 6) {
				schedule_here(SCHEDULE_BLOCK);
				look_who_runs();
			}
			if (hurries && random_one_in(&r, 2))
				hurry(random_below(&r, SLEEPERS));
			run_exactly_until(now +
					  random_below(&r, random_one_in(&r, 20) ? 30 * MS : MS));
		}
		assert_true(longest > 20 * MS);
		assert_true(longest_counted() >= longest);
		teardown();
	}
}

static void nobody_waits_longer_than_the_bound(void **state)
{
	wait_at_random();
}

static void nor_beside_those_that_are_hurried(void **state)
{
	hurries = true;
	wait_at_random();
	hurries = false;
}

/* It slept for a moment, at the end of its slice, in which all others came back from a long sleep. */
static void the_bound_is_not_far_off(void **state)
{
	start();
	for (u32 i = 0; i < 5; i++)
		wake((make(i, 100, 0), i));
	run_exactly_until(now + 100 * MS);
	while (me->current != &idles[0]) {
		schedule_here(SCHEDULE_BLOCK);
		look_who_runs();
	}
	wake(0);
	run_exactly_until(now + 1000 * MS);
	wake(4);
	while (me->current != &threads[0])
		run_exactly_until(now + MS);
	while (threads[0].vruntime - threads[4].vruntime > MS)
		run_exactly_until(now + MS / 10);
	while (me->current != &threads[0])
		run_exactly_until(now + MS / 10);
	run_exactly_until(schedulers[0].slice.deadline_ns - MS / 10);
	assert_ptr_equal(me->current, &threads[0]);
	schedule_here(SCHEDULE_BLOCK);
	look_who_runs();
	for (u32 i = 1; i < 4; i++)
		wake(i);
	longest = longest_part = 0;
	wake(0);
	run_exactly_until(now + 200 * MS);
	print_message("%llu us\n", (unsigned long long)longest / 1000);
	assert_in_range(longest, 70 * MS, 4 * SCHED_WAIT_BOUND_NS);
	assert_true(longest_part > 60);
	assert_int_equal(longest_counted(), longest);
	assert_int_equal(threads[0].wait_max_ns, longest);
	teardown();
}

/* Who slept through the time of one that is busy has the CPU at once. */
static void who_is_owed_time_waits_for_nobody(void **state)
{
	start();
	wake((make(0, 100, 0), 0));
	wake((make(1, 100, 0), 1));
	run_exactly_until(now + 20 * MS);
	while (me->current != &threads[1])
		run_exactly_until(now + MS);
	schedule_here(SCHEDULE_BLOCK);
	for (u32 n = 0; n < 50; n++) {
		run_exactly_until(now + 15 * MS);
		threads[1].wait_max_ns = 0;
		wake(1);
		assert_ptr_equal(me->current, &threads[1]);
		assert_int_equal(threads[1].wait_max_ns, 0);
		run_exactly_until(now + MS);
		schedule_here(SCHEDULE_BLOCK);
	}
	teardown();
}

/* Each CPU keeps the longest of those that came to run on it; of all, the longest counts. */
static void the_longest_of_all_cpus(void **state)
{
	setup(3);
	schedulers[0].stats.wait_max = 5;
	schedulers[2].stats.wait_max = 7;
	assert_int_equal(longest_counted(), 7);
	/* As other counters are added up. */
	schedulers[0].stats.switches = 2;
	schedulers[2].stats.switches = 3;
	assert_int_equal(counter(0), 5);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_waits_longer_than_the_bound),
		cmocka_unit_test(nor_beside_those_that_are_hurried),
		cmocka_unit_test(the_bound_is_not_far_off),
		cmocka_unit_test(who_is_owed_time_waits_for_nobody),
		cmocka_unit_test(the_longest_of_all_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
