/* SPDX-License-Identifier: MIT */
/*
 * Wait queues. A sleeper's waiter lives on its stack: it is woken under the queue's lock, which
 * the sleeper takes before it goes on, so neither waiter nor thread is gone before its waker is
 * done with it.
 */
#include "smp/thread.h"
#include "smp/timer.h"
#include "smp/wait.h"

#define NO_DEADLINE (~0ull)

void wait_queue_init(struct wait_queue *q)
{
	spin_init(&q->lock, "wait queue", LOCK_WAIT);
	list_init(&q->waiters);
}

struct thread *wait_wake_one_locked(struct wait_queue *q)
{
	struct thread *t;
	struct waiter *w;

	if (list_empty(&q->waiters))
		return NULL;
	w = list_first(&q->waiters, struct waiter, link);
	list_del(&w->link);
	t = w->thread;
	__atomic_store_n(&w->woken, true, __ATOMIC_RELAXED);
	thread_wake(t);
	return t;
}

void wait_wake_all_locked(struct wait_queue *q)
{
	while (!list_empty(&q->waiters))
		wait_wake_one_locked(q);
}

void wait_wake_one(struct wait_queue *q)
{
	bool on = spin_lock_irqsave(&q->lock);

	wait_wake_one_locked(q);
	spin_unlock_irqrestore(&q->lock, on);
}

void wait_wake_all(struct wait_queue *q)
{
	bool on = spin_lock_irqsave(&q->lock);

	wait_wake_all_locked(q);
	spin_unlock_irqrestore(&q->lock, on);
}

bool wait_lock(struct wait_queue *q)
{
	return spin_lock_irqsave(&q->lock);
}

void wait_unlock(struct wait_queue *q, bool irqs_on)
{
	spin_unlock_irqrestore(&q->lock, irqs_on);
}

bool wait_sleep_until(struct wait_queue *q, bool *irqs_on, u64 deadline_ns)
{
	struct waiter self = {.thread = thread_current()};
	bool in_time = true;

	list_add_tail(&self.link, &q->waiters);
	spin_unlock_irqrestore(&q->lock, *irqs_on);
	/* thread_block may return for a wake that was meant for something else. */
	while (!__atomic_load_n(&self.woken, __ATOMIC_RELAXED) && in_time) {
		if (deadline_ns == NO_DEADLINE)
			thread_block();
		else
			in_time = thread_block_until(deadline_ns) || clock_ns() < deadline_ns;
	}
	*irqs_on = spin_lock_irqsave(&q->lock);
	if (!self.woken)
		list_del(&self.link);
	return self.woken;
}

void wait_sleep(struct wait_queue *q, bool *irqs_on)
{
	wait_sleep_until(q, irqs_on, NO_DEADLINE);
}
