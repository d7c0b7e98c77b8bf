/* SPDX-License-Identifier: MIT */
/*
 * Sleepable RCU: readers mark a section with per-CPU counters and may sleep in it; a writer
 * publishes, then waits until every reader that may have seen the old pointer has left.
 * A reader must never wait for a grace period of the same domain (R24). A domain goes away only
 * after its last reader's srcu_read_unlock has returned.
 */
#ifndef SMP_SRCU_H
#define SMP_SRCU_H

#include "smp/cpu.h"
#include "smp/mutex.h"
#include "smp/rcu.h"

struct srcu_count {
	u64 lock[2];
	u64 unlock[2];
} __aligned(64);

struct srcu {
	struct srcu_count cpu[CPU_MAX];
	u32 index;	    /* which pair new readers use; only its low bit */
	struct mutex mutex; /* one grace period at a time */
	u64 grace_periods;  /* atomic */
	/* The writer that waits for readers, and whether there is one (atomic). */
	struct wait_queue drain;
	bool draining;
};

void srcu_init(struct srcu *s);

/* Exit or thread context. Returns the index to hand to srcu_read_unlock. */
u32 srcu_read_lock(struct srcu *s);
void srcu_read_unlock(struct srcu *s, u32 index);

/*
 * Whether a reader has begun on this CPU and not ended: for assertions. Threads do not move, so
 * this is true in every reader; it may be true beside one as well.
 */
bool srcu_read_held(const struct srcu *s);

/* Thread context, may sleep; not inside a reader of s; not under vm->lock. */
void srcu_synchronize(struct srcu *s);

#endif
