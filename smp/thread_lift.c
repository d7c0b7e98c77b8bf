/* SPDX-License-Identifier: MIT */
/* What threads of Weir's own count for while somebody waits for them, and how those of groups are hurried. */
#include "smp/sched.h"
#include "smp/thread_private.h"

static void lift(struct thread *t, s32 by)
{
	bool on;

	if (t->group || !by)
		return;
	on = irq_save();
	sched_lift(t, by);
	thread_restore_and_preempt(on);
}

void thread_lift(struct thread *t, u32 by)
{
	lift(t, (s32)by);
}

void thread_lower(struct thread *t, u32 by)
{
	lift(t, -(s32)by);
}

u32 thread_lend(struct thread *t)
{
	const struct thread *me = thread_current();
	u32 by = me->group ? sched_group_loan(me->group) : thread_weight(me) / WEIGHT_UNIT;

	thread_lift(t, by);
	return by;
}

static void hurry(struct thread *t, s32 by, u64 most_ns)
{
	bool on;

	if (!t->group)
		return;
	on = irq_save();
	sched_hurry(t, by, most_ns);
	thread_restore_and_preempt(on);
}

void thread_hurry(struct thread *t, enum hurry how)
{
	hurry(t, 1, how == HURRY_UNTIL_DONE ? SCHED_DEBT_NS : SCHED_HURRY_NS);
}

void thread_hurry_no_more(struct thread *t)
{
	hurry(t, -1, 0);
}
