/* SPDX-License-Identifier: MIT */
/*
 * Timers by hand: smp/timer.h for a test that sets the clock itself. They fire in
 * hosted_timers_run only, in the order of their deadlines, as an interrupt would: interrupts off,
 * in_interrupt() true. Asserts that a timer's function leaves without a lock.
 */
#ifndef TESTS_HOSTED_FAKE_TIMER_H
#define TESTS_HOSTED_FAKE_TIMER_H

#include "smp/timer.h"

/* The clock goes to until_ns and every timer that is due on the way fires. Returns how many did. */
u32 hosted_timers_run(u64 until_ns);

/* The next deadline, or ~0. */
u64 hosted_timers_next(void);

/* Forgets all that are armed: a test before this one may have left some. */
void hosted_timers_forget(void);

#endif
