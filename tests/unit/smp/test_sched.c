/* SPDX-License-Identifier: MIT */
/* Where threads run, and how they come there, in simulated time: waking, stealing, fetching, moving. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c
 */
#include "tests/hosted/random.h"
#include "tests/unit/smp/sched_time.h"

static u32 leaves, left_on[THREADS]; /* of threads whose state stays in a CPU */

static void an_idle_cpu_takes_what_waits(void **state)
{
	setup(2);
	for (u32 i = 0; i < 2; i++)
		sched_wake(make(i, 100, 0));
	run_until(now + 100 * MS);
	/* Pinned: the other stays idle, and takes no tick for it. */
	assert_ptr_equal(cpus[1].current, &idles[1]);
	cpu_set_fill(&threads[1].allowed);
	sched_wake(make(2, 100, 0));
	schedulers[0].rq.movable = 0;
	for (struct thread *t = runqueue_first(&schedulers[0].rq); t;
	     t = runqueue_after(&schedulers[0].rq, t))
		schedulers[0].rq.movable += cpu_set_is_choice(&t->allowed);
	run_until(now + 40 * MS);
	assert_ptr_equal(cpus[1].current, &threads[1]);
	teardown();
}

static struct cpu_set two_cpus(u32 a, u32 b)
{
	struct cpu_set set = {{0}};

	cpu_set_add(&set, a);
	cpu_set_add(&set, b);
	return set;
}

/* The longest queue has none that may come; the next one has. CPU 3 is not there. */
static void an_idle_cpu_looks_at_all_queues(void **state)
{
	setup(3);
	sched_wake(make(0, 100, 2));
	for (u32 i = 1; i < 6; i++) {
		make(i, 100, 0)->allowed = i < 4 ? two_cpus(0, 3) : two_cpus(1, 2);
		sched_wake(&threads[i]);
	}
	run_until(now + MS);
	assert_ptr_equal(cpus[2].current, &threads[0]);
	assert_int_equal(schedulers[0].rq.movable, 2);
	assert_int_equal(schedulers[1].rq.movable, 1);
	hosted_cpu_set(2);
	schedule_here(SCHEDULE_BLOCK);
	assert_ptr_equal(cpus[2].current, &threads[5]);
	teardown();
}

static void wakes_where_it_was_or_where_nobody_is(void **state)
{
	setup(4);
	for (u32 i = 0; i < 4; i++) {
		sched_wake(make(i, 100, THREAD_ANY_CPU));
		run_until(now + 2 * MS);
	}
	for (u32 i = 0; i < 4; i++)
		assert_true(cpus[i].current != &idles[i]);
	/* One sleeps and wakes: its CPU is idle. */
	hosted_cpu_set(2);
	struct thread *t = cpus[2].current;

	schedule_here(SCHEDULE_BLOCK);
	assert_ptr_equal(cpus[2].current, &idles[2]);
	wake_from(0, t);
	run_until(now + MS);
	assert_ptr_equal(cpus[2].current, t);
	/* Now its CPU is taken while it sleeps, and another is free. */
	hosted_cpu_set(2);
	schedule_here(SCHEDULE_BLOCK);
	wake_from(0, make(5, 100, 2));
	run_until(now + MS);
	hosted_cpu_set(3);
	schedule_here(SCHEDULE_BLOCK);
	wake_from(0, t);
	run_until(now + MS);
	assert_ptr_equal(cpus[3].current, t);
	teardown();
}

static void no_tick_without_need(void **state)
{
	setup(2);
	assert_int_equal(hosted_timers_next(), ~0ull);
	sched_wake(make(0, 100, THREAD_ANY_CPU));
	sched_wake(make(1, 100, THREAD_ANY_CPU));
	run_until(now + 50 * MS);
	/* A thread for each CPU: nothing is armed. */
	assert_true(cpus[0].current != &idles[0] && cpus[1].current != &idles[1]);
	assert_int_equal(hosted_timers_next(), ~0ull);
	sched_wake(make(2, 100, THREAD_ANY_CPU));
	run_until(now + 50 * MS);
	assert_true(hosted_timers_next() < now + 20 * MS);
	for (u32 id = 0; id < 2; id++) {
		hosted_cpu_set(id);
		while (cpus[id].current != &idles[id])
			schedule_here(SCHEDULE_BLOCK);
	}
	run_until(now + 50 * MS);
	assert_int_equal(hosted_timers_next(), ~0ull);
	teardown();
}

static void leave(struct thread *t)
{
	leaves++;
	assert_int_equal(t->state, THREAD_MOVING);
	assert_false(t->on_cpu);
	left_on[t - threads] = cpu_id();
}

