/* SPDX-License-Identifier: MIT */
/*
 * Long loops of PAUSEs where each PAUSE exits: what PAUSE-loop exiting (SDM 3C 25.1.3) finds out by
 * itself. Times are the TSC's. Pure.
 */
#ifndef VMX_PAUSE_H
#define VMX_PAUSE_H

#include "kernel/base/types.h"

/* An exit and an entry of such a CPU, a Core 2, take some 2,000 cycles. */
#define PAUSE_EXIT_GAP	  8192
#define PAUSE_EXIT_WINDOW 32768

struct pause_loop {
	u64 first, last;
};

/* Another PAUSE. Are they a loop that has lasted for long? Another window begins then. */
static inline bool pause_loop_is_long(struct pause_loop *p, u64 now)
{
	if (now - p->last > PAUSE_EXIT_GAP)
		p->first = now;
	p->last = now;
	if (now - p->first <= PAUSE_EXIT_WINDOW)
		return false;
	p->first = now;
	return true;
}

#endif
