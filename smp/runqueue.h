/* SPDX-License-Identifier: MIT */
/*
 * A CPU's run queue: which of its threads is next, for how long, and when its CPU must be told of a
 * new one. Fair by weight: a thread's virtual time advances while it runs, the slower the more it
 * weighs, and whose is least is next. Pure decisions; sched.c keeps one for each CPU and thread.c
 * does the switching. All under the queue's lock (LOCK_RUNQUEUE).
 */
#ifndef SMP_RUNQUEUE_H
#define SMP_RUNQUEUE_H

#include "smp/thread.h"

#define SCHED_LATENCY_NS   20000000ull /* each of a few threads runs once in this time */
#define SCHED_SLICE_MIN_NS 2000000ull  /* with many of them it becomes longer instead */
#define SCHED_SLICE_MAX_NS 10000000ull
#define SCHED_WAKE_NS	   1000000ull  /* who wakes takes the CPU from one this far ahead of it */
#define SCHED_CREDIT_NS	   10000000ull /* what sleeping earns at most: time owed to a thread */
#define SCHED_DEBT_NS	   40000000ull /* what it may owe at most when it comes to a queue */
#define SCHED_HURRY_NS	   30000000ull /* what one puts off that is hurried: with a slice, a debt */

/*
 * The bound of wake-up latency. A thread that wakes has the CPU whose queue it comes to within
 *
 *	the sum, over the others that want it meanwhile, of
 *		SCHED_CREDIT_NS + SCHED_SLICE_MAX_NS + max(SCHED_SLICE_MAX_NS, owed * other / weight)
 *
 * where weight and other are what the two count for (thread_weight), and owed is how far the thread
 * comes after the clock, in time of its own: nothing, if it slept while others used theirs; a slice at
 * most, if it ran last in this queue, or two, if it was yielded to; what others of its group owe here, if
 * that is more, which is as much at most on the average; SCHED_DEBT_NS at most anyhow. For
 * as long as it waits the clock is not after it. An other begins no more than its credit before the
 * clock, and runs while it is not after the thread, and until the end of the slice in which it comes to
 * be; yielded to it begins a slice after the clock at most. Who sleeps meanwhile and wakes gains nothing.
 * An other that is hurried (thread_hurry) runs SCHED_HURRY_NS more; for the operator, until it is done. What
 * the thread has put off itself it owes, and may owe SCHED_DEBT_NS by it, of the least part that it had.
 *
 * To it comes what CPUs do with interrupts or preemption off. The parts of a group are to stay as they
 * are meanwhile: where vCPUs of an other's VM go to sleep, what it was given at one weight it uses at
 * a greater one. A thread that is moved while it waits begins anew in the next queue.
 */
#define SCHED_WAIT_BOUND_NS \
	(SCHED_CREDIT_NS + 2 * SCHED_SLICE_MAX_NS) /* for each other of no more \
									  weight, owing a slice */

/* What is read without the lock: out of date as soon as it is read. */
#define PEEK(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

struct runqueue {
	struct spinlock lock;
	/* lock */
	struct vtree tree; /* runnable, neither the running thread nor the idle one */
	u32 queued;	   /* how many; may be read without the lock */
	u32 movable;	   /* of them, those that may run elsewhere too; likewise */
	u32 spare;	   /* likewise: the same with the running one, where others are queued */
	u32 narrow;	   /* of the movable ones, those that may not run anywhere */
	u32 odd;	   /* of these, those that may not run just on `common` */
	struct cpu_set common; /* where the first of the narrow ones may */
	struct cpu_set reach;  /* where some of `spare` may run; may be read without the lock */
	u64 load;	       /* what they count for, in WEIGHT_UNITs; likewise */
	u64 clock;	/* virtual time: never goes back, no thread here is far from it; likewise */
	u64 charged_ns; /* until when the running thread has paid */
	u64 group_turns;	/* times that a thread of a group left this CPU to another; lock */
	struct thread *current; /* the one that runs; may be read without the lock */
	struct thread *idle;
	u32 cpu; /* its id */
};

