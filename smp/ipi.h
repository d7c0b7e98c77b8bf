/* SPDX-License-Identifier: MIT */
/*
 * Inter-processor interrupts. ipi_call runs a function in interrupt context on other CPUs and
 * waits for all of them: interrupts must be on (else two callers deadlock), no spin lock held.
 */
#ifndef SMP_IPI_H
#define SMP_IPI_H

#include "kernel/base/panic.h"
#include "smp/cpu_set.h"

/* Runs fn(arg) on every CPU of the set; the caller's own is called directly. */
void ipi_call(const struct cpu_set *cpus, void (*fn)(void *), void *arg);
void ipi_call_all(void (*fn)(void *), void *arg); /* the caller too */

/* An interrupt that does nothing but make the CPU leave guest mode or wake. Any context. */
void ipi_kick(u32 cpu);

/*
 * Posted interrupts' notification: a guest on that CPU takes it without leaving. Any context. What
 * it is to say is written before: a full barrier comes between.
 */
void ipi_notify(u32 cpu);

/*
 * Stops all other CPUs by NMI, for a panic or the end, and says how many halted. Any context; waits
 * a bounded time for those that do not answer. Where another CPU has begun to, it returns at once.
 */
void ipi_stop_others(struct panic_others *others);

#endif
