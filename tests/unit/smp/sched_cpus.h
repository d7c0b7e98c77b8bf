/* SPDX-License-Identifier: MIT */
/*
 * CPUs for tests of the real smp/sched.c and balance.c: each has a struct cpu that others may look
 * at, as on the target, instead of the fake machine's, which are their threads' own. It takes the
 * place of tests/hosted/cpu.c, so the file that includes it is the test's only one.
 */
#ifndef TESTS_UNIT_SMP_SCHED_CPUS_H
#define TESTS_UNIT_SMP_SCHED_CPUS_H

#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/ipi.h"
#include "smp/sched.h"
#include "tests/hosted/hosted.h"

#define CPUS_MAX 8

static struct cpu cpus[CPUS_MAX];
static struct thread idles[CPUS_MAX];
static u32 cpus_used = CPUS_MAX;
static _Thread_local struct cpu *me = &cpus[0];
static bool kicked[CPUS_MAX]; /* atomic */

struct cpu *this_cpu(void)
{
	return me;
}

void hosted_cpu_set(u32 id)
{
	me = &cpus[id];
}

u32 cpu_count(void)
{
	return cpus_used;
}

struct cpu *cpu_get(u32 id)
{
	return id < cpus_used ? &cpus[id] : NULL;
}

void preempt_disable(void)
{
	me->preempt_off++;
}

void preempt_enable(void)
{
	BUG_ON(me->preempt_off-- == 0);
}

bool in_interrupt(void)
{
	return me->interrupt_nest != 0;
}

struct thread *thread_current(void)
{
	return me->current;
}

u32 hosted_locks_held(void)
{
	return me->spin_locks.count;
}

void hosted_locks_forget(void)
{
	me->spin_locks.base = me->spin_locks.count = me->preempt_off = 0;
}

void ipi_kick(u32 cpu)
{
	__atomic_store_n(&kicked[cpu], true, __ATOMIC_RELEASE);
}

static bool take_kick(u32 cpu)
{
	return __atomic_exchange_n(&kicked[cpu], false, __ATOMIC_ACQUIRE);
}

/* Every CPU idle. */
static void start_cpus(u32 count)
{
	cpus_used = count;
	irq_disable();
	for (u32 i = 0; i < count; i++) {
		cpus[i] = (struct cpu){.self = &cpus[i], .id = i, .online = true};
		idles[i] = (struct thread){.cpu = &cpus[i]};
		schedulers[i] = (struct scheduler){.threads = 0};
		hosted_cpu_set(i);
		sched_init_cpu(&idles[i], &idles[i]);
		cpus[i].current = &idles[i];
		kicked[i] = false;
	}
	hosted_cpu_set(0);
}

#endif
