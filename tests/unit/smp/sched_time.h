/* SPDX-License-Identifier: MIT */
/*
 * Threads on several CPUs in simulated time: the CPUs of one test run one after the other, from event
 * to event, by the real run queues, placement and balancing. The file that includes it is the test's
 * only one, as with sched_cpus.h.
 */
#ifndef TESTS_UNIT_SMP_SCHED_TIME_H
#define TESTS_UNIT_SMP_SCHED_TIME_H

#include <cmocka.h>
#include <string.h>
#include "tests/hosted/fake_timer.h"
#include "tests/unit/smp/sched_cpus.h"

#define THREADS 24
#define MS	1000000ull
#define STEP	(MS / 4) /* how late a CPU notices what others did */

static struct thread threads[THREADS];
static bool parks; /* who is throttled may be parked */
static u64 now, last_ran[THREADS];

static inline void setup(u32 cpu_number)
{
	memset(threads, 0, sizeof(threads));
	hosted_timers_forget();
	now = 5000 * MS;
	hosted_clock_set(now);
	start_cpus(cpu_number);
	parks = true;
}

static inline void teardown(void)
{
	hosted_timers_forget();
	irq_enable();
}

static inline struct thread *make(u32 i, u32 weight, u32 cpu)
{
	struct thread *t = &threads[i];

	*t = (struct thread){.weight = weight, .state = THREAD_NEW, .cpu = &cpus[0]};
	if (cpu == THREAD_ANY_CPU)
		cpu_set_fill(&t->allowed);
	else
		cpu_set_add(&t->allowed, cpu);
	if (cpu != THREAD_ANY_CPU)
		t->cpu = &cpus[cpu];
	list_init(&t->move_link);
	return t;
}

static inline void schedule_here(enum schedule_why why)
{
	struct thread *next = sched_next(me->current, why);

	if (next != me->current) {
		me->current = next;
		sched_switched();
	}
	sched_start_slice();
}

static inline void step_cpu(u32 id)
{
	hosted_cpu_set(id);
	if (take_kick(id))
		sched_kicked();
	if (me->current == &idles[id] ? sched_has_work() : me->need_resched)
		schedule_here(SCHEDULE_PREEMPT);
}

static inline void wake_from(u32 cpu, struct thread *t)
{
	hosted_cpu_set(cpu);
	sched_wake(t);
}

/* Between two instructions of a guest's. */
static inline void may_park(u32 id)
{
	struct thread *t = cpus[id].current;

	hosted_cpu_set(id);
	if (t->group && sched_group_throttled(t->group) && parks)
		schedule_here(SCHEDULE_PARK);
}

static inline void run_until(u64 end)
{
	while (now < end) {
		now = min(end, now + STEP);
		hosted_timers_run(now);
		for (u32 id = 0; id < cpus_used; id++)
			step_cpu(id);
		for (u32 id = 0; id < cpus_used; id++)
			may_park(id);
		for (u32 i = 0; i < THREADS; i++) {
			if (threads[i].state == THREAD_RUNNING)
				last_ran[i] = now;
		}
	}
}

static inline void charge_all(void)
{
	for (u32 id = 0; id < cpus_used; id++)
		runqueue_charge(&schedulers[id].rq, now);
}

/* Of the time of all CPUs that those threads share. */
static inline double percent_of(u64 ns, u64 whole)
{
	return 100.0 * (double)ns / (double)whole;
}

#define expect_percent(ns, whole, want, by)                                              \
	do {                                                                             \
		double got_ = percent_of(ns, whole);                                     \
		if (got_ < (want) - (by) || got_ > (want) + (by))                        \
			fail_msg("%s: %.2f %% and not %.2f", #ns, got_, (double)(want)); \
	} while (0)

#endif