enum runqueue_tell {
	TELL_NOTHING, /* it is going to look by itself */
	TELL_SLICE,   /* it runs one thread without a time slice, which now needs one */
	TELL_SWITCH,  /* it is idle, or the new thread is to take the CPU from the running one */
};

enum runqueue_why {
	WHY_PREEMPT, /* the slice is over, or someone who woke comes first: if anyone does */
	WHY_YIELD,   /* prev wants others to run, if there are any */
	WHY_GONE,    /* prev sleeps, is dead, or goes elsewhere: it is not RUNNING any more */
};

void runqueue_init(struct runqueue *rq, u32 cpu, struct thread *idle, u64 now_ns);

/* Virtual time that ns of CPU time are to a thread of this weight (WEIGHT_UNITs). */
u64 runqueue_virtual(u64 ns, u32 weight);
/* What t counts for: its own weight, or its part of its group's. */
u32 thread_weight(const struct thread *t);

/* The running thread pays for its time so far. */
void runqueue_charge(struct runqueue *rq, u64 now_ns);
/*
 * What t has run by now, in ns. Without the lock: t may be charged meanwhile, by another CPU that puts
 * a thread in the queue, too. Of a thread that begins or ends to run meanwhile it is approximate.
 */
u64 runqueue_run_ns(const struct thread *t, u64 now_ns);

/*
 * Virtual time has gone on elsewhere: where there is no competition here it does so here, so that
 * what was saved up alone is not owed to anyone. reference: see balance_clock.
 */
void runqueue_catch_up(struct runqueue *rq, u64 reference);

/*
 * t, which is in no queue, becomes runnable here. ahead: how far its virtual time is before the
 * clock of the queue that it comes from; more than the bounds above is forgotten. One that rested
 * comes no sooner than its group's virtual time here, within the same bounds. Charges.
 */
enum runqueue_tell runqueue_add(struct runqueue *rq, struct thread *t, s64 ahead, u64 now_ns);

/*
 * t, which belongs to this queue, counts for so much more or less from now on (thread.lifted). What it
 * owes, or is owed, stays what it is in time of its own. Charges.
 */
enum runqueue_tell runqueue_lift(struct runqueue *rq, struct thread *t, s32 by, u64 now_ns);

/*
 * t, which belongs to this queue, is waited for by one more, or one less (by: 1 or -1): see thread_hurry. What
 * it owes it puts off, up to most_ns of its own time, or stands for again. Charges. TELL_SWITCH: where t
 * runs others come before it now.
 */
enum runqueue_tell runqueue_hurry(struct runqueue *rq, struct thread *t, s32 by, u64 most_ns,
				  u64 now_ns);

/* Takes a queued thread out, for it goes to another CPU. Charges. */
void runqueue_remove(struct runqueue *rq, struct thread *t, u64 now_ns);

/*
 * What runs after prev, which becomes `current`: prev itself if nobody comes before it, or the idle
 * thread when nobody is there. wanted, of this queue, or NULL: whom prev yields to. It comes before
 * its turn, unless its virtual time is before the queue's clock by more than a slice is to it.
 * Charges.
 */
struct thread *runqueue_next(struct runqueue *rq, struct thread *prev, enum runqueue_why why,
			     struct thread *wanted, u64 now_ns);

/* t, of this queue, may come before its turn: it is not before the clock by more than a slice. */
bool runqueue_may_come_first(const struct runqueue *rq, const struct thread *t);

/* How long the running thread may go on while others wait. */
u64 runqueue_slice(const struct runqueue *rq);

/* The queued threads in their order. NULL: no more. */
struct thread *runqueue_first(const struct runqueue *rq);
struct thread *runqueue_after(const struct runqueue *rq, const struct thread *t);

#endif
