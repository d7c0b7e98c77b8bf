/* SPDX-License-Identifier: MIT */
/*
 * smp/wait.h on host threads: each waiter sleeps on one condition variable that all queues share,
 * which is crude and correct. The queue's own spin lock guards its list, as on the target.
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include "smp/thread.h"
#include "smp/timer.h"
#include "smp/wait.h"
#include "kernel/base/x86.h"

#define NS_PER_SECOND 1000000000ll

static pthread_mutex_t sleep_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sleep_cond = PTHREAD_COND_INITIALIZER;

void wait_queue_init(struct wait_queue *q)
{
	spin_init(&q->lock, "wait queue", LOCK_WAIT);
	list_init(&q->waiters);
}

/* q->lock held; w->woken is also read without it, under sleep_mutex. */
static void wake(struct waiter *w)
{
	list_del(&w->link);
	pthread_mutex_lock(&sleep_mutex);
	w->woken = true;
	pthread_cond_broadcast(&sleep_cond);
	pthread_mutex_unlock(&sleep_mutex);
}

void wait_wake_one(struct wait_queue *q)
{
	bool on = spin_lock_irqsave(&q->lock);

	if (!list_empty(&q->waiters))
		wake(list_first(&q->waiters, struct waiter, link));
	spin_unlock_irqrestore(&q->lock, on);
}

void wait_wake_all(struct wait_queue *q)
{
	bool on = spin_lock_irqsave(&q->lock);

	while (!list_empty(&q->waiters))
		wake(list_first(&q->waiters, struct waiter, link));
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
	struct waiter self = {.thread = NULL};
	struct timespec until;
	s64 left = 0;
	bool woken;

	list_add_tail(&self.link, &q->waiters);
	spin_unlock_irqrestore(&q->lock, *irqs_on);
	if (deadline_ns != ~0ull) {
		left = (s64)(deadline_ns - clock_ns());
		clock_gettime(CLOCK_REALTIME, &until);
		left = max(left, 0ll) + until.tv_nsec;
		until.tv_sec += left / NS_PER_SECOND;
		until.tv_nsec = left % NS_PER_SECOND;
	}
	pthread_mutex_lock(&sleep_mutex);
	while (!self.woken) {
		if (deadline_ns == ~0ull)
			pthread_cond_wait(&sleep_cond, &sleep_mutex);
		else if (pthread_cond_timedwait(&sleep_cond, &sleep_mutex, &until) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&sleep_mutex);
	*irqs_on = spin_lock_irqsave(&q->lock);
	woken = self.woken;
	if (!woken)
		list_del(&self.link);
	return woken;
}

void wait_sleep(struct wait_queue *q, bool *irqs_on)
{
	wait_sleep_until(q, irqs_on, ~0ull);
}
