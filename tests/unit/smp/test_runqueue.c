/* SPDX-License-Identifier: MIT */
/* Who runs next, for how long, what sleeping earns, and when a CPU has to be told. */
/* unit-sources: smp/runqueue.c smp/vtree.c smp/sched_group.c */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "smp/sched.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"

#define THREADS 12
#define MS	1000000ull

static struct runqueue rq;
static struct thread idle, threads[THREADS];
static struct sched_group group;
static u64 now;

/* Of groups with a cap: none here has one. */
void sched_unpark(struct sched_group *g)
{
}

static int setup(void **state)
{
	memset(threads, 0, sizeof(threads));
	memset(&idle, 0, sizeof(idle));
	idle.state = THREAD_RUNNING;
	idle.weight = WEIGHT_DEFAULT;
	for (u32 i = 0; i < THREADS; i++) {
		threads[i].weight = WEIGHT_DEFAULT;
		threads[i].state = THREAD_BLOCKED;
		cpu_set_fill(&threads[i].allowed);
	}
	now = 1000 * MS;
	runqueue_init(&rq, 0, &idle, now);
	/* Near the end of its range: virtual time wraps in every test. */
	rq.clock = ~0ull - 3 * MS;
	for (u32 i = 0; i < THREADS; i++)
		threads[i].vruntime = rq.clock;
	sched_group_init(&group, WEIGHT_DEFAULT, 0);
	return 0;
}

static enum runqueue_tell wake(u32 i)
{
	struct thread *t = &threads[i];

	assert_int_equal(t->state, THREAD_BLOCKED);
	if (t->group)
		sched_group_enter(t->group, now);
	return runqueue_add(&rq, t, (s64)(t->vruntime - rq.clock), now);
}

static struct thread *next(enum runqueue_why why)
{
	struct thread *prev = rq.current;

	if (why == WHY_GONE && prev != &idle) {
		prev->state = THREAD_BLOCKED;
		if (prev->group)
			sched_group_leave(prev->group, now);
	}
	return runqueue_next(&rq, prev, why, NULL, now);
}

static struct thread *yield_to(u32 i)
{
	return runqueue_next(&rq, rq.current, WHY_YIELD, &threads[i], now);
}

/* The CPU does as the target's does: slices, then whoever comes first. */
static void run(u64 ns)
{
	u64 end = now + ns;

	if (rq.current == &idle)
		next(WHY_PREEMPT);
	while (now < end && rq.current != &idle) {
		now = min(end, now + runqueue_slice(&rq));
		next(WHY_PREEMPT);
	}
	now = end;
	runqueue_charge(&rq, now);
}

static void expect_share(u32 i, u64 total, u32 percent)
{
	u64 least = total * percent / 100 - 12 * MS, most = total * percent / 100 + 12 * MS;

	assert_in_range(threads[i].run_ns, least, most);
}

static void equal_threads_share_equally(void **state)
{
	for (u32 i = 0; i < 4; i++)
		wake(i);
	run(4000 * MS);
	for (u32 i = 0; i < 4; i++)
		expect_share(i, 4000 * MS, 25);
	assert_int_equal(idle.state, THREAD_RUNNABLE);
}

static void expect_reach(u64 bits)
{
	assert_int_equal(rq.reach.bits[0], bits);
}

/*
 * Where those may run that the CPU can give away: of who has been there and is gone nothing stays.
 */
