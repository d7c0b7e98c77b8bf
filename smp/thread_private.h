/* SPDX-License-Identifier: MIT */
/* Between thread.c (switching), thread_life.c (making and freeing) and thread_lift.c. Not for others. */
#ifndef SMP_THREAD_PRIVATE_H
#define SMP_THREAD_PRIVATE_H

#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "smp/thread.h"

/* A stack that thread_switch can load for the first time. */
void thread_set_first_frame(struct thread *t);
/* Counts it on its CPU and makes it runnable. */
void thread_start(struct thread *t);
/* It has been switched out for the last time: tells who joins, or the reaper. Interrupts off. */
void thread_bury(struct thread *t);
/* Boot CPU, once. */
void thread_reaper_init(void);

/* Interrupts were on before, or not: now another thread may be due here. Interrupts off. */
static inline void thread_restore_and_preempt(bool on)
{
	irq_restore(on);
	if (on && THIS_CPU(need_resched) && !THIS_CPU(preempt_off) && !in_interrupt())
		thread_preempt();
}

#endif