/* A thread whose state stays in the CPU is sent away by that CPU, and runs elsewhere only then. */
static void state_leaves_first(void **state)
{
	struct thread *t;

	setup(2);
	leaves = 0;
	t = make(0, 100, THREAD_ANY_CPU);
	sched_wake(t);
	run_until(now + MS);
	t->sched_leave = leave;
	hosted_cpu_set(t->cpu->id);
	schedule_here(SCHEDULE_BLOCK);
	assert_true(t->resident);
	wake_from(0, make(1, 100, t->cpu->id));
	run_until(now + MS);
	assert_int_equal(leaves, 0);
	/* From the other one: its CPU has to be asked. */
	wake_from(1 - t->cpu->id, t);
	assert_int_equal(t->state, THREAD_MOVING);
	sched_wake(t);
	assert_true(t->wake_pending);
	t->wake_pending = false;
	run_until(now + 2 * MS);
	assert_int_equal(leaves, 1);
	assert_int_equal(left_on[0], threads[1].cpu->id);
	assert_int_equal(t->state, THREAD_RUNNING);
	assert_int_equal(t->cpu->id, 1 - threads[1].cpu->id);
	assert_int_equal(schedulers[0].coming + schedulers[1].coming, 0);
	teardown();
}

static void yield_to(u32 cpu, struct thread *t)
{
	hosted_cpu_set(cpu);
	sched_want(t);
	schedule_here(SCHEDULE_YIELD);
}

/* Three that may run on both CPUs: the one that waits. All have run for longer than a fetch wants. */
static struct thread *one_of_three_that_waits(void)
{
	struct thread *t = NULL;

	for (u32 i = 0; i < 3; i++)
		sched_wake(make(i, 100, THREAD_ANY_CPU));
	run_until(now + MS);
	for (u32 i = 0; i < 3; i++) {
		if (threads[i].state == THREAD_RUNNABLE)
			t = &threads[i];
	}
	assert_non_null(t);
	return t;
}

/* Who spins lets one go first that waits behind another CPU: it comes here. */
static void who_yields_fetches_from_another_queue(void **state)
{
	struct thread *t, *spins;
	u32 away;

	setup(2);
	t = one_of_three_that_waits();
	away = 1 - t->cpu->id;
	spins = cpus[away].current;
	yield_to(away, t);
	assert_ptr_equal(cpus[away].current, t);
	assert_ptr_equal(t->cpu, &cpus[away]);
	assert_int_equal(schedulers[away].stats.fetched, 1);
	assert_int_equal(schedulers[away].stats.yielded_to, 1);
	/* One that has just run is not fetched: those that spin do not pass it on without end. */
	assert_int_equal(spins->state, THREAD_RUNNABLE);
	yield_to(1 - away, spins);
	assert_ptr_equal(spins->cpu, &cpus[away]);
	assert_int_equal(schedulers[1 - away].stats.fetched, 0);
	teardown();
}

static void who_is_not_fetched(void **state)
{
	struct thread *t;
	u32 away;

	setup(2);
	t = one_of_three_that_waits();
	away = 1 - t->cpu->id;
	/* One that may not run there; whose stack is in use; that is ahead of all by more than a slice. */
	t->allowed = (struct cpu_set){{0}};
	cpu_set_add(&t->allowed, 1 - away);
	yield_to(away, t);
	cpu_set_fill(&t->allowed);
	t->on_cpu = true;
	yield_to(away, t);
	t->on_cpu = false;
	t->vruntime += 2 * SCHED_SLICE_MAX_NS;
	yield_to(away, t);
	t->vruntime -= 2 * SCHED_SLICE_MAX_NS;
	/* One that has only just woken. */
	t->woken_ns = now;
	yield_to(away, t);
	t->woken_ns = 0;
	/* One that sleeps, or runs. */
	yield_to(away, cpus[1 - away].current);
	assert_int_equal(schedulers[away].stats.fetched, 0);
	assert_ptr_equal(t->cpu, &cpus[1 - away]);
	yield_to(away, t);
	assert_int_equal(schedulers[away].stats.fetched, 1);
	teardown();
}

/* Its state is in the other CPU: that one lets go of it first, when it is told. */
static void what_is_fetched_leaves_its_cpu_first(void **state)
{
	struct thread *t;
	u32 home;

	setup(2);
	leaves = 0;
	t = one_of_three_that_waits();
	home = t->cpu->id;
	t->sched_leave = leave;
	t->resident = true;
	yield_to(1 - home, t);
	assert_int_equal(t->state, THREAD_MOVING);
	assert_int_equal(leaves, 0);
	assert_true(cpus[1 - home].current != t);
	/* Meanwhile it is asked for again. */
	yield_to(1 - home, t);
	assert_int_equal(t->state, THREAD_MOVING);
	step_cpu(home);
	assert_int_equal(leaves, 1);
	assert_int_equal(left_on[t - threads], home);
	assert_ptr_equal(t->cpu, &cpus[1 - home]);
	yield_to(1 - home, t);
	assert_ptr_equal(cpus[1 - home].current, t);
	assert_int_equal(schedulers[0].coming + schedulers[1].coming, 0);
	teardown();
}

