/* SPDX-License-Identifier: MIT */
/* Between rcu.c, srcu.c and the worker that runs callbacks for both. */
#ifndef SMP_RCU_PRIVATE_H
#define SMP_RCU_PRIVATE_H

#include "smp/rcu.h"

/* Wakes the worker, or lets it look again. Any context, under any lock below LOCK_WAIT. */
void rcu_kick(void);

/* What the worker does, again and again. */
void rcu_work_when_kicked(void);

/* Runs a list of callbacks in its order. Thread context, by who is in rcu_work. */
void rcu_run(struct rcu_head *first);

/* The parts of rcu_work; one thread at a time is in them. */
void rcu_work_calls(void);
void srcu_work_calls(void);

extern struct rcu_stats rcu_stats; /* atomic */

#endif
