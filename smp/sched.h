/* SPDX-License-Identifier: MIT */
/*
 * Which CPU runs which thread: a run queue for each CPU, waking, and the way from one to another.
 * thread.c switches stacks as this decides. smp/ only.
 *
 * The lock of a run queue guards the threads that belong to it (thread.cpu), asleep or not. No two
 * such locks are held together: a thread on its way is MOVING and belongs to who moves it; a wake
 * finds it so, and is remembered. Only a thread that runs nowhere moves, which on_cpu says: it falls
 * once its registers are saved, so that it can be woken before, but not taken.
 */
#ifndef SMP_SCHED_H
#define SMP_SCHED_H

#include "kernel/base/stat.h"
#include "smp/runqueue.h"
#include "smp/timer.h"

#define SCHED_STEAL_NS 4000000ull /* time owed to a thread for which it moves to a busy CPU */
#define SCHED_FETCH_NS \
	500000ull /* how long a thread has not run that is fetched to run in place of another */

enum schedule_why {
	SCHEDULE_PREEMPT,
	SCHEDULE_YIELD,
	SCHEDULE_BLOCK,
	SCHEDULE_PARK, /* its group is throttled; returns at once if that is over */
	SCHEDULE_EXIT,
};

#define SCHED_STATS(X)                                                                            \
	X(switches, "count", "Times a CPU went from one thread to another.")                      \
	X(wakes, "count", "Threads that were woken and had to run.")                              \
	X(placed, "count", "Threads that were woken on another CPU than they slept on.")          \
	X(pulled, "count", "Threads that a CPU with nothing to do took from another.")            \
	X(stolen, "count", "Threads that a busy CPU took because they were owed time elsewhere.") \
	X(yielded_to, "count", "Times a thread let one go first that waited for the same CPU.")   \
	X(fetched, "count", "Threads that came from another CPU's queue to run in place of one.") \
	X(parked, "count", "Times a thread waited for the next period, its group's cap used up.") \
	X(left, "count", "Threads whose state had to leave a CPU before they went.")              \
	X(wait_1us, "count", "Wake-ups after which the thread ran within 1 us.")                  \
	X(wait_4us, "count", "Wake-ups after which the thread ran within 1 to 4 us.")             \
	X(wait_16us, "count", "Wake-ups after which the thread ran within 4 to 16 us.")           \
	X(wait_64us, "count", "Wake-ups after which the thread ran within 16 to 64 us.")          \
	X(wait_256us, "count", "Wake-ups after which the thread ran within 64 to 256 us.")        \
	X(wait_1ms, "count", "Wake-ups after which the thread ran within 256 us to 1 ms.")        \
	X(wait_4ms, "count", "Wake-ups after which the thread ran within 1 to 4 ms.")             \
	X(wait_16ms, "count", "Wake-ups after which the thread ran within 4 to 16 ms.")           \
	X(wait_longer, "count", "Wake-ups after which the thread ran after more than 16 ms.")     \
	X(wait_max, "ns", "The longest that a thread waited between a wake-up and the CPU.",      \
	  STAT_LEVEL)

struct sched_stats {
	SCHED_STATS(STAT_FIELD)
};

struct scheduler {
	struct runqueue rq;
	struct list departures;	  /* rq.lock: MOVING threads whose state this CPU still holds */
	struct list parked;	  /* rq.lock */
	u32 threads;		  /* atomic: those that belong to rq */
	u32 coming;		  /* atomic: threads on their way here from departures elsewhere */
	struct sched_stats stats; /* own CPU's, but for those of waking: atomic */
	/* own CPU, interrupts off */
	struct cpu *cpu;
	struct thread *previous; /* who was switched out, for who is switched in */
	bool previous_dead;
	struct thread *wanted; /* whom the next yield is for; or NULL */
	struct timer slice;
	bool slice_runs;  /* atomic: others look, too; someone waits for its end */
	bool cap_runs;	  /* the timer is set, and no later than the cap is to be looked at */
	bool slice_over;  /* time to look at what the others have */
	u64 looked_ns;	  /* when it last did */
	bool call_others; /* and, once it has switched, to have them look here */
	bool missed;	  /* one that is owed time here was running there: look again soon */
} __aligned(64);

extern struct scheduler schedulers[CPU_MAX];
extern struct stat_group sched_stat_group;

static inline struct scheduler *scheduler_of(const struct cpu *cpu)
{
	return &schedulers[cpu->id];
}

/* Own CPU, interrupts off, once. current: what runs now. */
void sched_init_cpu(struct thread *idle, struct thread *current);

/* thread_wake without its last step: this CPU's need_resched may be set. Interrupts off. */
void sched_wake(struct thread *t);

/* thread_lift, likewise; by may be negative. */
void sched_lift(struct thread *t, s32 by);

/* thread_hurry (by: 1) and thread_hurry_no_more (-1), likewise. */
void sched_hurry(struct thread *t, s32 by, u64 most_ns);

/*
 * What runs after prev on this CPU: it has been made current in the run queue. prev itself: it goes
 * on, for nobody comes before it, or a wake was remembered and no other is due. Interrupts off.
 */
struct thread *sched_next(struct thread *prev, enum schedule_why why);
/* The next SCHEDULE_YIELD of this CPU is for t, which is fetched where it waits elsewhere. Interrupts off. */
void sched_want(struct thread *t);
/* First thing after the switch, interrupts off: the one that was switched out may be taken. Returns
 * it if that was its last time on the CPU. */
struct thread *sched_switched(void);

/* sched_rest.c: t has come to run, on this CPU, interrupts off and no lock held. */
void sched_rest_over(const struct thread *t);

/* Own CPU, interrupts off: the slice runs while someone waits for its end. */
void sched_start_slice(void);
/* The kick arrived. Own CPU, interrupts off. */
void sched_kicked(void);
/* Own CPU, interrupts off, idle: something is to be run. */
bool sched_has_work(void);

/*
 * From a queue that is locked and does not have t any more (t runs nowhere) to that of `to`, which
 * may be the same. Unlocks. t may have run and been freed when it returns.
 */
void sched_send(struct scheduler *from, struct thread *t, struct scheduler *to, s64 ahead);

/* The parked threads of a group go on. Interrupts off. */
void sched_unpark(struct sched_group *g);

/* --- balance.c: all own CPU, interrupts off, no queue locked unless it says so --- */

/* Where t, which belongs to `from`, is to be woken. from's queue is locked. */
struct scheduler *balance_place(struct scheduler *from, const struct thread *t);
/* Nothing to do here: asks the busiest CPU for a thread. true: one has come. */
bool balance_pull(struct scheduler *me);
/*
 * Takes a thread that is owed so much more than those here: SCHED_STEAL_NS at the end of a slice, else
 * SCHED_CREDIT_NS, which is as much as it brings along. Or me->missed.
 */
void balance_steal(struct scheduler *me, u64 owed_ns);
/*
 * t, of another queue, comes here to run in place of who yields to it, if it may, waits for long, and
 * is not further before its queue's clock than runqueue_next lets one come first. false: it does not.
 */
bool balance_fetch(struct scheduler *me, struct thread *t);
/* Others have more than one thread, of which some may come here. */
bool balance_wanted(const struct scheduler *me);
/* Threads wait here at the end of a slice: wakes CPUs that could help. */
void balance_call_others(struct scheduler *me);
/*
 * The clock furthest behind of those CPUs that more than one thread competes for, some of which may
 * come here; me's, if that is before it. Where threads may not go everywhere clocks differ for
 * good: one that runs away must not take others with it.
 */
u64 balance_clock(const struct scheduler *me);

#endif
