/* SPDX-License-Identifier: MIT */
/* Self-test of SRCU: nothing that a reader may still see is taken away. */
#include "kernel/selftest_private.h"
#include "smp/srcu.h"
#include "smp/thread.h"

#define GRACE_PERIODS 30
#define BOXES	      4
#define ALIVE	      0x600dull
#define DEAD	      0xdeadull

struct box {
	u64 state;
};

static struct srcu domain;
static struct box boxes[BOXES];
static struct box *published;
static u32 stop;   /* atomic */
static u64 visits; /* atomic */

static void writer(struct selftest *t)
{
	for (u32 i = 1; i <= GRACE_PERIODS; i++) {
		struct box *old = published, *fresh = &boxes[i % BOXES];

		EXPECT(t, old != fresh);
		WRITE_ONCE(fresh->state, ALIVE);
		rcu_assign_pointer(published, fresh);
		srcu_synchronize(&domain);
		WRITE_ONCE(old->state, DEAD);
		thread_yield();
	}
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
}

/* Some of the readers sleep inside, which is what SRCU is for. */
static void reader(struct selftest_worker *w)
{
	u64 seen = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		u32 index = srcu_read_lock(&domain);
		struct box *b = rcu_dereference(published);

		EXPECT(w->test, READ_ONCE(b->state) == ALIVE);
		if (seen++ % 3 == 0)
			thread_yield();
		EXPECT(w->test, READ_ONCE(b->state) == ALIVE);
		srcu_read_unlock(&domain, index);
		if (seen % 16 == 0)
			thread_yield();
	}
	__atomic_fetch_add(&visits, seen, __ATOMIC_SEQ_CST);
}

static void srcu_worker(struct selftest_worker *w)
{
	if (w->index == 0)
		writer(w->test);
	else
		reader(w);
}

static void test_srcu(struct selftest *t)
{
	srcu_init(&domain);
	boxes[0].state = ALIVE;
	published = &boxes[0];
	stop = 0;
	visits = 0;
	selftest_on_all(t, 2, srcu_worker, NULL);
	EXPECT(t, visits > 0);
	selftest_note(t, "%u grace periods, %lu reads", GRACE_PERIODS, visits);
}

const struct selftest_case selftest_srcu[] = {
	{"srcu", test_srcu, false},
	{NULL, NULL, false},
};
