/* SPDX-License-Identifier: MIT */
/* smp/mutex.h on host threads, over the same wait queues as on the target; levels are checked. */
#include "kernel/base/panic.h"
#include "smp/mutex.h"
#include "tests/hosted/levels.h"

void mutex_init(struct mutex *m, const char *name, enum lock_level level)
{
	*m = (struct mutex){.name = name, .level = level};
	wait_queue_init(&m->waiters);
}

void mutex_lock(struct mutex *m)
{
	levels_check(m->name, m->level);
	wait_event(&m->waiters, m->held ? false : (m->held = true));
	levels_push(m, m->name, m->level);
}

bool mutex_trylock(struct mutex *m)
{
	bool on = wait_lock(&m->waiters), got = !m->held;

	m->held = true;
	wait_unlock(&m->waiters, on);
	if (got)
		levels_push(m, m->name, m->level);
	return got;
}

void mutex_unlock(struct mutex *m)
{
	bool on;

	levels_pop(m);
	on = wait_lock(&m->waiters);
	m->held = false;
	wait_unlock(&m->waiters, on);
	wait_wake_one(&m->waiters);
}

bool mutex_held(const struct mutex *m)
{
	return levels_held(m);
}

void rwsem_init(struct rwsem *s, const char *name, enum lock_level level)
{
	*s = (struct rwsem){.name = name, .level = level};
	wait_queue_init(&s->waiters);
}

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
	levels_check(s->name, s->level);
	wait_event(&s->waiters, take_read(s));
	levels_push(s, s->name, s->level);
}

void rwsem_write_lock(struct rwsem *s)
{
	bool on;

	levels_check(s->name, s->level);
	on = wait_lock(&s->waiters);
	s->writers_waiting++;
	wait_unlock(&s->waiters, on);
	wait_event(&s->waiters, take_write(s));
	levels_push(s, s->name, s->level);
}

static void release(struct rwsem *s, s32 readers)
{
	bool on;

	levels_pop(s);
	on = wait_lock(&s->waiters);
	BUG_ON(readers < 0 ? s->readers >= 0 : s->readers <= 0);
	s->readers += readers < 0 ? 1 : -1;
	wait_unlock(&s->waiters, on);
	wait_wake_all(&s->waiters);
}

void rwsem_read_unlock(struct rwsem *s)
{
	release(s, 1);
}

void rwsem_write_unlock(struct rwsem *s)
{
	release(s, -1);
}
