/* SPDX-License-Identifier: MIT */
/* Weir's own threads of a small weight beside busy vCPUs, and lifted while somebody waits; in simulated time. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c smp/thread_lift.c
 */
#include "smp/lift.h"
#include "tests/hosted/random.h"
#include "tests/unit/smp/sched_time.h"

#define BUSY   16u
#define DAEMON BUSY /* the thread after them */

static struct thread *const the_daemon = &threads[DAEMON];

/* As on the target, where interrupts are on. */
void thread_preempt(void)
{
	bool on = irq_save();

	schedule_here(SCHEDULE_PREEMPT);
	irq_restore(on);
}

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
	thread_lift(the_daemon, WEIGHT_LIFT);
	took = time_for(100 * MS);
	/* 100 of 1700. */
	assert_in_range(took, 1400 * MS, 1950 * MS);
	nobody_starves(since, before, 588);
	thread_lower(the_daemon, WEIGHT_LIFT);
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
		assert_int_equal(thread_lend(the_daemon), WEIGHT_DEFAULT);
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
	thread_lift(the_daemon, 20 * WEIGHT_DEFAULT);
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

		thread_lift(the_daemon, by);
		for (u32 i = 0; i < random_below(&seed, 4); i++) {
			thread_lift(the_daemon, 1000);
			thread_lower(the_daemon, 1000);
		}
		run_until(now + step);
		weight = WEIGHT_DAEMON + by;
		ideal += step * weight / (BUSY * WEIGHT_DEFAULT + weight);
		thread_lower(the_daemon, by);
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
	thread_lift(the_daemon, WEIGHT_LIFT);
	time_for(20 * MS);
	while (me->current != the_daemon)
		run_until(now + STEP);
	schedule_here(SCHEDULE_BLOCK);
	run_until(now + 10000 * MS);
	/* As if it had been for years. */
	the_daemon->vruntime -= BIT(60);
	thread_lower(the_daemon, WEIGHT_LIFT);
	assert_int_equal(schedulers[0].rq.clock - the_daemon->vruntime,
			 runqueue_virtual(SCHED_CREDIT_NS, WEIGHT_DAEMON * WEIGHT_UNIT));
	thread_lower(the_daemon, WEIGHT_LIFT);
	assert_int_equal(thread_weight(the_daemon), WEIGHT_DAEMON * WEIGHT_UNIT);
	thread_lift(the_daemon, WEIGHT_LIFT);
	sched_wake(the_daemon);
	assert_int_equal(units(the_daemon), WEIGHT_DAEMON);
	assert_true((s64)(the_daemon->vruntime - schedulers[0].rq.clock) >=
		    -(s64)runqueue_virtual(SCHED_CREDIT_NS, WEIGHT_DAEMON * WEIGHT_UNIT));
	teardown();
}

/* However many wait, and whether any of them has come before there is a thread. */
static void lifted_once_for_all_that_wait(void **state)
{
	struct lift lift = {.thread = NULL};

	start_all();
	lift_begin(&lift);
	lift_end(&lift);
	lift_init(&lift, the_daemon);
	for (u32 round = 0; round < 2; round++) {
		lift_begin(&lift);
		lift_begin(&lift);
		assert_int_equal(thread_weight(the_daemon), WEIGHT_DEFAULT * WEIGHT_UNIT);
		lift_end(&lift);
		lift_end(&lift);
		assert_int_equal(thread_weight(the_daemon), WEIGHT_DAEMON * WEIGHT_UNIT);
	}
	teardown();
}

#define VCPUS	  8u
#define VM_WEIGHT 90u
#define OTHER	  (DAEMON + 1) /* the thread after the daemon */

static struct sched_group vm;

/* A VM's vCPUs, and another thread that counts for as much as the daemon when it was lent all that may be. */
static void start_vm(void)
{
	setup(1);
	sched_group_init(&vm, VM_WEIGHT, 0);
	for (u32 i = 0; i < VCPUS; i++) {
		make(i, 0, 0)->group = &vm;
		sched_group_add(&vm);
		sched_wake(&threads[i]);
	}
	make(DAEMON, WEIGHT_DAEMON, 0);
	sched_wake(the_daemon);
	sched_wake(make(OTHER, WEIGHT_DAEMON + VM_WEIGHT, 0));
	run_until(now + 1000 * MS);
}

static void run_until_a_vcpu_does(void)
{
	while (!me->current->group)
		run_until(now + STEP);
}

/* Each in turn, before it sleeps. lent: by which. */
static u32 all_lend(u32 lent[VCPUS])
{
	u32 sum = 0;

	for (u32 n = 0; n < VCPUS; n++) {
		u32 *by;

		run_until_a_vcpu_does();
		by = &lent[me->current - threads];
		*by = thread_lend(the_daemon);
		assert_int_equal(*by, sched_group_loan(&vm));
		sum += *by;
		assert_int_equal(the_daemon->lifted, sum);
		assert_int_equal(thread_weight(the_daemon), (WEIGHT_DAEMON + sum) * WEIGHT_UNIT);
		schedule_here(SCHEDULE_BLOCK);
	}
	return sum;
}

