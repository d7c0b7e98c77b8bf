/* SPDX-License-Identifier: MIT */
/* smp/ipi.h on the fake machine: the caller runs the function as each of the CPUs in turn. */
#include "kernel/base/panic.h"
#include "smp/ipi.h"
#include "tests/hosted/hosted.h"

static u32 kicks;	     /* atomic */
static bool kicked[CPU_MAX]; /* atomic */

void ipi_call(const struct cpu_set *cpus, void (*fn)(void *), void *arg)
{
	u32 me = cpu_id();

	for (u32 id = 0; id < cpu_count(); id++) {
		if (!cpu_set_has(cpus, id))
			continue;
		hosted_cpu_set(id);
		fn(arg);
	}
	hosted_cpu_set(me);
}

void ipi_call_all(void (*fn)(void *), void *arg)
{
	struct cpu_set all = {{0}};

	for (u32 id = 0; id < cpu_count(); id++)
		cpu_set_add(&all, id);
	ipi_call(&all, fn, arg);
}

void ipi_kick(u32 cpu)
{
	BUG_ON(cpu >= cpu_count());
	__atomic_fetch_add(&kicks, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&kicked[cpu], true, __ATOMIC_RELAXED);
}

static bool notified[CPU_MAX]; /* atomic: in the CPU's local APIC */

void ipi_notify(u32 cpu)
{
	BUG_ON(cpu >= cpu_count());
	__atomic_store_n(&notified[cpu], true, __ATOMIC_SEQ_CST);
}

bool hosted_notified(u32 cpu)
{
	return __atomic_load_n(&notified[cpu], __ATOMIC_SEQ_CST) &&
	       __atomic_exchange_n(&notified[cpu], false, __ATOMIC_SEQ_CST);
}

bool hosted_kick_pending(u32 cpu)
{
	return __atomic_load_n(&kicked[cpu], __ATOMIC_RELAXED);
}

void hosted_kick_take(u32 cpu)
{
	__atomic_store_n(&kicked[cpu], false, __ATOMIC_RELAXED);
}

u32 hosted_ipi_kicks(void)
{
	return __atomic_load_n(&kicks, __ATOMIC_SEQ_CST);
}

void ipi_stop_others(struct panic_others *others)
{
	*others = (struct panic_others){0};
}
