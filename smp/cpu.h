/* SPDX-License-Identifier: MIT */
/*
 * The CPUs: per-CPU data, bring-up, which are online. this_cpu() is stable only while preemption
 * or interrupts are off, or in a thread (threads do not move between CPUs).
 */
#ifndef SMP_CPU_H
#define SMP_CPU_H

#include "kernel/base/types.h"

#define CPU_MAX 64

struct thread;

/* GS points here on target (gs:0 is self); thread-local storage when hosted. */
struct cpu {
	struct cpu *self;
	u32 id;	     /* 0 .. cpu_count()-1; 0 is the boot CPU */
	u32 apic_id; /* x2APIC width */
	/* this CPU only */
	struct thread *current;
	u32 preempt_off;   /* > 0: the scheduler leaves this thread alone */
	u32 interrupt_nest; /* > 0: in interrupt context */
	bool need_resched;
	/* set once at bring-up, read by all */
	bool online;
};

struct cpu *this_cpu(void);
struct cpu *cpu_get(u32 id);
u32 cpu_count(void); /* CPUs that came up; ids are dense */

static inline u32 cpu_id(void)
{
	return this_cpu()->id;
}

void preempt_disable(void);
void preempt_enable(void); /* may switch threads if a resched is due and interrupts are on */
bool in_interrupt(void);

/*
 * Bring-up of this CPU's GDT, TSS, IDT and per-CPU pointer for the boot CPU: first thing after
 * boot/ enters C, before anything that may fault.
 */
void cpu_init_boot(void);

/*
 * Starts every other CPU the MADT lists by INIT-SIPI-SIPI (SDM 3A 9.4.4). One that does not answer is named
 * and left out. Thread context, boot CPU, once, after mem/, the clock and threads are up.
 * max_cpus: 0 for all.
 */
void cpu_start_others(u32 max_cpus);

#endif
