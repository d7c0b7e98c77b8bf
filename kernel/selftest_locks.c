/* SPDX-License-Identifier: MIT */
/* Self-tests of locks: exclusion under contention, and that a wrong order is noticed. */
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "smp/mutex.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define SPIN_ROUNDS  600
#define MUTEX_ROUNDS 100
#define RWSEM_ROUNDS 80
#define NS_PER_MS    1000000ull

struct contended {
	struct spinlock outer, inner;
	struct mutex mutex;
	struct rwsem rwsem;
	u64 count;		   /* the lock under test */
	u32 readers, readers_most; /* atomic */
	u32 writers;		   /* atomic */
};

static struct contended shared;

/* A load and a store, so that two who are inside at once lose counts. */
static void count_slowly(u64 *count)
{
	u64 v = READ_ONCE(*count);

	cpu_relax();
	WRITE_ONCE(*count, v + 1);
}

static void spin_worker(struct selftest_worker *w)
{
	struct contended *c = w->shared;

	for (u32 i = 0; i < SPIN_ROUNDS; i++) {
		if (i % 2) {
			bool on = spin_lock_irqsave(&c->outer);

			spin_lock(&c->inner);
			count_slowly(&c->count);
			spin_unlock(&c->inner);
			spin_unlock_irqrestore(&c->outer, on);
		} else {
			bool on = irq_save();

			if (spin_trylock(&c->outer)) {
				count_slowly(&c->count);
				spin_unlock(&c->outer);
			} else {
				spin_lock(&c->outer);
				count_slowly(&c->count);
				spin_unlock(&c->outer);
			}
			irq_restore(on);
		}
	}
}

static void test_spinlock(struct selftest *t)
{
	memset(&shared, 0, sizeof(shared));
	spin_init(&shared.outer, "selftest outer", LOCK_RMAP);
	spin_init(&shared.inner, "selftest inner", LOCK_GENERATION);
	selftest_on_all(t, 2, spin_worker, &shared);
	EXPECT(t, shared.count == (u64)selftest_workers(2) * SPIN_ROUNDS);

	spin_lock(&shared.outer);
	EXPECT(t, spin_held(&shared.outer));
	EXPECT(t, !spin_trylock(&shared.outer));
	EXPECT(t, this_cpu()->preempt_off == 1);
	spin_unlock(&shared.outer);
	EXPECT(t, !spin_held(&shared.outer));
	EXPECT(t, this_cpu()->preempt_off == 0);
	selftest_note(t, "%lu acquisitions", shared.count);
}

/* Debug builds keep the stacks that this looks at; others have nothing to test. */
static void test_lock_order(struct selftest *t)
{
#if defined(WEIR_DEBUG) && WEIR_DEBUG
	struct spinlock low, high, irq;
	struct lock_breach b;
	struct mutex m;
	bool on;

	spin_init(&low, "low", LOCK_RMAP);
	spin_init(&high, "high", LOCK_GENERATION);
	spin_init(&irq, "irq", LOCK_ZONE);
	mutex_init(&m, "mutex", LOCK_DEVICE);

	EXPECT(t, lock_order_spin_ok(&low, &b));
	spin_lock(&low);
	EXPECT(t, lock_order_spin_ok(&high, &b));
	spin_lock(&high);
	EXPECT(t, !lock_order_spin_ok(&low, &b) && b.held && b.held->lock == &high);
	EXPECT(t, !lock_order_spin_ok(&high, &b));
	spin_unlock(&high);
	spin_unlock(&low);

	mutex_lock(&m);
	EXPECT(t, !lock_order_sleep_ok(LOCK_VM, &b) && b.held && b.held->lock == &m);
	EXPECT(t, lock_order_sleep_ok(LOCK_DEVICE + 1, &b));
	EXPECT(t, lock_order_spin_ok(&low, &b));
	mutex_unlock(&m);
	EXPECT(t, lock_order_sleep_ok(LOCK_VM, &b));

	/* high was taken with interrupts on: an interrupt's lock may not be held around it. */
	irq.level = LOCK_MMU;
	irq.usage = LOCK_USAGE_IN_INTERRUPT;
	EXPECT(t, !lock_order_spin_ok(&irq, &b) && !b.held);
	on = spin_lock_irqsave(&irq);
	EXPECT(t, !lock_order_spin_ok(&high, &b) && b.held && b.held->lock == &irq);
	spin_unlock_irqrestore(&irq, on);
	EXPECT(t, this_cpu()->spin_locks.count == 0);
#else
	selftest_skip(t, "this build does not check it");
#endif
}

