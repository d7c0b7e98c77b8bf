/* SPDX-License-Identifier: MIT */
/*
 * Threads that share one weight: the vCPUs of a VM. A thread's part is the group's weight divided
 * by how many of its threads run or wait for a CPU, wherever they are. Weights only mean something
 * beside each other: of two groups that are always busy, one of twice the weight gets twice the time.
 */
#ifndef SMP_SCHED_GROUP_H
#define SMP_SCHED_GROUP_H

#include "kernel/base/types.h"

#define WEIGHT_MIN     1
#define WEIGHT_MAX     10000
#define WEIGHT_DEFAULT 100
#define WEIGHT_DAEMON  20 /* of Weir's own threads, which run seldom */

/* A thread's part of a weight is counted in these. */
#define WEIGHT_UNIT 1024u

struct sched_group {
	u32 weight;   /* set at creation */
	u32 runnable; /* atomic: threads that run or wait for a CPU */
};

/* Weight from WEIGHT_MIN to WEIGHT_MAX. The group outlives its threads. */
void sched_group_init(struct sched_group *g, u32 weight);

/* A thread of it begins or ceases to want a CPU. Any context. */
void sched_group_enter(struct sched_group *g);
void sched_group_leave(struct sched_group *g);

/* What one of its threads counts for now, in WEIGHT_UNITs; never 0. Any context. */
u32 sched_group_part(const struct sched_group *g);

#endif
