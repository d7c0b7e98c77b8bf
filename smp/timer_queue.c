/* SPDX-License-Identifier: MIT */
/*
 * A tree by deadline: how many timers there are is the guests' doing, and whoever arms one has
 * interrupts off meanwhile. The first is kept aside, for every interrupt looks at it.
 */
#include "smp/timer_queue.h"

#define KEY_MOST  \
	(~0ull >> \
	 1) /* the tree's keys may wrap, deadlines do not: those after 292 years are equal */

void timer_queue_init(struct timer_queue *q)
{
	spin_init(&q->lock, "timer queue", LOCK_TIMER);
	vtree_init(&q->tree, 0x85ebca6b);
	q->first = NULL;
}

bool timer_queue_insert(struct timer_queue *q, struct timer *t)
{
	vtree_insert(&q->tree, &t->node, min(t->deadline_ns, KEY_MOST));
	t->pending = true;
	if (q->first && q->first->node.key <= t->node.key)
		return false;
	q->first = t;
	return true;
}

void timer_queue_remove(struct timer_queue *q, struct timer *t)
{
	struct vnode *n;

	if (!t->pending)
		return;
	vtree_remove(&q->tree, &t->node);
	t->pending = false;
	if (q->first != t)
		return;
	n = vtree_first(&q->tree);
	q->first = n ? container_of(n, struct timer, node) : NULL;
}

struct timer *timer_queue_pop(struct timer_queue *q, u64 now_ns)
{
	struct timer *t = q->first;

	if (!t || t->deadline_ns > now_ns)
		return NULL;
	timer_queue_remove(q, t);
	return t;
}

u64 timer_queue_next(const struct timer_queue *q)
{
	return q->first ? q->first->deadline_ns : TIMER_NEVER;
}
