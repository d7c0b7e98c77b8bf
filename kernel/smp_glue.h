/* SPDX-License-Identifier: MIT */
/* The way from one CPU without a clock to all CPUs with threads. */
#ifndef KERNEL_SMP_GLUE_H
#define KERNEL_SMP_GLUE_H

#include "kernel/base/types.h"

/*
 * ACPI tables, clock, interrupt controllers, timers, threads, then the other CPUs. Returns on the
 * boot CPU as thread "main", interrupts on. Once, from kernel_main, mem/ being up. max_cpus: 0
 * for all.
 */
void smp_bring_up(u32 max_cpus);

#endif
