/* SPDX-License-Identifier: MIT */
/* The CPUs' own data, and whether one may be preempted. */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "smp/cpu_private.h"
#include "smp/thread.h"

static struct cpu cpus[CPU_MAX];
static u32 cpus_online; /* atomic */
static const struct smp_hooks *registered;

void cpu_init_boot(void)
{
	struct cpu *cpu = &cpus[0];
	struct cpuid_regs r = cpuid(1, 0);

	cpu->self = cpu;
	cpu->apic_id = r.ebx >> 24; /* until apic_init_cpu knows better */
	/* Interrupts are off and nobody is there to switch to. */
	cpu_tables_init_boot(cpu);
	cpu_set_online(cpu);
}

struct cpu *cpu_slot(u32 id)
{
	return &cpus[id];
}

void cpu_set_online(struct cpu *cpu)
{
	__atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
	__atomic_store_n(&cpus_online, cpu->id + 1, __ATOMIC_RELEASE);
}

struct cpu *cpu_get(u32 id)
{
	return id < cpu_count() ? &cpus[id] : NULL;
}

u32 cpu_count(void)
{
	return __atomic_load_n(&cpus_online, __ATOMIC_ACQUIRE);
}

bool in_interrupt(void)
{
	return THIS_CPU(interrupt_nest) != 0;
}

/* Whether it has come to 0. */
static inline bool preempt_count_down(void)
{
	bool zero;

	__asm__ volatile("decl %%gs:%c1"
			 : "=@ccz"(zero)
			 : "i"(offsetof(struct cpu, preempt_off))
			 : "memory");
	return zero;
}

/*
 * No atomic is needed: an interrupt in between leaves the count as it found it, and so does
 * another thread, for a thread is switched out only at 0. From then on this may be another CPU:
 * the one before has looked at its flag as it switched.
 */
void preempt_enable(void)
{
	ASSERT(THIS_CPU(preempt_off) > 0);
	if (preempt_count_down() && THIS_CPU_IS_SET(need_resched) && !in_interrupt() &&
	    irq_enabled())
		thread_preempt();
}

void smp_set_hooks(const struct smp_hooks *hooks)
{
	registered = hooks;
}

const struct smp_hooks *smp_hooks_get(void)
{
	BUG_ON(!registered);
	return registered;
}
