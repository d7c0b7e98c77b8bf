/* SPDX-License-Identifier: MIT */
/*
 * RCU: grace periods and callbacks.
 *
 * A grace period raises rcu_sequence and then waits until each CPU's word is 0 or not older. Both
 * sides have a full barrier between their store and their load. So either the grace period sees
 * the reader's word, or the reader loads its pointers after the grace period began, when what is
 * to be freed could no longer be found. A word that carries the new sequence says the latter.
 *
 * Each CPU has a stack of calls onto which it pushes by compare-and-exchange; whoever runs
 * callbacks takes all of it at once, so that no entry is compared after it was taken.
 */
#include "kernel/base/x86.h"
#include "smp/rcu_private.h"
#include "smp/thread.h"

#define SPINS_BEFORE_YIELD 200

struct rcu_reader rcu_readers[CPU_MAX];
u64 rcu_sequence __aligned(64) = 1;

static struct {
	struct rcu_head *newest; /* atomic */
} __aligned(64) calls[CPU_MAX];

bool rcu_may_read(void)
{
	const struct cpu *cpu = this_cpu();

	return !cpu->interrupt_nest && (cpu->preempt_off || !irq_enabled());
}

static bool is_older(u32 cpu, u64 sequence)
{
	u64 since = __atomic_load_n(&rcu_readers[cpu].since, __ATOMIC_SEQ_CST);

	return since && since < sequence;
}

void rcu_synchronize(void)
{
	u64 sequence;

	lock_order_may_sleep("rcu_synchronize");
	sequence = __atomic_add_fetch(&rcu_sequence, 1, __ATOMIC_SEQ_CST);
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		/* A reader is short and is not preempted: it is on its CPU right now. */
		for (u32 spins = 1; is_older(cpu, sequence); spins++) {
			if (spins % SPINS_BEFORE_YIELD)
				cpu_relax();
			else
				thread_yield();
		}
	}
	__atomic_fetch_add(&rcu_stats.grace_periods, 1, __ATOMIC_RELAXED);
}

void rcu_call(struct rcu_head *h, void (*fn)(struct rcu_head *h))
{
	struct rcu_head **newest = &calls[cpu_id()].newest;

	h->fn = fn;
	h->next = __atomic_load_n(newest, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(newest, &h->next, h, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED))
		;
	rcu_kick();
}

/* A CPU's calls, oldest first, followed by those of after. */
static struct rcu_head *take(u32 cpu, struct rcu_head *after)
{
	struct rcu_head *h = __atomic_exchange_n(&calls[cpu].newest, NULL, __ATOMIC_SEQ_CST), *next;

	for (; h; h = next) {
		next = h->next;
		h->next = after;
		after = h;
	}
	return after;
}

void rcu_work_calls(void)
{
	struct rcu_head *first = NULL;

	for (u32 cpu = 0; cpu < cpu_count(); cpu++)
		first = take(cpu, first);
	if (!first)
		return;
	rcu_synchronize();
	rcu_run(first);
}

/* What someone else had taken before has run when rcu_work lets this thread in. */
void rcu_barrier(void)
{
	rcu_work();
}
