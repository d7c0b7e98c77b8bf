/* SPDX-License-Identifier: MIT */
/* What the files of smp/ that bring CPUs up tell each other. Not for other floors. */
#ifndef SMP_CPU_PRIVATE_H
#define SMP_CPU_PRIVATE_H

#include "smp/cpu.h"

/* The CPU with this id, online or not. */
struct cpu *cpu_slot(u32 id);
/* From now on it counts. By the CPU itself, ids in ascending order. */
void cpu_set_online(struct cpu *cpu);
/* IDT, boot CPU's GDT and TSS, GS base. */
void cpu_tables_init_boot(struct cpu *cpu);
/* GDT and TSS stacks of a CPU that will come up. ERR_NOMEM. */
int cpu_prepare_tables(u32 id);
/* On the CPU itself: GDT, IDT, TSS, GS base. */
void cpu_load_tables(struct cpu *cpu);

#endif
