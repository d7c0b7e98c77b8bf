/* SPDX-License-Identifier: MIT */
/*
 * The fake machine's CPUs: every thread of the test is one, numbered as they ask. Each has a
 * struct cpu of its own even where two go by one number, as two threads on one CPU of the target
 * never hold spin locks or disable preemption at the same time.
 */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/host_thread.h"
#include "tests/hosted/points_off.h"

static u32 cpus_taken; /* atomic */
static _Thread_local struct cpu mine;

void hosted_cpu_set(u32 id)
{
	u32 taken = __atomic_load_n(&cpus_taken, __ATOMIC_SEQ_CST);

	BUG_ON(id >= CPU_MAX);
	while (taken <= id && !__atomic_compare_exchange_n(&cpus_taken, &taken, id + 1, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	mine.self = &mine;
	mine.id = id;
	mine.apic_id = id;
	mine.online = true;
	if (!mine.current)
		mine.current = host_thread_of_caller();
}

struct cpu *this_cpu(void)
{
	/* More threads than CPUs go by the numbers of others. */
	if (!mine.self)
		hosted_cpu_set(__atomic_fetch_add(&cpus_taken, 1, __ATOMIC_SEQ_CST) % CPU_MAX);
	return &mine;
}

u32 cpu_count(void)
{
	u32 taken = __atomic_load_n(&cpus_taken, __ATOMIC_SEQ_CST);

	return taken == 0 ? 1 : min(taken, (u32)CPU_MAX);
}

/* Host threads are preempted as the host likes; only the count is kept, for assertions. */
void preempt_disable(void)
{
	this_cpu()->preempt_off++;
}

void preempt_enable(void)
{
	BUG_ON(this_cpu()->preempt_off-- == 0);
}

bool in_interrupt(void)
{
	return this_cpu()->interrupt_nest != 0;
}

u32 hosted_locks_held(void)
{
	return this_cpu()->spin_locks.count + thread_current()->sleep_locks.count;
}

void hosted_locks_forget(void)
{
	struct cpu *cpu = this_cpu();

	cpu->spin_locks.base = cpu->spin_locks.count = 0;
	cpu->current->sleep_locks.count = 0;
	cpu->preempt_off = 0;
	cpu->interrupt_nest = 0;
	irq_enable();
}