static void how_far_its_threads_reach(void **state)
{
	for (u32 i = 0; i < 3; i++)
		threads[i].allowed = (struct cpu_set){{i < 2 ? 6 : 4}};
	threads[3].allowed = (struct cpu_set){{0x30}};
	for (u32 i = 0; i < 3; i++)
		wake(i);
	expect_reach(6);
	wake(3);
	expect_reach(0x36);
	wake(4);
	expect_reach(~0ull);
	runqueue_remove(&rq, &threads[4], now);
	expect_reach(0x36);
	threads[4].state = THREAD_BLOCKED;
	/* Whose set was the first goes before the other. */
	for (u32 n = 0; n < 2; n++) {
		runqueue_remove(&rq, &threads[n], now);
		threads[n].state = THREAD_BLOCKED;
	}
	expect_reach(0x30);
	runqueue_remove(&rq, &threads[3], now);
	threads[3].state = THREAD_BLOCKED;
	expect_reach(0);
	assert_int_equal(rq.narrow, 0);
	assert_int_equal(rq.odd, 0);
	for (u32 i = 0; i < 2; i++)
		wake(i);
	expect_reach(6);
	/* As the one that runs. */
	wake(4);
	assert_ptr_equal(yield_to(4), &threads[4]);
	expect_reach(~0ull);
	assert_ptr_not_equal(next(WHY_GONE), &threads[4]);
	expect_reach(6);
}

/* The last in the queue comes at once, and pays for it. */
static void whom_it_yields_to(void **state)
{
	for (u32 i = 0; i < 3; i++)
		wake(i);
	assert_ptr_equal(next(WHY_PREEMPT), &threads[0]);
	now += MS;
	assert_ptr_equal(yield_to(2), &threads[2]);
	/* No slice's end is for anybody. */
	now += 2 * MS;
	assert_ptr_equal(runqueue_next(&rq, rq.current, WHY_PREEMPT, &threads[0], now),
			 &threads[1]);
	assert_int_equal(threads[2].run_ns, 2 * MS);
	/* One that is further ahead than a slice waits for its turn. */
	now += MS;
	runqueue_charge(&rq, now);
	runqueue_remove(&rq, &threads[2], now);
	runqueue_add(&rq, &threads[2], (s64)(SCHED_SLICE_MAX_NS * 2), now);
	assert_ptr_equal(yield_to(2), &threads[0]);
}

/* Two that yield to each other all the time take nothing from the third. */
static void yielding_is_fair(void **state)
{
	for (u32 i = 0; i < 3; i++)
		wake(i);
	next(WHY_PREEMPT);
	for (u32 i = 0; i < 4000; i++) {
		u32 me = (u32)(rq.current - threads);

		now += MS;
		if (me < 2 && threads[1 - me].state == THREAD_RUNNABLE)
			yield_to(1 - me);
		else
			next(WHY_PREEMPT);
	}
	runqueue_charge(&rq, now);
	for (u32 i = 0; i < 3; i++)
		assert_in_range(threads[i].run_ns, 1333 * MS - 30 * MS, 1333 * MS + 30 * MS);
}

static void weights_are_shares(void **state)
{
	threads[0].weight = 100;
	threads[1].weight = 300;
	wake(0);
	wake(1);
	run(4000 * MS);
	expect_share(0, 4000 * MS, 25);
	expect_share(1, 4000 * MS, 75);
}

static void the_heaviest_and_the_lightest(void **state)
{
	threads[0].weight = WEIGHT_MAX;
	threads[1].weight = WEIGHT_MIN;
	wake(0);
	wake(1);
	run(100000 * MS);
	/* One part in 10001, and that in pieces of a least slice. */
	assert_in_range(threads[1].run_ns, 2 * MS, 30 * MS);
	assert_in_range(threads[0].run_ns, 99970 * MS, 99998 * MS);
}

/* Four threads of one group and one of its own: half each. */
static void a_group_has_one_weight(void **state)
{
	for (u32 i = 0; i < 4; i++)
		threads[i].group = &group;
	for (u32 i = 0; i < 5; i++)
		wake(i);
	assert_int_equal(group.runnable, 4);
	run(8000 * MS);
	expect_share(4, 8000 * MS, 50);
	for (u32 i = 0; i < 4; i++)
		assert_in_range(threads[i].run_ns, 975 * MS, 1025 * MS);
}

static s64 group_is_at(void)
{
	return (s64)(group.cpus[0].vtime - rq.clock);
}

/*
 * What a group owes here, or is owed, is bounded as a thread's is, of what those of its threads count for
 * together that are here; who rested comes after what it owes.
 */
