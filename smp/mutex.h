/* SPDX-License-Identifier: MIT */
/*
 * Sleeping locks: mutex and rw-semaphore (writers are not starved). Thread context only, no spin
 * lock held, interrupts on. Levels are checked in debug builds as for spin locks.
 */
#ifndef SMP_MUTEX_H
#define SMP_MUTEX_H

#include "smp/wait.h"

struct mutex {
	struct wait_queue waiters;
	struct thread *holder; /* atomic */
	bool held;
	/* waiters.lock */
	u32 losers;		/* who was woken and came too late */
	u32 lent;		/* to the holder, by those that wait */
	struct thread *hurried; /* the holder, or who was woken for it, if others wait; or NULL */
	enum lock_level level;
	const char *name;
};

void mutex_init(struct mutex *m, const char *name, enum lock_level level);
/*
 * Who waits lends the holder its weight until that lets go, where it is none of a group's threads
 * (thread_lend). Those that wait on, then, lend the next holder theirs when they were woken and came too
 * late. A group's thread is hurried instead for a while (thread_hurry), and so is one that is woken for the
 * mutex while others wait behind it: under a mutex that another VM's threads take, too, it is to be no longer
 * than that.
 *
 * Whoever comes as it is free has it, before one that was woken for it and has yet to run. Who lost
 * it so once waits for those that came before, and for no others: from then on it is handed over in
 * the order of the queue. So who takes it again and again keeps nobody out for ever.
 */
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);
bool mutex_held(const struct mutex *m); /* by the calling thread */

/* Goes away only after the last rwsem_read_unlock has returned. */
struct rwsem {
	struct wait_queue waiters;
	/* atomic */
	s32 readers; /* -1: a writer */
	u32 writers_waiting;
	enum lock_level level;
	const char *name;
};

void rwsem_init(struct rwsem *s, const char *name, enum lock_level level);
void rwsem_read_lock(struct rwsem *s);
void rwsem_read_unlock(struct rwsem *s);
void rwsem_write_lock(struct rwsem *s);
void rwsem_write_unlock(struct rwsem *s);

#endif
