/* SPDX-License-Identifier: MIT */
/*
 * Threads that share one weight: the vCPUs of a VM. A thread's part is the group's weight divided
 * by how many of its threads run or wait for a CPU, wherever they are. Weights only mean something
 * beside each other: of two groups that are always busy, one of twice the weight gets twice the time.
 *
 * A cap is what the threads of a group may use together of each CAP_PERIOD_NS, whoever else wants a
 * CPU. Once it is used up the group is throttled: its threads are parked, each where it holds
 * nothing (thread_may_park), until the next period begins. What they used too much by then they owe
 * to the next one; what they did not use is not saved.
 */
#ifndef SMP_SCHED_GROUP_H
#define SMP_SCHED_GROUP_H

#include "smp/cpu.h"
#include "smp/spinlock.h"
#include "smp/timer.h"

#define WEIGHT_MIN     1
#define WEIGHT_MAX     10000
#define WEIGHT_DEFAULT 100
#define WEIGHT_DAEMON  20 /* of Weir's own threads, while nobody waits for them */
#define WEIGHT_LIFT    (WEIGHT_DEFAULT - WEIGHT_DAEMON) /* and so much more while somebody does */
/* Who counts for less may be long without a CPU. */
#define WEIGHT_SLOW (WEIGHT_DEFAULT / 4)

/* A thread's part of a weight is counted in these. */
#define WEIGHT_UNIT 1024u

#ifndef CAP_PERIOD_NS /* tests shorten it */
#define CAP_PERIOD_NS 100000000ull
#endif
#define CAP_LOOK_NS 500000ull /* at least so long between two looks at what is left */

/* What a CPU's run queue keeps of a group, under its lock. */
struct sched_group_cpu {
	/*
	 * What the group has had here, beside the queue's clock: the mean of what its threads have paid
	 * that run or wait here. Who rested comes no sooner (runqueue_add).
	 */
	u64 vtime;
	u32 runnable; /* how many run or wait here */
};

struct sched_group {
	/* set at creation */
	u32 weight;
	u64 quota_ns; /* of a period; 0: no cap */
	/* atomic */
	u32 threads;  /* that have not ended */
	u32 runnable; /* threads that run or wait for a CPU; changes under the lock */
	bool throttled;
	struct timer refill; /* runs while the group is throttled */
	struct spinlock lock;
	/* lock */
	u64 shared_ns; /* see sched_group_shared; up to: */
	u64 shared_at_ns;
	u64 used_ns;
	u64 period_end_ns;
	u64 refill_ns; /* for when the timer is armed; 0: it is not */
	struct sched_group_cpu cpus[CPU_MAX];
};

/*
 * Weight from WEIGHT_MIN to WEIGHT_MAX; cap in percent of a CPU, 0: none. The group outlives its
 * threads. Thread context; destroy may wait for a timer's function.
 */
void sched_group_init(struct sched_group *g, u32 weight, u32 cap_percent);
void sched_group_destroy(struct sched_group *g);

/* It has one thread more, or less. Any context. */
static inline void sched_group_add(struct sched_group *g)
{
	__atomic_fetch_add(&g->threads, 1, __ATOMIC_RELAXED);
}

static inline void sched_group_remove(struct sched_group *g)
{
	__atomic_fetch_sub(&g->threads, 1, __ATOMIC_RELAXED);
}

/* A thread of it begins or ceases to want a CPU. Interrupts off; a run queue may be locked. */
void sched_group_enter(struct sched_group *g, u64 now_ns);
void sched_group_leave(struct sched_group *g, u64 now_ns);

/*
 * Time in which each ns counts once for each thread that ran or waited then: between two moments,
 * what one of them that ran all the time is to pay for at the group's whole weight. So a stretch
 * has the price of each of its moments, and who sleeps as others' stretches end makes none of them
 * cheaper. Interrupts off; a run queue may be locked.
 */
u64 sched_group_shared(struct sched_group *g, u64 now_ns);

/* What one of its threads counts for now, in WEIGHT_UNITs; never 0. Any context. */
u32 sched_group_part(const struct sched_group *g);

/*
 * What one of its threads may lend while it sleeps, of the weight itself: all of them together no more
 * than that, however many run meanwhile. It may be 0. Any context.
 */
u32 sched_group_loan(const struct sched_group *g);

/* The same, and one of its threads has run for so long: it counts for the cap. */
u64 sched_group_charge(struct sched_group *g, u64 ns, u64 now_ns);

static inline bool sched_group_throttled(const struct sched_group *g)
{
	return __atomic_load_n(&g->throttled, __ATOMIC_RELAXED);
}

/*
 * For how long a thread may run before someone looks at the cap again: where it is used up, until the
 * period ends. ~0: there is none. Interrupts off.
 */
u64 sched_group_left(struct sched_group *g, u64 now_ns);

/* A thread of it was parked: there is an end to that. Interrupts off, no lock held. */
void sched_group_arm(struct sched_group *g);

#endif
