/* SPDX-License-Identifier: MIT */
/* A sorted list: a CPU has a handful of timers, and most are armed to be the last. */
#include "smp/timer_queue.h"

void timer_queue_init(struct timer_queue *q)
{
	spin_init(&q->lock, "timer queue", LOCK_TIMER);
	list_init(&q->timers);
}

bool timer_queue_insert(struct timer_queue *q, struct timer *t)
{
	struct list *at = q->timers.prev;

	while (at != &q->timers && list_entry(at, struct timer, link)->deadline_ns > t->deadline_ns)
		at = at->prev;
	list_insert(&t->link, at, at->next);
	t->pending = true;
	return at == &q->timers;
}

void timer_queue_remove(struct timer *t)
{
	if (!t->pending)
		return;
	list_del(&t->link);
	t->pending = false;
}

struct timer *timer_queue_pop(struct timer_queue *q, u64 now_ns)
{
	struct timer *t;

	if (timer_queue_next(q) > now_ns || list_empty(&q->timers))
		return NULL;
	t = list_first(&q->timers, struct timer, link);
	timer_queue_remove(t);
	return t;
}

u64 timer_queue_next(const struct timer_queue *q)
{
	return list_empty(&q->timers) ? TIMER_NEVER
				      : list_first(&q->timers, struct timer, link)->deadline_ns;
}
