/* SPDX-License-Identifier: MIT */
/* The fake machine's CPUs: every thread of the test is one, numbered as they ask. */
#include "kernel/base/panic.h"
#include "smp/cpu.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/points_off.h"

static struct cpu cpus[CPU_MAX];
static u32 cpus_taken; /* atomic */
static _Thread_local struct cpu *mine;

void hosted_cpu_set(u32 id)
{
	u32 taken = __atomic_load_n(&cpus_taken, __ATOMIC_SEQ_CST);

	BUG_ON(id >= CPU_MAX);
	while (taken <= id && !__atomic_compare_exchange_n(&cpus_taken, &taken, id + 1, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	mine = &cpus[id];
	mine->self = mine;
	mine->id = id;
	mine->apic_id = id;
	mine->online = true;
}

struct cpu *this_cpu(void)
{
	/* More threads than CPUs share the last ones, as threads share CPUs on the target. */
	if (!mine)
		hosted_cpu_set(__atomic_fetch_add(&cpus_taken, 1, __ATOMIC_SEQ_CST) % CPU_MAX);
	return mine;
}

struct cpu *cpu_get(u32 id)
{
	return id < CPU_MAX ? &cpus[id] : NULL;
}

u32 cpu_count(void)
{
	u32 taken = __atomic_load_n(&cpus_taken, __ATOMIC_SEQ_CST);

	return taken == 0 ? 1 : min(taken, (u32)CPU_MAX);
}

/* Host threads are preempted as the host likes; only the count is kept, for assertions. */
void preempt_disable(void)
{
	__atomic_fetch_add(&this_cpu()->preempt_off, 1, __ATOMIC_RELAXED);
}

void preempt_enable(void)
{
	BUG_ON(__atomic_fetch_sub(&this_cpu()->preempt_off, 1, __ATOMIC_RELAXED) == 0);
}

bool in_interrupt(void)
{
	return this_cpu()->interrupt_nest != 0;
}
