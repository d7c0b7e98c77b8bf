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
	__atomic_store_n(&m->holder, this_cpu()->current, __ATOMIC_RELAXED);
	return true;
}

void mutex_lock(struct mutex *m)
{
	lock_order_sleep_check(m->name, m->level);
	wait_event(&m->waiters, take(m));
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
	bool on;

	lock_order_sleep_dropped(m);
	on = wait_lock(&m->waiters);
	BUG_ON(!m->held || m->holder != this_cpu()->current);
	m->held = false;
	__atomic_store_n(&m->holder, NULL, __ATOMIC_RELAXED);
	wait_wake_one_locked(&m->waiters);
	wait_unlock(&m->waiters, on);
}

bool mutex_held(const struct mutex *m)
{
	struct thread *me = this_cpu()->current;

	/* Before there are threads, who holds it is nobody. */
	return __atomic_load_n(&m->holder, __ATOMIC_RELAXED) == me && (me || m->held);
}

void rwsem_init(struct rwsem *s, const char *name, enum lock_level level)
{
	*s = (struct rwsem){.name = name, .level = level};
	wait_queue_init(&s->waiters);
}

/* Readers queue behind a writer that waits, so that a stream of readers does not starve it. */
static bool take_read(struct rwsem *s)
{
	if (s->readers < 0 || s->writers_waiting)
		return false;
	s->readers++;
	return true;
}

static bool take_write(struct rwsem *s)
{
	if (s->readers)
		return false;
	s->readers = -1;
	s->writers_waiting--;
	return true;
}

void rwsem_read_lock(struct rwsem *s)
{
	lock_order_sleep_check(s->name, s->level);
	wait_event(&s->waiters, take_read(s));
	lock_order_sleep_taken(s, s->name, s->level);
}

void rwsem_write_lock(struct rwsem *s)
{
	bool on;

	lock_order_sleep_check(s->name, s->level);
	on = wait_lock(&s->waiters);
	s->writers_waiting++;
	while (!take_write(s))
		wait_sleep(&s->waiters, &on);
	wait_unlock(&s->waiters, on);
	lock_order_sleep_taken(s, s->name, s->level);
}

void rwsem_read_unlock(struct rwsem *s)
{
	bool on;

	lock_order_sleep_dropped(s);
	on = wait_lock(&s->waiters);
	BUG_ON(s->readers <= 0);
	if (--s->readers == 0)
		wait_wake_all_locked(&s->waiters);
	wait_unlock(&s->waiters, on);
}

void rwsem_write_unlock(struct rwsem *s)
{
	bool on;

	lock_order_sleep_dropped(s);
	on = wait_lock(&s->waiters);
	BUG_ON(s->readers != -1);
	s->readers = 0;
	wait_wake_all_locked(&s->waiters);
	wait_unlock(&s->waiters, on);
}