static void a_groups_debt_is_bounded(void **state)
{
	for (u32 i = 0; i < 4; i++) {
		threads[i].group = &group;
		threads[i].rested = true;
	}
	for (u32 i = 1; i < 4; i++)
		wake(i);
	group.cpus[0].vtime = rq.clock + 1000 * MS;
	wake(0);
	assert_int_equal(group_is_at(), SCHED_DEBT_NS); /* of 100, not of a thread's 25 */
	assert_int_equal(threads[0].vruntime - rq.clock, SCHED_DEBT_NS);
	assert_false(threads[0].rested);

	assert_ptr_equal(next(WHY_PREEMPT), &threads[1]);
	assert_ptr_equal(next(WHY_GONE), &threads[2]);
	threads[1].rested = true;
	threads[1].vruntime = rq.clock;
	group.cpus[0].vtime = rq.clock - 1000 * MS;
	wake(1);
	assert_int_equal(group_is_at(), -(s64)SCHED_CREDIT_NS);
	assert_int_equal(threads[1].vruntime - rq.clock, 0);
}

/* Of a group of four that has one thread awake, that one has all of the weight. */
static void those_asleep_have_no_part(void **state)
{
	for (u32 i = 0; i < 4; i++)
		threads[i].group = &group;
	wake(0);
	wake(4);
	run(4000 * MS);
	expect_share(0, 4000 * MS, 50);
	assert_int_equal(sched_group_part(&group), WEIGHT_DEFAULT * WEIGHT_UNIT);
}

/* The price of a stretch is that of each of its moments, not that of its first or its last. */
static void siblings_come_and_go_meanwhile(void **state)
{
	u64 start;

	for (u32 i = 0; i < 2; i++)
		threads[i].group = &group;
	wake(0);
	assert_ptr_equal(next(WHY_PREEMPT), &threads[0]);
	start = threads[0].vruntime;
	now += 2 * MS;
	/* On another CPU, say. */
	sched_group_enter(&group, now);
	now += MS;
	sched_group_leave(&group, now);
	runqueue_charge(&rq, now);
	assert_int_equal(threads[0].vruntime - start, 4 * MS);
	now += MS;
	sched_group_enter(&group, now);
	now += 3 * MS;
	runqueue_charge(&rq, now);
	assert_int_equal(threads[0].vruntime - start, 11 * MS);
	sched_group_leave(&group, now);
}

static void alone_it_goes_on(void **state)
{
	assert_int_equal(wake(0), TELL_SWITCH);
	assert_ptr_equal(next(WHY_PREEMPT), &threads[0]);
	now += 100 * MS;
	assert_ptr_equal(next(WHY_PREEMPT), &threads[0]);
	assert_ptr_equal(next(WHY_YIELD), &threads[0]);
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	assert_ptr_equal(next(WHY_GONE), &idle);
	assert_int_equal(idle.state, THREAD_RUNNING);
	assert_int_equal(threads[0].run_ns, 100 * MS);
	assert_ptr_equal(next(WHY_PREEMPT), &idle);
}

static void who_yields_lets_another_run(void **state)
{
	wake(0);
	next(WHY_PREEMPT);
	wake(1);
	/* Equally far: by itself it would go on. */
	assert_ptr_equal(next(WHY_PREEMPT), &threads[0]);
	assert_ptr_equal(next(WHY_YIELD), &threads[1]);
	assert_ptr_equal(next(WHY_YIELD), &threads[0]);
}

static void whom_it_tells(void **state)
{
	assert_int_equal(wake(0), TELL_SWITCH); /* idle */
	next(WHY_PREEMPT);
	assert_int_equal(wake(1), TELL_SLICE); /* ran without one */
	assert_int_equal(wake(2), TELL_NOTHING);
	next(WHY_PREEMPT);
	/* Those two wait, and have waited: one that wakes after a sleep comes before them all. */
	now += 50 * MS;
	threads[3].vruntime = rq.clock - 100 * MS;
	assert_int_equal(wake(3), TELL_SWITCH);
	assert_ptr_equal(next(WHY_PREEMPT), &threads[3]);
}