static void mutex_worker(struct selftest_worker *w)
{
	struct contended *c = w->shared;

	for (u32 i = 0; i < MUTEX_ROUNDS; i++) {
		u64 v;

		mutex_lock(&c->mutex);
		EXPECT(w->test, mutex_held(&c->mutex));
		v = READ_ONCE(c->count);
		if (i % 8 == 0)
			thread_yield();
		WRITE_ONCE(c->count, v + 1);
		mutex_unlock(&c->mutex);
	}
}

static void test_mutex(struct selftest *t)
{
	memset(&shared, 0, sizeof(shared));
	mutex_init(&shared.mutex, "selftest mutex", LOCK_VM);
	selftest_on_all(t, 3, mutex_worker, &shared);
	EXPECT(t, shared.count == (u64)selftest_workers(3) * MUTEX_ROUNDS);
	EXPECT(t, !mutex_held(&shared.mutex));
	EXPECT(t, mutex_trylock(&shared.mutex));
	mutex_unlock(&shared.mutex);
	selftest_note(t, "%lu acquisitions", shared.count);
}

static void note_most(u32 *most, u32 now)
{
	u32 old = __atomic_load_n(most, __ATOMIC_RELAXED);

	while (now > old && !__atomic_compare_exchange_n(most, &old, now, false, __ATOMIC_RELAXED,
							 __ATOMIC_RELAXED))
		;
}

static void rwsem_worker(struct selftest_worker *w)
{
	struct contended *c = w->shared;

	for (u32 i = 0; i < RWSEM_ROUNDS; i++) {
		if ((i + w->index) % 8) {
			rwsem_read_lock(&c->rwsem);
			note_most(&c->readers_most,
				  __atomic_add_fetch(&c->readers, 1, __ATOMIC_SEQ_CST));
			EXPECT(w->test, __atomic_load_n(&c->writers, __ATOMIC_SEQ_CST) == 0);
			if (i % 4 == 0)
				thread_yield();
			__atomic_sub_fetch(&c->readers, 1, __ATOMIC_SEQ_CST);
			rwsem_read_unlock(&c->rwsem);
		} else {
			rwsem_write_lock(&c->rwsem);
			EXPECT(w->test, __atomic_add_fetch(&c->writers, 1, __ATOMIC_SEQ_CST) == 1);
			EXPECT(w->test, __atomic_load_n(&c->readers, __ATOMIC_SEQ_CST) == 0);
			count_slowly(&c->count);
			__atomic_sub_fetch(&c->writers, 1, __ATOMIC_SEQ_CST);
			rwsem_write_unlock(&c->rwsem);
		}
	}
}

static void test_rwsem(struct selftest *t)
{
	memset(&shared, 0, sizeof(shared));
	rwsem_init(&shared.rwsem, "selftest rwsem", LOCK_MEM_SEM);
	selftest_on_all(t, 3, rwsem_worker, &shared);
	EXPECT(t, shared.count == (u64)selftest_workers(3) * RWSEM_ROUNDS / 8);
	EXPECT(t, shared.readers_most > 1);
	selftest_note(t, "up to %u readers at once", shared.readers_most);
}

/* Readers that overlap without end must not keep a writer out. */
static u32 starve_stop; /* atomic */

static void greedy_reader(struct selftest_worker *w)
{
	struct contended *c = w->shared;
	u64 end = clock_ns() + 20000 * NS_PER_MS;

	if (w->index == 0) {
		thread_sleep_until(clock_ns() + NS_PER_MS);
		rwsem_write_lock(&c->rwsem);
		__atomic_store_n(&starve_stop, 1, __ATOMIC_SEQ_CST);
		rwsem_write_unlock(&c->rwsem);
		return;
	}
	while (!__atomic_load_n(&starve_stop, __ATOMIC_SEQ_CST)) {
		rwsem_read_lock(&c->rwsem);
		thread_yield();
		rwsem_read_unlock(&c->rwsem);
		if (!EXPECT(w->test, clock_ns() < end))
			return;
	}
}

static void test_rwsem_writer(struct selftest *t)
{
	memset(&shared, 0, sizeof(shared));
	rwsem_init(&shared.rwsem, "selftest rwsem", LOCK_MEM_SEM);
	starve_stop = 0;
	selftest_on_all(t, 3, greedy_reader, &shared);
}

/* Ends in a panic: for the boot tests. */
static void test_panic_order(struct selftest *t)
{
	struct spinlock low, high;

	(void)t;
	spin_init(&low, "the lower lock", LOCK_RMAP);
	spin_init(&high, "the higher lock", LOCK_GENERATION);
	spin_lock(&high);
	spin_lock(&low);
}

const struct selftest_case selftest_locks[] = {
	{"spinlock", test_spinlock, false},
	{"lock-order", test_lock_order, false},
	{"mutex", test_mutex, false},
	{"rwsem", test_rwsem, false},
	{"rwsem-writer", test_rwsem_writer, false},
	{"panic-lock-order", test_panic_order, true},
	{NULL, NULL, false},
};
