/* SPDX-License-Identifier: MIT */
/* Weir's own threads of a small weight beside busy vCPUs, and lifted while somebody waits; in simulated time. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c
 */
#include "tests/hosted/random.h"
#include "tests/unit/smp/sched_time.h"

#define BUSY   16u
#define DAEMON BUSY /* the thread after them */

static struct thread *const the_daemon = &threads[DAEMON];

static u32 units(const struct thread *t)
{
	return t->queued_weight / WEIGHT_UNIT;
}

/* All on one CPU: the daemon has slept. */
static void start_all(void)
{
	setup(1);
	for (u32 i = 0; i < BUSY; i++)
		sched_wake(make(i, WEIGHT_DEFAULT, 0));
	make(DAEMON, WEIGHT_DAEMON, 0);
	run_until(now + 1000 * MS);
}

/* How long it takes until the daemon has had so much time. */
static u64 time_for(u64 ns)
{
	u64 begin = now, before = the_daemon->run_ns;

	if (the_daemon->state != THREAD_RUNNABLE && the_daemon->state != THREAD_RUNNING)
		sched_wake(the_daemon);
	do {
		run_until(now + MS);
		charge_all();
	} while (the_daemon->run_ns - before < ns && now - begin < 100000 * MS);
	return now - begin;
}

/* Whoever waits, the others go on: each in its turn. */
static void nobody_starves(u64 since, u64 before[BUSY], u64 percent)
{
	charge_all();
	for (u32 i = 0; i < BUSY; i++)
		expect_percent(threads[i].run_ns - before[i], now - since, percent / 100.0, 1.0);
}

static void alone_it_has_its_small_part(void **state)
{
	u64 took;

	start_all();
	took = time_for(100 * MS);
	/* 20 of 1620, but for what a sleep earns. */
	assert_in_range(took, 6000 * MS, 9000 * MS);
	teardown();
}

static void lifted_it_has_a_usual_one(void **state)
{
	u64 before[BUSY], since, took;

	start_all();
	time_for(30 * MS);
	since = now;
	for (u32 i = 0; i < BUSY; i++)
		before[i] = threads[i].run_ns;
	sched_lift(the_daemon, WEIGHT_LIFT);
	took = time_for(100 * MS);
	/* 100 of 1700. */
	assert_in_range(took, 1400 * MS, 1950 * MS);
	nobody_starves(since, before, 588);
	sched_lift(the_daemon, -(s32)WEIGHT_LIFT);
	since = now;
	for (u32 i = 0; i < BUSY; i++)
		before[i] = threads[i].run_ns;
	took = time_for(60 * MS);
	assert_in_range(took, 4000 * MS, 6000 * MS);
	nobody_starves(since, before, 617);
	assert_int_equal(the_daemon->lifted, 0);
	teardown();
}

/* Those that wait lend theirs: it has the time that they would have. */
static void it_has_what_those_lend_that_wait(void **state)
{
	u64 before[BUSY], since, took;
	u32 waiting = 8;

	start_all();
	time_for(30 * MS);
	for (u32 n = 0; n < waiting; n++) {
		while (me->current == the_daemon || me->current == &idles[0])
			run_until(now + STEP);
		sched_lift(the_daemon, WEIGHT_DEFAULT);
		schedule_here(SCHEDULE_BLOCK);
	}
	since = now;
	for (u32 i = 0; i < BUSY; i++)
		before[i] = threads[i].run_ns;
	took = time_for(400 * MS);
	/* 820 of 1620. */
	assert_in_range(took, 700 * MS, 880 * MS);
	charge_all();
	for (u32 i = 0; i < BUSY; i++) {
		if (threads[i].state != THREAD_BLOCKED)
			expect_percent(threads[i].run_ns - before[i], now - since, 6.17, 1.2);
	}
	teardown();
}

