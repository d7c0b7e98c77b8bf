/* SPDX-License-Identifier: MIT */
/*
 * Wait queues. wait_event sleeps until the condition holds; it is evaluated with the queue's lock
 * held (LOCK_WAIT), so it may take only higher locks. Sleeping: thread context, no spin lock.
 * Waking: any context, may be under any lock below LOCK_WAIT.
 */
#ifndef SMP_WAIT_H
#define SMP_WAIT_H

#include "kernel/base/list.h"
#include "smp/spinlock.h"

struct wait_queue {
	struct spinlock lock;
	struct list waiters; /* lock */
};

/* Of a queue that is static. */
#define WAIT_QUEUE_INIT(q)                                                      \
	{                                                                       \
		SPINLOCK_INIT("wait queue", LOCK_WAIT), LIST_INIT((q).waiters), \
	}

struct waiter {
	struct list link;
	struct thread *thread;
	bool woken;
};

void wait_queue_init(struct wait_queue *q);
void wait_wake_one(struct wait_queue *q);
void wait_wake_all(struct wait_queue *q);
/* The same for a caller that holds the queue by wait_lock. Who was woken, or NULL: nobody waits. */
struct thread *wait_wake_one_locked(struct wait_queue *q);
void wait_wake_all_locked(struct wait_queue *q);

/* The pieces of wait_event; not for use elsewhere. wait_sleep drops and retakes q->lock. */
bool wait_lock(struct wait_queue *q);
void wait_unlock(struct wait_queue *q, bool irqs_on);
void wait_sleep(struct wait_queue *q, bool *irqs_on);
bool wait_sleep_until(struct wait_queue *q, bool *irqs_on, u64 deadline_ns); /* false: time out */

#define wait_event(q, cond)                           \
	do {                                          \
		bool wait_irqs_ = wait_lock(q);       \
		while (!(cond))                       \
			wait_sleep((q), &wait_irqs_); \
		wait_unlock((q), wait_irqs_);         \
	} while (0)

/*
 * True when the condition held, false when the deadline (clock_ns) passed first. That is looked at once:
 * wakes that were meant for something else do not put it off.
 */
#define wait_event_until(q, cond, deadline_ns)                                     \
	({                                                                         \
		const u64 wait_deadline_ = (deadline_ns);                          \
		bool wait_irqs_ = wait_lock(q), wait_ok_ = true;                   \
		while (!(cond)) {                                                  \
			if (!wait_sleep_until((q), &wait_irqs_, wait_deadline_)) { \
				wait_ok_ = (cond);                                 \
				break;                                             \
			}                                                          \
		}                                                                  \
		wait_unlock((q), wait_irqs_);                                      \
		wait_ok_;                                                          \
	})

#endif
