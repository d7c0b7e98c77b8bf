/* SPDX-License-Identifier: MIT */
#include "smp/sched_group.h"
#include "kernel/base/panic.h"

void sched_group_init(struct sched_group *g, u32 weight)
{
	BUG_ON(weight < WEIGHT_MIN || weight > WEIGHT_MAX);
	*g = (struct sched_group){.weight = weight};
}

void sched_group_enter(struct sched_group *g)
{
	__atomic_fetch_add(&g->runnable, 1, __ATOMIC_RELAXED);
}

void sched_group_leave(struct sched_group *g)
{
	BUG_ON(__atomic_fetch_sub(&g->runnable, 1, __ATOMIC_RELAXED) == 0);
}

u32 sched_group_part(const struct sched_group *g)
{
	u32 runnable = __atomic_load_n(&g->runnable, __ATOMIC_RELAXED);
	u32 part = g->weight * WEIGHT_UNIT / max(runnable, 1u);

	return max(part, 1u);
}
