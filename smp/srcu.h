/* SPDX-License-Identifier: MIT */
/*
 * Sleepable RCU: readers mark a section with per-CPU counters and may sleep in it; a writer
 * publishes, then waits until every reader that may have seen the old pointer has left, or leaves
 * that to a callback.
 * A reader never waits for a grace period, of whatever domain (R24), and takes no lock of a level
 * below LOCK_SRCU_READ, such as slots_lock: whoever waits for readers may hold those. Debug
 * builds panic at either.
 */
#ifndef SMP_SRCU_H
#define SMP_SRCU_H

#include "smp/cpu.h"
#include "smp/rcu.h"
#include "smp/wait.h"

struct srcu_count {
	u64 lock[2];
	u64 unlock[2];
} __aligned(64);

struct srcu {
	struct srcu_count cpu[CPU_MAX];
	/* atomic; readers look at these */
	u32 index;	 /* which pair new readers use; only its low bit */
	u32 draining;	 /* 1 + the pair whose readers wake someone as they leave; 0: none */
	bool calls_wait; /* the worker is to be told of progress */
	struct wait_queue drain __aligned(64);
	/* drain.lock */
	u64 grace_periods; /* that have ended; atomic too */
	u64 wanted;	   /* the last one that someone waits for */
	bool under_way;	   /* number grace_periods + 1 has begun */
	bool flipped;	   /* and the index was flipped for it */
	/* srcu_call's lock */
	struct rcu_head *calls, **calls_end; /* for a grace period that has not begun */
	struct list work_link;
	bool has_work; /* work_link is in a list: there are calls or a batch */
	/* rcu_work's */
	struct rcu_head *batch; /* runs at the end of number batch_target */
	u64 batch_target;
};

#define SRCU_STATS(X) X(grace_periods, "count", "Grace periods of the SRCU domain that have ended.")

struct srcu_stats {
	SRCU_STATS(STAT_FIELD)
};
extern const struct stat_desc srcu_stat_descs[];
#define SRCU_STAT_COUNT (sizeof(struct srcu_stats) / sizeof(u64))
u64 srcu_stat_read(const void *s, u32 i); /* of a struct srcu; any context */

void srcu_init(struct srcu *s);

/*
 * Nobody is in a reader of s or comes. Who used srcu_call waits in srcu_barrier first: callbacks
 * that have not run are a bug that is caught.
 */
void srcu_destroy(struct srcu *s);

/* Exit or thread context. Returns the index to hand to srcu_read_unlock. */
u32 srcu_read_lock(struct srcu *s);
void srcu_read_unlock(struct srcu *s, u32 index);

/*
 * Whether this thread is in a reader: for assertions. It may end on another CPU than it began on, so
 * no counter tells; the debug build's stack of sleeping locks does, others say yes.
 */
bool srcu_read_held(const struct srcu *s);

/*
 * Thread context. Several at once share grace periods. Without readers it does not sleep. Not
 * inside a reader, not under a sleeping lock above slots_lock, not under vm->lock.
 */
void srcu_synchronize(struct srcu *s);

/*
 * fn(h) runs after a grace period of s, in the order of the calls, many to one grace period
 * (R29). Under any lock below LOCK_SRCU; all else as in rcu_call. It may not free the domain.
 */
void srcu_call(struct srcu *s, struct rcu_head *h, void (*fn)(struct rcu_head *h));

/*
 * Returns when all callbacks of srcu_call on s made before it have run. Thread context, may
 * sleep; where srcu_synchronize may not be called this may not either.
 */
void srcu_barrier(struct srcu *s);

#endif