/* It has used up what it had, and waits for its turn: lifted it does not wait for all the rest. */
static void it_comes_forward_in_its_queue(void **state)
{
	s64 after;
	u64 lifted_at;

	start_all();
	time_for(30 * MS);
	while (the_daemon->state != THREAD_RUNNABLE)
		run_until(now + STEP);
	after = (s64)(the_daemon->vruntime - schedulers[0].rq.clock);
	assert_true(after > 8 * (s64)MS);
	assert_int_equal(units(the_daemon), WEIGHT_DAEMON);
	sched_lift(the_daemon, 20 * WEIGHT_DEFAULT);
	assert_int_equal(units(the_daemon), 20 * WEIGHT_DEFAULT + WEIGHT_DAEMON);
	assert_in_range((u64)(s64)(the_daemon->vruntime - schedulers[0].rq.clock), 0,
			(u64)after / 50);
	lifted_at = now;
	while (the_daemon->state != THREAD_RUNNING)
		run_until(now + STEP);
	/* A slice of each, and not the eight milliseconds of each that it was behind. */
	assert_in_range(now - lifted_at, 0, (BUSY + 1) * SCHED_SLICE_MIN_NS);
	teardown();
}

/* Neither lifting nor lowering, nor both again and again, gives or takes anything. */
static void lifting_by_itself_earns_nothing(void **state)
{
	u64 seed = 3, ideal = 0, begin;

	start_all();
	time_for(30 * MS);
	begin = the_daemon->run_ns;
	for (u32 n = 0; n < 20000; n++) {
		u32 by = random_below(&seed, 300), weight;
		u64 step = (1 + random_below(&seed, 12)) * STEP;

		sched_lift(the_daemon, (s32)by);
		for (u32 i = 0; i < random_below(&seed, 4); i++) {
			sched_lift(the_daemon, 1000);
			sched_lift(the_daemon, -1000);
		}
		run_until(now + step);
		weight = WEIGHT_DAEMON + by;
		ideal += step * weight / (BUSY * WEIGHT_DEFAULT + weight);
		sched_lift(the_daemon, -(s32)by);
	}
	charge_all();
	expect_percent(the_daemon->run_ns - begin, ideal, 100, 3);
	assert_int_equal(schedulers[0].rq.load +
				 (me->current == the_daemon ? WEIGHT_DAEMON : WEIGHT_DEFAULT) *
					 WEIGHT_UNIT,
			 (BUSY * WEIGHT_DEFAULT + WEIGHT_DAEMON) * WEIGHT_UNIT);
	teardown();
}

/* Asleep, for however long; and lowered before it was lifted, as may be seen for a moment. */
static void in_any_state(void **state)
{
	start_all();
	sched_lift(the_daemon, WEIGHT_LIFT);
	time_for(20 * MS);
	while (me->current != the_daemon)
		run_until(now + STEP);
	schedule_here(SCHEDULE_BLOCK);
	run_until(now + 10000 * MS);
	/* As if it had been for years. */
	the_daemon->vruntime -= BIT(60);
	sched_lift(the_daemon, -(s32)WEIGHT_LIFT);
	assert_int_equal(schedulers[0].rq.clock - the_daemon->vruntime,
			 runqueue_virtual(SCHED_CREDIT_NS, WEIGHT_DAEMON * WEIGHT_UNIT));
	sched_lift(the_daemon, -(s32)WEIGHT_LIFT);
	assert_int_equal(thread_weight(the_daemon), WEIGHT_DAEMON * WEIGHT_UNIT);
	sched_lift(the_daemon, WEIGHT_LIFT);
	sched_wake(the_daemon);
	assert_int_equal(units(the_daemon), WEIGHT_DAEMON);
	assert_true((s64)(the_daemon->vruntime - schedulers[0].rq.clock) >=
		    -(s64)runqueue_virtual(SCHED_CREDIT_NS, WEIGHT_DAEMON * WEIGHT_UNIT));
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alone_it_has_its_small_part),
		cmocka_unit_test(lifted_it_has_a_usual_one),
		cmocka_unit_test(it_has_what_those_lend_that_wait),
		cmocka_unit_test(it_comes_forward_in_its_queue),
		cmocka_unit_test(lifting_by_itself_earns_nothing),
		cmocka_unit_test(in_any_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
