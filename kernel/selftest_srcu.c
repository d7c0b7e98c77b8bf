/* SPDX-License-Identifier: MIT */
/* Self-tests of SRCU and RCU: nothing that a reader may still see is taken away. */
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "smp/srcu.h"
#include "smp/thread.h"

#define GRACE_PERIODS 30
#define CALLS	      400
#define BOXES	      8
#define COST_ROUNDS   1000
#define ALIVE	      0x600dull
#define DEAD	      0xdeadull

/* What readers look at: it is alive from before it is published until a grace period is over. */
struct box {
	struct rcu_head rcu;
	u64 state;
	bool waits; /* atomic: for its callback */
};

static struct srcu domain;
static struct box boxes[BOXES];
static struct box *published;
static u32 stop;   /* atomic */
static u64 visits; /* atomic */
static u64 buried; /* atomic */

static void begin(void)
{
	srcu_init(&domain);
	for (u32 i = 0; i < BOXES; i++)
		boxes[i] = (struct box){.state = DEAD};
	boxes[0].state = ALIVE;
	published = &boxes[0];
	stop = 0;
	visits = 0;
	buried = 0;
}

static struct box *publish(struct selftest *t, struct box *fresh)
{
	struct box *old = published;

	EXPECT(t, old != fresh && fresh->state == DEAD);
	WRITE_ONCE(fresh->state, ALIVE);
	rcu_assign_pointer(published, fresh);
	return old;
}

static void bury(struct rcu_head *h)
{
	struct box *b = container_of(h, struct box, rcu);

	WRITE_ONCE(b->state, DEAD);
	__atomic_store_n(&b->waits, false, __ATOMIC_RELEASE);
	__atomic_fetch_add(&buried, 1, __ATOMIC_SEQ_CST);
}

static struct box *next_free_box(void)
{
	for (u32 i = 0;; i = (i + 1) % BOXES) {
		if (&boxes[i] != published && !__atomic_load_n(&boxes[i].waits, __ATOMIC_ACQUIRE))
			return &boxes[i];
		if (i == BOXES - 1)
			thread_yield();
	}
}

/* Every box goes by a callback: of the domain, or of RCU. */
static void call_writer(struct selftest *t, bool sleepable)
{
	for (u32 i = 0; i < CALLS; i++) {
		struct box *old = publish(t, next_free_box());
		bool on = irq_save();

		__atomic_store_n(&old->waits, true, __ATOMIC_RELEASE);
		if (sleepable)
			srcu_call(&domain, &old->rcu, bury);
		else
			rcu_call(&old->rcu, bury);
		irq_restore(on);
	}
	if (sleepable)
		srcu_barrier(&domain);
	else
		rcu_barrier();
	EXPECT(t, buried == CALLS);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
}

static void synchronize_writer(struct selftest *t)
{
	for (u32 i = 1; i <= GRACE_PERIODS; i++) {
		struct box *old = publish(t, &boxes[i % BOXES]);

		srcu_synchronize(&domain);
		WRITE_ONCE(old->state, DEAD);
		thread_yield();
	}
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
}

static void look(struct selftest_worker *w, bool sleep)
{
	struct box *b = rcu_dereference(published);

	EXPECT(w->test, READ_ONCE(b->state) == ALIVE);
	if (sleep)
		thread_yield();
	else
		cpu_relax();
	EXPECT(w->test, READ_ONCE(b->state) == ALIVE);
}

/* Some of the readers sleep inside, which is what SRCU is for. */
static void srcu_reader(struct selftest_worker *w)
{
	u64 seen = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		u32 index = srcu_read_lock(&domain);

		look(w, seen++ % 3 == 0);
		srcu_read_unlock(&domain, index);
		if (seen % 16 == 0)
			thread_yield();
	}
	__atomic_fetch_add(&visits, seen, __ATOMIC_SEQ_CST);
}

/* In turns as in an exit and as under a spin lock. */
static void rcu_reader(struct selftest_worker *w)
{
	u64 seen = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		bool irqs_off = seen++ % 2, on = irqs_off && irq_save();

		preempt_disable();
		rcu_read_lock();
		look(w, false);
		rcu_read_unlock();
		preempt_enable();
		if (irqs_off)
			irq_restore(on);
		if (seen % 16 == 0)
			thread_yield();
	}
	__atomic_fetch_add(&visits, seen, __ATOMIC_SEQ_CST);
}

static void srcu_worker(struct selftest_worker *w)
{
	if (w->index == 0)
		synchronize_writer(w->test);
	else
		srcu_reader(w);
}

static void srcu_call_worker(struct selftest_worker *w)
{
	if (w->index == 0)
		call_writer(w->test, true);
	else
		srcu_reader(w);
}

static void rcu_call_worker(struct selftest_worker *w)
{
	if (w->index == 0)
		call_writer(w->test, false);
	else
		rcu_reader(w);
}

static void test_srcu(struct selftest *t)
{
	begin();
	selftest_on_all(t, 2, srcu_worker, NULL);
	EXPECT(t, visits > 0);
	srcu_destroy(&domain);
	selftest_note(t, "%u grace periods, %lu reads", GRACE_PERIODS, visits);
}

static void test_srcu_call(struct selftest *t)
{
	begin();
	selftest_on_all(t, 2, srcu_call_worker, NULL);
	EXPECT(t, visits > 0);
	srcu_destroy(&domain);
	selftest_note(t, "%u calls in %lu grace periods, %lu reads", CALLS, domain.grace_periods,
		      visits);
}

static void test_rcu(struct selftest *t)
{
	struct rcu_stats before, after;

	begin();
	rcu_get_stats(&before);
	selftest_on_all(t, 2, rcu_call_worker, NULL);
	rcu_get_stats(&after);
	EXPECT(t, visits > 0);
	EXPECT(t, after.callbacks - before.callbacks == CALLS);
	selftest_note(t, "%u calls in %lu grace periods, %lu reads", CALLS,
		      after.grace_periods - before.grace_periods, visits);
}

/* Nobody reads: a grace period is two looks at the counters, whatever else runs. */
static void test_expedited(struct selftest *t)
{
	u64 start, cost_wait, cost_rcu, cost_srcu;
	bool on;

	begin();
	start = rdtsc();
	for (u32 i = 0; i < COST_ROUNDS; i++)
		srcu_synchronize(&domain);
	cost_wait = rdtsc() - start;
	EXPECT(t, domain.grace_periods == COST_ROUNDS);
	on = irq_save();
	start = rdtsc();
	for (u32 i = 0; i < COST_ROUNDS; i++) {
		rcu_read_lock();
		rcu_read_unlock();
	}
	cost_rcu = rdtsc() - start;
	start = rdtsc();
	for (u32 i = 0; i < COST_ROUNDS; i++)
		srcu_read_unlock(&domain, srcu_read_lock(&domain));
	cost_srcu = rdtsc() - start;
	irq_restore(on);
	selftest_note(t, "cycles: %lu a grace period, %lu an RCU section, %lu an SRCU section",
		      cost_wait / COST_ROUNDS, cost_rcu / COST_ROUNDS, cost_srcu / COST_ROUNDS);
}

const struct selftest_case selftest_srcu[] = {
	{"srcu", test_srcu, false}, {"srcu-call", test_srcu_call, false},
	{"rcu", test_rcu, false},   {"srcu-expedited", test_expedited, false},
	{NULL, NULL, false},
};
