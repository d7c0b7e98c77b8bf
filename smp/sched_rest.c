/* SPDX-License-Identifier: MIT */
/*
 * Whether any VM's vCPU has run lately, for who has nothing to do while none does.
 *
 * Nothing is counted where vCPUs run: a thread of a group is counted as it leaves a CPU, and is seen
 * in the run queue as long as it is there. Who looks says first that it is going to sleep, and then
 * locks one queue after the other. A thread comes to a CPU under that queue's lock, too, and reads
 * what was said after it: so either it is seen here, or it sees that somebody sleeps.
 */
#include "kernel/base/x86.h"
#include "smp/sched.h"

static void (*ends_fn)(void); /* set once */
static bool armed;	      /* atomic */

void thread_rest_init(void (*ends)(void))
{
	ends_fn = ends;
}

/* All that groups' threads were at CPUs and are not any more. *running: one of them is at one. */
static u64 count_turns(bool *running)
{
	u64 turns = 0;

	for (u32 id = 0; id < cpu_count(); id++) {
		struct runqueue *rq = &schedulers[id].rq;
		bool on = spin_lock_irqsave(&rq->lock);

		turns += rq->group_turns;
		*running |= rq->current->group != NULL;
		spin_unlock_irqrestore(&rq->lock, on);
	}
	return turns;
}

u64 thread_group_turns(void)
{
	bool running = false;

	return count_turns(&running);
}

bool thread_groups_rest(u64 turns)
{
	bool running = false;

	/* Also where the answer is no: another may sleep who was told yes. */
	__atomic_store_n(&armed, true, __ATOMIC_RELAXED);
	return count_turns(&running) == turns && !running;
}

void sched_rest_over(const struct thread *t)
{
	if (likely(!PEEK(armed)) || !t->group)
		return;
	if (__atomic_exchange_n(&armed, false, __ATOMIC_ACQ_REL))
		ends_fn();
}