/* Woken while its stack is in use: it stays, and is not taken before that ends. */
static void on_cpu_keeps_it(void **state)
{
	struct thread *t, *next;

	setup(2);
	t = make(0, 100, THREAD_ANY_CPU);
	sched_wake(t);
	run_until(now + MS);
	hosted_cpu_set(t->cpu->id);
	next = sched_next(t, SCHEDULE_BLOCK);
	assert_ptr_equal(next, &idles[me->id]);
	me->current = next;
	sched_wake(t);
	assert_int_equal(t->state, THREAD_RUNNABLE);
	assert_ptr_equal(t->cpu, me);
	hosted_cpu_set(1 - me->id);
	assert_false(sched_has_work());
	hosted_cpu_set(1 - me->id);
	sched_switched();
	hosted_cpu_set(1 - me->id);
	assert_true(sched_has_work());
	assert_ptr_equal(t->cpu, me);
	teardown();
}

/* A thread does not sleep, for a wake came first; but another woke, too, and was to have its CPU. */
static void a_remembered_wake_keeps_nobody_waiting(void **state)
{
	setup(1);
	sched_wake(make(0, 100, THREAD_ANY_CPU));
	sched_wake(make(1, 100, THREAD_ANY_CPU));
	hosted_cpu_set(0);
	while (me->current != &threads[1])
		run_until(now + MS);
	schedule_here(SCHEDULE_BLOCK);
	run_until(now + 50 * MS);
	assert_ptr_equal(me->current, &threads[0]);
	sched_wake(&threads[0]);
	assert_true(threads[0].wake_pending);
	sched_wake(&threads[1]);
	assert_true(me->need_resched);
	schedule_here(SCHEDULE_BLOCK);
	assert_ptr_equal(me->current, &threads[1]);
	assert_int_equal(threads[0].state, THREAD_RUNNABLE);
	assert_false(threads[0].wake_pending);
	/* With nobody due it goes on, whoever waits. */
	sched_wake(&threads[1]);
	schedule_here(SCHEDULE_BLOCK);
	assert_ptr_equal(me->current, &threads[1]);
	teardown();
}

/*
 * Anything, for a long time: no thread that wants a CPU waits for ever, none is at two places, and
 * where threads may run is kept to.
 */
static void random_storm(void **state)
{
	u64 seed = 5;

	setup(4);
	leaves = 0;
	for (u32 i = 0; i < THREADS; i++) {
		make(i, 20 + random_below(&seed, 400), i % 5 ? THREAD_ANY_CPU : i % 4);
		if (i % 3 == 0)
			threads[i].sched_leave = leave;
		if (i % 7 == 0) {
			threads[i].allowed = (struct cpu_set){{0}};
			cpu_set_add(&threads[i].allowed, 1);
			cpu_set_add(&threads[i].allowed, 2);
			threads[i].cpu = &cpus[1];
		}
		sched_wake(&threads[i]);
		last_ran[i] = now;
	}
	for (u32 round = 0; round < 40000; round++) {
		u32 i = random_below(&seed, THREADS), cpu = random_below(&seed, 4), seen = 0;

		if (random_one_in(&seed, 2))
			wake_from(cpu, &threads[i]);
		hosted_cpu_set(cpu);
		if (me->current != &idles[cpu] && random_one_in(&seed, 8))
			yield_to(cpu, &threads[i]);
		else if (me->current != &idles[cpu] && random_one_in(&seed, 3))
			schedule_here(random_one_in(&seed, 4) ? SCHEDULE_BLOCK : SCHEDULE_YIELD);
		run_until(now + random_below(&seed, 2 * MS));
		for (u32 id = 0; id < 4; id++) {
			struct thread *t = cpus[id].current;

			assert_true(t == &idles[id] || cpu_set_has(&t->allowed, id));
			assert_true(t == &idles[id] || t->cpu == &cpus[id]);
			assert_ptr_equal(schedulers[id].rq.current, t);
			seen += schedulers[id].rq.queued + (t != &idles[id]);
		}
		for (i = 0; i < THREADS; i++) {
			bool wants = threads[i].state == THREAD_RUNNABLE ||
				     threads[i].state == THREAD_MOVING;

			assert_true(!wants || now - last_ran[i] < 2000 * MS);
			seen -= wants || threads[i].state == THREAD_RUNNING;
			if (!wants)
				last_ran[i] = now;
		}
		/* But for those on their way from a CPU that has yet to take its kick. */
		assert_true((int)seen <= 0 && (int)seen >= -(int)THREADS);
	}
	assert_true(leaves > 100);
	for (u32 id = 0; id < 4; id++)
		assert_true(schedulers[id].stats.fetched > 10);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_cpu_takes_what_waits),
		cmocka_unit_test(an_idle_cpu_looks_at_all_queues),
		cmocka_unit_test(wakes_where_it_was_or_where_nobody_is),
		cmocka_unit_test(no_tick_without_need),
		cmocka_unit_test(state_leaves_first),
		cmocka_unit_test(who_yields_fetches_from_another_queue),
		cmocka_unit_test(who_is_not_fetched),
		cmocka_unit_test(what_is_fetched_leaves_its_cpu_first),
		cmocka_unit_test(on_cpu_keeps_it),
		cmocka_unit_test(a_remembered_wake_keeps_nobody_waiting),
		cmocka_unit_test(random_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
