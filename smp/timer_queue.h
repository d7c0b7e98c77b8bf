/* SPDX-License-Identifier: MIT */
/* A CPU's timers in the order they fire. Pure; all under the queue's lock (LOCK_TIMER). */
#ifndef SMP_TIMER_QUEUE_H
#define SMP_TIMER_QUEUE_H

#include "smp/spinlock.h"
#include "smp/timer.h"

#define TIMER_NEVER (~0ull)

struct timer_queue {
	struct spinlock lock;
	struct vtree tree;   /* by deadline; equal ones in the order they were armed */
	struct timer *first; /* or NULL */
};

void timer_queue_init(struct timer_queue *q);
/* Queues t, which is not queued. true: it is now the first, so the alarm must be set anew. */
bool timer_queue_insert(struct timer_queue *q, struct timer *t);
/* Harmless when t, whose queue this is, is not queued. */
void timer_queue_remove(struct timer_queue *q, struct timer *t);
/* Takes out the first whose time has come, or NULL. */
struct timer *timer_queue_pop(struct timer_queue *q, u64 now_ns);
u64 timer_queue_next(const struct timer_queue *q); /* deadline of the first, or TIMER_NEVER */

#endif
