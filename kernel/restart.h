/* SPDX-License-Identifier: MIT */
/*
 * When a VM whose guest asked for a reset, or that crashed, starts again. A guest may do so as often as it likes, but
 * one that does it at once, again and again, neither fills the log nor keeps the boot CPU busy. Pure:
 * the manager's thread (kernel/vm.c), or that of ends (kernel/vm_end.c).
 */
#ifndef KERNEL_RESTART_H
#define KERNEL_RESTART_H

#include "kernel/base/types.h"

#define RESTART_QUICK_NS     1000000000ull /* a run shorter than this was a quick one */
#define RESTART_DELAY_NS     10000000ull   /* after the first quick run; doubles with each */
#define RESTART_DELAY_MAX_NS 1000000000ull
#define RESTART_MEMORY_NS    100000000ull /* between tries to get memory */
#define RESTART_MEMORY_TRIES 600	  /* of a silent restart, until it is told that it waits */
#define RESTART_CRASHES_MAX  5		  /* in a row: it crashes once more and stays down */
#define RESTART_STABLE_NS    60000000000ull /* a run as long as this ends the row */
#define RESTART_LOUD	     4		    /* so many are told, and one more for each minute; */
#define RESTART_LOUD_NS	     60000000000ull /* of the others the 8th, 16th, 32nd, ... */

/* Of one configured VM, for as long as Weir runs. */
struct restart {
	bool pending;
	u64 due_ns;
	u32 count;	   /* resets so far */
	u32 quick;	   /* of them in a row, after quick runs */
	u32 crashes;	   /* in a row, none after a long run */
	u32 told;	   /* of those that may be told */
	u64 told_ns;	   /* when one more could be, last */
	bool silent;	   /* the log does not tell of this one */
	u32 put_off;	   /* so often has it waited for memory, this time */
	u32 lines_told;	   /* of the log that the guest can cause: they count over resets */
	u32 programs_told; /* likewise, since a start that was told (kernel/emulation.c); atomic */
};

/* The guest asked for a reset after so long. */
void restart_ask(struct restart *r, u64 now_ns, u64 ran_ns);
/* It crashed after so long. False: that was too often in a row, it is not to be started again. */
bool restart_ask_after_crash(struct restart *r, u64 now_ns, u64 ran_ns);
/* Somebody starts it: what it did before counts no more. */
void restart_by_hand(struct restart *r);
/* The log tells of this one. */
bool restart_is_loud(const struct restart *r);
/*
 * VMs that start again after a crash: the log tells why this one crashed, if it does now. Of all that are
 * loud, and of the last in a row.
 */
bool restart_tells_crash(const struct restart *r);
bool restart_is_due(const struct restart *r, u64 now_ns);
/*
 * It could not start, for memory is short: later. Whether to say so; of one that is silent, after a
 * minute.
 */
bool restart_put_off(struct restart *r, u64 now_ns);
void restart_done(struct restart *r);

#endif