/* However long it slept: the credit, and not a bit more. */
static void sleep_earns_little(void **state)
{
	threads[1].vruntime = rq.clock - 100000 * MS;
	wake(0);
	next(WHY_PREEMPT);
	now += 10 * MS;
	wake(1);
	assert_int_equal((s64)(threads[1].vruntime - rq.clock), -(s64)SCHED_CREDIT_NS);
	run(2000 * MS);
	assert_in_range(threads[1].run_ns, 1000 * MS, 1000 * MS + SCHED_CREDIT_NS + 12 * MS);
}

/* Nor does a thread owe more than a bound, wherever its time comes from. */
static void debts_are_bounded(void **state)
{
	wake(0);
	next(WHY_PREEMPT);
	threads[1].vruntime = rq.clock + 100000 * MS;
	wake(1);
	assert_int_equal((s64)(threads[1].vruntime - rq.clock), SCHED_DEBT_NS);
	run(2000 * MS);
	assert_in_range(threads[1].run_ns, 1000 * MS - SCHED_DEBT_NS - 12 * MS, 1000 * MS);
}

/* A sleep and a wake at every turn brings no more than being there all the time. */
static void sleeping_often_is_no_trick(void **state)
{
	u64 end = now + 4000 * MS;

	wake(0);
	wake(1);
	next(WHY_PREEMPT);
	while (now < end) {
		now += MS / 2;
		if (rq.current == &threads[1]) {
			next(WHY_GONE);
			now += 1000;
			if (wake(1) == TELL_SWITCH)
				next(WHY_PREEMPT);
		} else if (threads[1].state == THREAD_BLOCKED) {
			wake(1);
		} else {
			next(WHY_PREEMPT);
		}
	}
	assert_true(threads[1].run_ns < 2000 * MS + SCHED_CREDIT_NS);
	assert_true(threads[0].run_ns > 1900 * MS);
}

static void who_runs_alone_saves_nothing(void **state)
{
	wake(0);
	next(WHY_PREEMPT);
	now += 50 * MS;
	runqueue_charge(&rq, now);
	runqueue_catch_up(&rq, rq.clock + 70000 * MS);
	wake(1);
	assert_true(llabs((s64)(threads[1].vruntime - threads[0].vruntime)) <=
		    (s64)SCHED_CREDIT_NS);
	run(1000 * MS);
	assert_in_range(threads[1].run_ns, 480 * MS, 520 * MS);
}

static void an_idle_cpu_follows(void **state)
{
	u64 ahead = rq.clock + 500 * MS;

	runqueue_catch_up(&rq, ahead);
	assert_int_equal(rq.clock, ahead);
	runqueue_catch_up(&rq, ahead - 1);
	assert_int_equal(rq.clock, ahead);
	wake(0);
	/* Others compete here: this clock is as good as theirs. */
	runqueue_catch_up(&rq, ahead + 500 * MS);
	assert_int_equal(rq.clock, ahead);
}

static void slices(void **state)
{
	wake(0);
	next(WHY_PREEMPT);
	assert_int_equal(runqueue_slice(&rq), SCHED_SLICE_MAX_NS);
	wake(1);
	assert_int_equal(runqueue_slice(&rq), SCHED_LATENCY_NS / 2);
	for (u32 i = 2; i < 5; i++)
		wake(i);
	assert_int_equal(runqueue_slice(&rq), SCHED_LATENCY_NS / 5);
	for (u32 i = 5; i < THREADS; i++)
		wake(i);
	assert_int_equal(runqueue_slice(&rq), SCHED_SLICE_MIN_NS);
}

