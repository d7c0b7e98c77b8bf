/* SPDX-License-Identifier: MIT */
/* Between thread.c (switching) and thread_life.c (making and freeing). Not for others. */
#ifndef SMP_THREAD_PRIVATE_H
#define SMP_THREAD_PRIVATE_H

#include "smp/thread.h"

/* A stack that thread_switch can load for the first time. */
void thread_set_first_frame(struct thread *t);
/* Counts it on its CPU and makes it runnable. */
void thread_start(struct thread *t);
/* It has been switched out for the last time: tells who joins, or the reaper. Interrupts off. */
void thread_bury(struct thread *t);
/* Boot CPU, once. */
void thread_reaper_init(void);

#endif
