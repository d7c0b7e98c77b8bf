/* SPDX-License-Identifier: MIT */
/*
 * Mutex and rw-semaphore over wait queues: the state changes under the queue's lock, in the
 * condition that wait_event looks at.
 */
#include "kernel/base/panic.h"
#include "smp/lock_order.h"
#include "smp/mutex.h"
#include "smp/thread.h"

void mutex_init(struct mutex *m, const char *name, enum lock_level level)
{
	*m = (struct mutex){.name = name, .level = level};
	wait_queue_init(&m->waiters);
}

/* m->waiters held. */
static bool take(struct mutex *m)
{
	if (m->held)
		return false;
	m->held = true;
	__atomic_store_n(&m->holder, thread_current(), __ATOMIC_RELAXED);
	return true;
}

/*
 * m->waiters held. t, of a group, is the one that others wait for, and the one before it is not any more; or
 * nobody is. Both have the mutex, or are in mutex_lock: they have not been freed.
 */
static void hurry(struct mutex *m, struct thread *t)
{
	if (m->hurried == t)
		return;
	if (m->hurried)
		thread_hurry_no_more(m->hurried);
	m->hurried = t;
	if (t)
		thread_hurry(t, HURRY_A_WHILE);
}

static struct thread *in_group(struct thread *t)
{
	return t && t->group ? t : NULL;
}

/* m->waiters held. A holder has not been freed. */
static void lend_holder(struct mutex *m)
{
	hurry(m, in_group(m->holder));
	/* None: from before there were threads. */
	if (m->holder && !m->holder->group)
		m->lent += thread_lend(m->holder);
}

void mutex_lock(struct mutex *m)
{
	bool on, lost = false;

	lock_order_sleep_check(m->name, m->level);
	on = wait_lock(&m->waiters);
	while (!take(m)) {
		lend_holder(m);
		wait_sleep(&m->waiters, &on);
		/* Handed over. */
		if (m->held && m->holder == thread_current())
			break;
		if (m->held && !lost) {
			lost = true;
			m->losers++;
		}
	}
	m->losers -= lost;
	wait_unlock(&m->waiters, on);
	lock_order_sleep_taken(m, m->name, m->level);
}

bool mutex_trylock(struct mutex *m)
{
	bool on = wait_lock(&m->waiters), got = take(m);

	wait_unlock(&m->waiters, on);
	if (got)
		lock_order_sleep_taken(m, m->name, m->level);
	return got;
}

void mutex_unlock(struct mutex *m)
{
	struct thread *woken;
	u32 lent;
	bool on;

	lock_order_sleep_dropped(m);
	on = wait_lock(&m->waiters);
	BUG_ON(!m->held || m->holder != thread_current());
	lent = m->lent;
	m->lent = 0;
	woken = wait_wake_one_locked(&m->waiters);
	m->held = woken && m->losers;
	__atomic_store_n(&m->holder, m->held ? woken : NULL, __ATOMIC_RELAXED);
	/* Those behind it, asleep, wait for it from now on, whether it has it or has yet to take it. */
	hurry(m, list_empty(&m->waiters.waiters) ? NULL : in_group(woken));
	wait_unlock(&m->waiters, on);
	/* Now that whom it kept waiting may run. */
	if (unlikely(lent))
		thread_lower(thread_current(), lent);
}

bool mutex_held(const struct mutex *m)
{
	struct thread *me = thread_current();

	/* Before there are threads, who holds it is nobody. */
	return __atomic_load_n(&m->holder, __ATOMIC_RELAXED) == me && (me || m->held);
}

void rwsem_init(struct rwsem *s, const char *name, enum lock_level level)
{
	*s = (struct rwsem){.name = name, .level = level};
	wait_queue_init(&s->waiters);
}

/*
 * Readers come and go by one atomic add while no writer is about, so that those on several CPUs do
 * not wait for each other. They queue behind a writer that waits: a stream of readers does not
 * starve it.
 */
static bool take_read(struct rwsem *s)
{
	s32 readers = __atomic_load_n(&s->readers, __ATOMIC_RELAXED);

	do {
		if (readers < 0 || __atomic_load_n(&s->writers_waiting, __ATOMIC_SEQ_CST))
			return false;
	} while (!__atomic_compare_exchange_n(&s->readers, &readers, readers + 1, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return true;
}

/* waiters.lock is held. */
static bool take_write(struct rwsem *s)
{
	s32 nobody = 0;

	if (!__atomic_compare_exchange_n(&s->readers, &nobody, -1, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	__atomic_fetch_sub(&s->writers_waiting, 1, __ATOMIC_SEQ_CST);
	return true;
}

void rwsem_read_lock(struct rwsem *s)
{
	lock_order_sleep_check(s->name, s->level);
	if (unlikely(!take_read(s)))
		wait_event(&s->waiters, take_read(s));
	lock_order_sleep_taken(s, s->name, s->level);
}

void rwsem_write_lock(struct rwsem *s)
{
	bool on;

	lock_order_sleep_check(s->name, s->level);
	on = wait_lock(&s->waiters);
	__atomic_fetch_add(&s->writers_waiting, 1, __ATOMIC_SEQ_CST);
	while (!take_write(s))
		wait_sleep(&s->waiters, &on);
	wait_unlock(&s->waiters, on);
	lock_order_sleep_taken(s, s->name, s->level);
}

/*
 * Either this sees that a writer waits, or the writer, which says so before it looks, sees that
 * there are no readers.
 */
void rwsem_read_unlock(struct rwsem *s)
{
	s32 left;

	lock_order_sleep_dropped(s);
	left = __atomic_sub_fetch(&s->readers, 1, __ATOMIC_SEQ_CST);
	BUG_ON(left < 0);
	if (left == 0 && unlikely(__atomic_load_n(&s->writers_waiting, __ATOMIC_SEQ_CST)))
		wait_wake_all(&s->waiters);
}

void rwsem_write_unlock(struct rwsem *s)
{
	bool on;

	lock_order_sleep_dropped(s);
	on = wait_lock(&s->waiters);
	BUG_ON(__atomic_exchange_n(&s->readers, 0, __ATOMIC_SEQ_CST) != -1);
	wait_wake_all_locked(&s->waiters);
	wait_unlock(&s->waiters, on);
}
