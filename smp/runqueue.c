/* SPDX-License-Identifier: MIT */
/* Round robin: who is runnable waits in the order they came. */
#include "kernel/base/panic.h"
#include "smp/runqueue.h"

void runqueue_init(struct runqueue *rq, struct thread *idle)
{
	spin_init(&rq->lock, "run queue", LOCK_RUNQUEUE);
	list_init(&rq->runnable);
	rq->queued = 0;
	rq->idle = idle;
}

static void append(struct runqueue *rq, struct thread *t)
{
	t->state = THREAD_RUNNABLE;
	list_add_tail(&t->run_link, &rq->runnable);
	WRITE_ONCE(rq->queued, rq->queued + 1);
}

bool runqueue_wake(struct runqueue *rq, struct thread *t)
{
	switch (t->state) {
	case THREAD_BLOCKED:
	case THREAD_NEW:
		append(rq, t);
		return rq->queued == 1;
	case THREAD_RUNNING:
	case THREAD_RUNNABLE:
		t->wake_pending = true;
		return false;
	case THREAD_DEAD:
		return false;
	}
	return false;
}

bool runqueue_block(struct runqueue *rq, struct thread *prev)
{
	ASSERT(prev->state == THREAD_RUNNING && prev != rq->idle);
	if (prev->wake_pending) {
		prev->wake_pending = false;
		return false;
	}
	prev->state = THREAD_BLOCKED;
	return true;
}

struct thread *runqueue_next(struct runqueue *rq, struct thread *prev)
{
	struct thread *next = rq->idle;

	if (list_empty(&rq->runnable)) {
		if (prev->state == THREAD_RUNNING)
			return prev;
	} else {
		if (prev->state == THREAD_RUNNING && prev != rq->idle)
			append(rq, prev);
		next = list_first(&rq->runnable, struct thread, run_link);
		list_del(&next->run_link);
		WRITE_ONCE(rq->queued, rq->queued - 1);
	}
	if (prev == rq->idle && next != prev)
		prev->state = THREAD_RUNNABLE;
	next->state = THREAD_RUNNING;
	return next;
}
