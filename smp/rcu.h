/* SPDX-License-Identifier: MIT */
/*
 * RCU for what is read in exit context or with preemption off: a reader says so in a word of its
 * CPU, and what was taken out of sight is freed by a callback once every reader that may still
 * see it has left (R32). Readers never sleep; those that must use smp/srcu.h.
 *
 * One worker thread runs the callbacks of both.
 */
#ifndef SMP_RCU_H
#define SMP_RCU_H

#include "kernel/base/panic.h"
#include "kernel/base/stat.h"
#include "smp/cpu.h"

/* Lies inside what is to be freed. It must not be touched between the call and its callback. */
struct rcu_head {
	struct rcu_head *next;
	void (*fn)(struct rcu_head *h);
};

#define rcu_dereference(p)	 __atomic_load_n(&(p), __ATOMIC_CONSUME)
#define rcu_assign_pointer(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

struct rcu_reader {
	u64 since; /* atomic; 0: no reader, else rcu_sequence as its outermost section began */
	u32 nest;  /* this CPU only */
} __aligned(64);

/* For the two functions below alone. */
extern struct rcu_reader rcu_readers[CPU_MAX];
extern u64 rcu_sequence; /* atomic; grace periods begun */

/* Whether the caller may be a reader: exit context or preemption off, no interrupt handler. */
bool rcu_may_read(void);

/*
 * Readers may nest. The exchange is the full barrier that makes the word visible before anything
 * is read under its protection (SDM 3A 9.2.3.9).
 */
static inline void rcu_read_lock(void)
{
	struct rcu_reader *r = &rcu_readers[cpu_index()];

	ASSERT(rcu_may_read());
	if (r->nest++ == 0)
		__atomic_exchange_n(&r->since, __atomic_load_n(&rcu_sequence, __ATOMIC_ACQUIRE),
				    __ATOMIC_SEQ_CST);
}

static inline void rcu_read_unlock(void)
{
	struct rcu_reader *r = &rcu_readers[cpu_index()];

	ASSERT(r->nest > 0);
	if (--r->nest == 0)
		__atomic_store_n(&r->since, 0, __ATOMIC_RELEASE);
}

/* For assertions, by a caller that may be a reader. */
static inline bool rcu_read_held(void)
{
	return rcu_readers[cpu_id()].nest > 0;
}

/*
 * fn(h) runs in thread context after a grace period: in the worker, or in a thread that waits in
 * a barrier, so it takes no lock that such a thread may hold and waits for no grace period. Many
 * calls share one. Exit or thread context, under any lock below LOCK_WAIT; never sleeps or fails.
 */
void rcu_call(struct rcu_head *h, void (*fn)(struct rcu_head *h));

/* Returns when every reader that began before it has ended. Thread context; yields. */
void rcu_synchronize(void);

/* Returns when all callbacks of rcu_call made before it have run. Thread context, may sleep. */
void rcu_barrier(void);

/* A domain of SRCU counts grace periods of its own. */
#define RCU_STATS(X)                                                       \
	X(grace_periods, "count", "Grace periods of RCU that have ended.") \
	X(callbacks, "count", "Callbacks of RCU and of SRCU domains that have run.")

struct rcu_stats {
	RCU_STATS(STAT_FIELD)
};
void rcu_get_stats(struct rcu_stats *out);
extern struct stat_group rcu_stat_group;

/* Starts the worker. Boot CPU, once, after threads are up. ERR_NOMEM. */
int rcu_start(void);

/*
 * Runs the callbacks that are due, and waits for RCU's readers but not for SRCU's: what the
 * worker does each time it is woken. For tests without one. Thread context.
 */
void rcu_work(void);

#endif