static void the_daemon_has(double percent)
{
	u64 since = now, before;

	charge_all();
	before = the_daemon->run_ns;
	run_until(now + 10000 * MS);
	charge_all();
	expect_percent(the_daemon->run_ns - before, now - since, percent, 1);
}

/* No more than the VM's weight, however few of them run as one lends; and back again. */
static void vcpus_lend_what_their_vm_has(void **state)
{
	u32 lent[VCPUS] = {0}, sum;

	start_vm();
	sum = all_lend(lent);
	assert_in_range(sum, VM_WEIGHT - VCPUS + 1, VM_WEIGHT);
	the_daemon_has(49.5); /* 108 of 218 */
	for (u32 i = 0; i < VCPUS; i++) {
		assert_int_equal(lent[i], VM_WEIGHT / VCPUS);
		sched_wake(&threads[i]);
		while (me->current != &threads[i])
			run_until(now + STEP);
		thread_lower(the_daemon, lent[i]);
		sum -= lent[i];
		assert_int_equal(the_daemon->lifted, sum);
		schedule_here(SCHEDULE_BLOCK);
	}
	assert_int_equal(sum, 0);
	the_daemon_has(15.4); /* 20 of 130 */
	teardown();
}

/* It has its part of the VM's weight: nothing is lent to it, and nothing taken. */
static void a_vcpu_is_never_lifted(void **state)
{
	static const u32 by[] = {1, WEIGHT_LIFT, WEIGHT_MAX};
	struct thread *vcpu = &threads[0];
	u64 vruntime;
	u32 lent;

	start_vm();
	while (vcpu->state != THREAD_RUNNABLE || me->current->group)
		run_until(now + STEP);
	vruntime = vcpu->vruntime;
	for (u32 i = 0; i < ARRAY_SIZE(by); i++) {
		thread_lift(vcpu, by[i]);
		assert_int_equal(vcpu->lifted, 0);
		thread_lower(vcpu, by[i]);
		assert_int_equal(vcpu->lifted, 0);
	}
	lent = thread_lend(vcpu);
	assert_int_equal(vcpu->lifted, 0);
	thread_lower(vcpu, lent);
	assert_int_equal(vcpu->lifted, 0);
	assert_int_equal(vcpu->vruntime, vruntime);
	assert_int_equal(thread_weight(vcpu), sched_group_part(&vm));
	teardown();
}

/* Of no VM: what it counts for, with what was lent to it. */
static void who_has_its_own_weight_lends_that(void **state)
{
	const u32 own = WEIGHT_DAEMON + VM_WEIGHT;

	start_vm();
	while (me->current != &threads[OTHER])
		run_until(now + STEP);
	assert_int_equal(thread_lend(the_daemon), own);
	assert_int_equal(the_daemon->lifted, own);
	thread_lower(the_daemon, own);
	assert_int_equal(the_daemon->lifted, 0);
	thread_lift(&threads[OTHER], 31);
	assert_int_equal(thread_lend(the_daemon), own + 31);
	assert_int_equal(the_daemon->lifted, own + 31);
	thread_lower(the_daemon, own + 31);
	thread_lower(&threads[OTHER], 31);
	assert_int_equal(the_daemon->lifted, 0);
	teardown();
}

/* It comes before who lifts it, who makes way at once if that may be: to it, or to one before it. */
static void who_lifts_makes_way(void **state)
{
	for (u32 off = 0; off < 2; off++) {
		struct thread *lifts;

		start_all();
		time_for(30 * MS);
		/* Who has the CPU is a good part of its slice ahead of those that wait. */
		do {
			run_until(now + STEP);
			charge_all();
		} while (the_daemon->state != THREAD_RUNNABLE ||
			 me->current->vruntime - schedulers[0].rq.clock < 3 * MS / 2);
		lifts = me->current;
		me->preempt_off = off;
		irq_enable();
		thread_lift(the_daemon, WEIGHT_MAX);
		assert_true(irq_enabled());
		irq_disable();
		assert_int_equal(me->current != lifts, !off);
		assert_int_equal(me->need_resched, off);
		me->preempt_off = 0;
		teardown();
	}
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
		cmocka_unit_test(lifted_once_for_all_that_wait),
		cmocka_unit_test(vcpus_lend_what_their_vm_has),
		cmocka_unit_test(a_vcpu_is_never_lifted),
		cmocka_unit_test(who_has_its_own_weight_lends_that),
		cmocka_unit_test(who_lifts_makes_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