static void counts_those_that_may_move(void **state)
{
	memset(&threads[1].allowed, 0, sizeof(threads[1].allowed));
	cpu_set_add(&threads[1].allowed, 3);
	for (u32 i = 0; i < 3; i++)
		wake(i);
	assert_int_equal(rq.queued, 3);
	assert_int_equal(rq.movable, 2);
	assert_int_equal(rq.load, 3 * WEIGHT_DEFAULT * WEIGHT_UNIT);
	runqueue_remove(&rq, &threads[1], now);
	runqueue_remove(&rq, &threads[0], now);
	assert_int_equal(rq.movable, 1);
	assert_ptr_equal(runqueue_first(&rq), &threads[2]);
	assert_null(runqueue_after(&rq, &threads[2]));
}

/* A clock that is a little behind that of the CPU which charged last takes nothing back. */
static void time_may_seem_to_go_back(void **state)
{
	wake(0);
	next(WHY_PREEMPT);
	now += 5 * MS;
	runqueue_charge(&rq, now);
	runqueue_charge(&rq, now - MS);
	assert_int_equal(threads[0].run_ns, 5 * MS);
	runqueue_charge(&rq, now + MS);
	assert_int_equal(threads[0].run_ns, 6 * MS);
}

/*
 * The ideal is each thread's part of every moment in which it wants to run. With random weights,
 * sleeps and wakes nobody is ever further from it than a bound, and the CPU is never idle in vain.
 */
static void never_far_from_the_ideal(void **state)
{
	double ideal[THREADS] = {0};
	u64 seed = 11, end = now + 60000 * MS, left[THREADS] = {0};

	for (u32 i = 0; i < THREADS; i++)
		threads[i].weight = 50 + random_below(&seed, 200);
	while (now < end) {
		u64 step = 50000 + random_below(&seed, MS), slice;
		double weights = 0;

		/* Long phases: who is awake competes for a second or so. */
		for (u32 i = 0; i < THREADS; i++) {
			if (threads[i].state == THREAD_BLOCKED && random_one_in(&seed, 3000)) {
				/* The account is closed at a sleep. */
				ideal[i] = (double)threads[i].run_ns;
				if (wake(i) == TELL_SWITCH)
					next(WHY_PREEMPT);
				left[i] = now + 1000 * MS;
			}
		}
		for (u32 i = 0; i < THREADS; i++) {
			if (threads[i].state != THREAD_BLOCKED)
				weights += threads[i].weight;
		}
		slice = now + step;
		runqueue_charge(&rq, slice);
		for (u32 i = 0; i < THREADS; i++) {
			if (threads[i].state != THREAD_BLOCKED)
				ideal[i] += (double)step * threads[i].weight / weights;
		}
		now = slice;
		for (u32 i = 0; i < THREADS; i++) {
			double lag = ideal[i] - (double)threads[i].run_ns;

			if (threads[i].state != THREAD_BLOCKED)
				assert_true(lag < 60e6 && lag > -60e6);
		}
		if (rq.current != &idle && left[rq.current - threads] < now &&
		    random_one_in(&seed, 500))
			next(WHY_GONE);
		else if (random_one_in(&seed, 6))
			next(WHY_PREEMPT);
		assert_true(rq.current != &idle || rq.queued == 0);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(equal_threads_share_equally),
		TEST(how_far_its_threads_reach),
		TEST(whom_it_yields_to),
		TEST(yielding_is_fair),
		TEST(weights_are_shares),
		TEST(the_heaviest_and_the_lightest),
		TEST(a_group_has_one_weight),
		TEST(a_groups_debt_is_bounded),
		TEST(those_asleep_have_no_part),
		TEST(siblings_come_and_go_meanwhile),
		TEST(alone_it_goes_on),
		TEST(who_yields_lets_another_run),
		TEST(whom_it_tells),
		TEST(sleep_earns_little),
		TEST(debts_are_bounded),
		TEST(sleeping_often_is_no_trick),
		TEST(who_runs_alone_saves_nothing),
		TEST(an_idle_cpu_follows),
		TEST(slices),
		TEST(counts_those_that_may_move),
		TEST(time_may_seem_to_go_back),
		TEST(never_far_from_the_ideal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
