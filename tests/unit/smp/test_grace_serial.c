/* SPDX-License-Identifier: MIT */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * R28, R29, R32: readers of SRCU and RCU, a writer that waits, one that leaves what it took to
 * callbacks, and the worker, one thread at a time in orders that a seed chooses. Nothing but the
 * code's own wakes ends a sleep, so one that is forgotten leaves a run in which nobody can go on.
 */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/x86.h"
#include "smp/rcu_private.h"
#include "smp/srcu.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"

#define RUNS	 1500
#define SECTIONS 12 /* of a reader */
#define CHANGES	 3  /* of a writer */
#define BOXES	 (3 * CHANGES + 2)

struct box {
	struct rcu_head rcu;
	bool dead;
};

static struct srcu srcu;
static struct box boxes[BOXES];
static u32 boxes_used;		     /* atomic */
static struct box *in_srcu, *in_rcu; /* what readers find; atomic */
static struct wait_queue callers;
static u32 calls_left; /* callers.lock */
static u64 numbers;

static struct box *publish(struct box **where)
{
	struct box *fresh = &boxes[__atomic_fetch_add(&boxes_used, 1, __ATOMIC_SEQ_CST)];

	return __atomic_exchange_n(where, fresh, __ATOMIC_SEQ_CST);
}

/* Others go on for a while, mostly a short one. */
static void linger(void)
{
	for (u32 n = random_below(&numbers, random_one_in(&numbers, 4) ? 30 : 3); n; n--)
		hosted_relax();
}

static void srcu_reader(void *arg)
{
	for (u32 i = 0; i < SECTIONS; i++) {
		u32 index = srcu_read_lock(&srcu);
		const struct box *b = rcu_dereference(in_srcu);

		linger();
		BUG_ON(b->dead);
		srcu_read_unlock(&srcu, index);
		linger();
	}
}

static void rcu_reader(void *arg)
{
	irq_disable();
	for (u32 i = 0; i < SECTIONS; i++) {
		const struct box *b;

		rcu_read_lock();
		b = rcu_dereference(in_rcu);
		linger();
		BUG_ON(b->dead);
		rcu_read_unlock();
		linger();
	}
	irq_enable();
}

static void waiting_writer(void *arg)
{
	for (u32 i = 0; i < CHANGES; i++) {
		struct box *old = publish(&in_srcu);

		srcu_synchronize(&srcu);
		old->dead = true;
	}
}

static void bury(struct rcu_head *h)
{
	bool on;

	container_of(h, struct box, rcu)->dead = true;
	on = wait_lock(&callers);
	if (--calls_left == 0)
		wait_wake_all_locked(&callers);
	wait_unlock(&callers, on);
}

static void calling_writer(void *arg)
{
	for (u32 i = 0; i < CHANGES; i++) {
		srcu_call(&srcu, &publish(&in_srcu)->rcu, bury);
		rcu_call(&publish(&in_rcu)->rcu, bury);
		linger();
	}
	wait_event(&callers, calls_left == 0);
}

static void worker(void *arg)
{
	bool more = true, on;

	while (more) {
		rcu_work_when_kicked();
		on = wait_lock(&callers);
		more = calls_left != 0;
		wait_unlock(&callers, on);
	}
}

static const struct hosted_job jobs[] = {
	{"srcu reader", srcu_reader, NULL},	  {"srcu reader", srcu_reader, NULL},
	{"rcu reader", rcu_reader, NULL},	  {"waiting writer", waiting_writer, NULL},
	{"calling writer", calling_writer, NULL}, {"worker", worker, NULL},
};

static void no_reader_holds_what_is_dead_and_all_are_woken(void **state)
{
	const char *extent = getenv("WEIR_FUZZ"), *text = getenv("WEIR_SEED");
	u64 seed = text ? strtoull(text, NULL, 0) : 1, shared = 0;
	u32 runs = extent && strcmp(extent, "full") == 0 ? 50 * RUNS : RUNS;

	printf("seed %llu\n", (unsigned long long)seed);
	for (u32 i = 0; i < runs; i++) {
		u64 numbers_of_run = seed + i;
		struct hosted_way way = {.serial = true, .seed = seed + i};

		way.period = 1 + random_below(&numbers_of_run, 12);
		numbers = numbers_of_run;
		memset(boxes, 0, sizeof(boxes));
		boxes_used = 0;
		srcu_init(&srcu);
		wait_queue_init(&callers);
		publish(&in_srcu);
		publish(&in_rcu);
		calls_left = 2 * CHANGES;
		hosted_run(jobs, ARRAY_SIZE(jobs), &way);
		assert_int_equal(calls_left, 0);
		shared += srcu.grace_periods < 2 * CHANGES;
		srcu_destroy(&srcu);
	}
	printf("in %llu of %u runs a grace period served several\n", (unsigned long long)shared,
	       runs);
	assert_true(shared > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_reader_holds_what_is_dead_and_all_are_woken),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
