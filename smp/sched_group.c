/* SPDX-License-Identifier: MIT */
#include "smp/sched_group.h"
#include "kernel/base/panic.h"
#include "smp/sched.h"

/* Interrupts off, the group locked. Begins the period that now_ns lies in. */
static void refill(struct sched_group *g, u64 now_ns)
{
	u64 periods, paid;

	if ((s64)(now_ns - g->period_end_ns) < 0)
		return;
	periods = (now_ns - g->period_end_ns) / CAP_PERIOD_NS + 1;
	g->period_end_ns += periods * CAP_PERIOD_NS;
	/* Whatever a group owes is less than what it has in a few periods. */
	paid = min(periods, (u64)1000) * g->quota_ns;
	g->used_ns -= min(g->used_ns, paid);
	__atomic_store_n(&g->throttled, g->used_ns >= g->quota_ns, __ATOMIC_RELAXED);
}

static void refill_now(struct timer *timer)
{
	struct sched_group *g = container_of(timer, struct sched_group, refill);
	spin_lock(&g->lock);
	refill(g, clock_ns());
	g->refill_ns = 0;
	spin_unlock(&g->lock);
	/* All of them, even if others have used this period up already: none is left out for ever. */
	sched_unpark(g);
	if (sched_group_throttled(g))
		sched_group_arm(g);
}

void sched_group_init(struct sched_group *g, u32 weight, u32 cap_percent)
{
	BUG_ON(weight < WEIGHT_MIN || weight > WEIGHT_MAX);
	*g = (struct sched_group){
		.weight = weight,
		.quota_ns = CAP_PERIOD_NS / 100 * cap_percent,
		.period_end_ns = clock_ns() + CAP_PERIOD_NS,
	};
	spin_init(&g->lock, "sched group", LOCK_SCHED_GROUP);
	timer_init(&g->refill, refill_now);
}

void sched_group_destroy(struct sched_group *g)
{
	BUG_ON(g->runnable);
	timer_cancel(&g->refill);
}

/* The group locked. Clocks of CPUs differ by a little: who is behind adds nothing. */
static u64 share(struct sched_group *g, u64 now_ns)
{
	if ((s64)(now_ns - g->shared_at_ns) > 0) {
		g->shared_ns += (now_ns - g->shared_at_ns) * g->runnable;
		g->shared_at_ns = now_ns;
	}
	return g->shared_ns;
}

void sched_group_enter(struct sched_group *g, u64 now_ns)
{
	spin_lock(&g->lock);
	share(g, now_ns);
	__atomic_store_n(&g->runnable, g->runnable + 1, __ATOMIC_RELAXED);
	spin_unlock(&g->lock);
}

void sched_group_leave(struct sched_group *g, u64 now_ns)
{
	spin_lock(&g->lock);
	share(g, now_ns);
	BUG_ON(!g->runnable);
	__atomic_store_n(&g->runnable, g->runnable - 1, __ATOMIC_RELAXED);
	spin_unlock(&g->lock);
}

u64 sched_group_shared(struct sched_group *g, u64 now_ns)
{
	u64 shared;

	spin_lock(&g->lock);
	shared = share(g, now_ns);
	spin_unlock(&g->lock);
	return shared;
}

u32 sched_group_part(const struct sched_group *g)
{
	u32 runnable = __atomic_load_n(&g->runnable, __ATOMIC_RELAXED);
	u32 part = g->weight * WEIGHT_UNIT / max(runnable, 1u);

	return max(part, 1u);
}

u32 sched_group_loan(const struct sched_group *g)
{
	return g->weight / max(__atomic_load_n(&g->threads, __ATOMIC_RELAXED), 1u);
}

u64 sched_group_charge(struct sched_group *g, u64 ns, u64 now_ns)
{
	u64 shared;

	spin_lock(&g->lock);
	shared = share(g, now_ns);
	if (g->quota_ns) {
		/* Most of it may have been in the period before. */
		g->used_ns += ns;
		refill(g, now_ns);
		if (g->used_ns >= g->quota_ns)
			__atomic_store_n(&g->throttled, true, __ATOMIC_RELAXED);
	}
	spin_unlock(&g->lock);
	return shared;
}

u64 sched_group_left(struct sched_group *g, u64 now_ns)
{
	u32 runnable = __atomic_load_n(&g->runnable, __ATOMIC_RELAXED);
	u64 left;

	if (!g->quota_ns)
		return ~0ull;
	spin_lock(&g->lock);
	refill(g, now_ns);
	/* All of them may be running. One that does with nothing left is hurried, or is about to park. */
	if (g->used_ns < g->quota_ns)
		left = (g->quota_ns - g->used_ns) / max(runnable, 1u);
	else
		left = g->period_end_ns - now_ns;
	spin_unlock(&g->lock);
	return max(left, (u64)CAP_LOOK_NS);
}

void sched_group_arm(struct sched_group *g)
{
	u64 due, earlier;

	spin_lock(&g->lock);
	/* Not throttled any more: the end of that period came as this one was being parked. */
	due = sched_group_throttled(g) ? g->period_end_ns : clock_ns();
	earlier = g->refill_ns;
	/* Others wait for the end of a period before this one. */
	if (earlier && earlier <= due) {
		spin_unlock(&g->lock);
		return;
	}
	g->refill_ns = due;
	spin_unlock(&g->lock);
	for (;;) {
		timer_arm(&g->refill, due);
		spin_lock(&g->lock);
		earlier = g->refill_ns;
		spin_unlock(&g->lock);
		/* Another CPU wanted it sooner, and may have armed it first. */
		if (!earlier || earlier >= due)
			return;
		due = earlier;
	}
}
