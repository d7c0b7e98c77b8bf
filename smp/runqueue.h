/* SPDX-License-Identifier: MIT */
/*
 * A CPU's run queue: which of its threads is next, and when its CPU must be told of a new one.
 * Pure decisions; thread.c does the switching. All under the queue's lock (LOCK_RUNQUEUE).
 */
#ifndef SMP_RUNQUEUE_H
#define SMP_RUNQUEUE_H

#include "smp/thread.h"

struct runqueue {
	struct spinlock lock;
	/* lock */
	struct list runnable; /* neither the running thread nor the idle one */
	u32 queued;	      /* length of runnable; may be read without the lock */
	struct thread *idle;
};

void runqueue_init(struct runqueue *rq, struct thread *idle);

/*
 * Wakes t, or remembers the wake when it does not sleep. true: the CPU has to be told, for the
 * queue was empty: it may be idle, or run one thread without a time slice. When others are
 * queued already it is going to look by itself.
 */
bool runqueue_wake(struct runqueue *rq, struct thread *t);

/* prev, which runs, is about to sleep. false: a wake was remembered, and it goes on. */
bool runqueue_block(struct runqueue *rq, struct thread *prev);

/*
 * What runs after prev: the longest queued thread, prev itself when nobody else is there, or the
 * idle thread. prev goes to the end of the queue if it still runs.
 */
struct thread *runqueue_next(struct runqueue *rq, struct thread *prev);

#endif
