/* SPDX-License-Identifier: MIT */
/*
 * Time and timers. clock_ns is monotonic and the same on all CPUs. A timer fires once on the CPU
 * that armed it, in interrupt context: its function sets a flag, wakes a thread, takes at most
 * short spin locks, may arm timers, and leaves. There is no periodic tick.
 */
#ifndef SMP_TIMER_H
#define SMP_TIMER_H

#include "smp/vtree.h"

/*
 * Measures the TSC (HPET, ACPI PM timer or PIT; what CPUID 15H says of it, or its ratio times a
 * usual crystal, where that agrees) and the LAPIC timer. Boot CPU, once, after ACPI.
 */
void clock_init(void);
u64 clock_ns(void);	 /* nanoseconds since clock_init; any context */
u64 clock_tsc_khz(void); /* TSC cycles a millisecond */
/*
 * All CPUs' TSCs agree as far as was measured, and have one rate whatever the CPUs do (SDM 3B
 * 18.17.1): guests may be told so. Settled before the first guest.
 */
bool clock_tsc_is_stable(void);
void clock_tsc_doubt(void); /* a reason why not */
u64 clock_tsc_to_ns(u64 cycles);
u64 clock_ns_to_tsc(u64 ns);
u64 clock_boot_wall_seconds(void);   /* Unix time at clock_ns()==0, from the CMOS clock (UTC) */
void clock_udelay(u32 microseconds); /* busy; for hardware that asks for it */

struct timer {
	struct vnode node; /* timer queue lock */
	u64 deadline_ns;
	void (*fn)(struct timer *t);
	u32 cpu;      /* where it is queued */
	bool pending; /* timer queue lock */
	u32 cancels;  /* timer queue lock: who waits for its function to end; none arms it then */
	bool running; /* atomic */
};

void timer_init(struct timer *t, void (*fn)(struct timer *t));
/* Arms or re-arms; a deadline that has passed fires at once. Any context. */
void timer_arm(struct timer *t, u64 deadline_ns);
/*
 * After it returns the function is not queued nor running, even if it arms itself again: while
 * someone waits for its end, timer_arm does nothing. Not from the function itself, nor under a
 * lock that it takes.
 */
void timer_cancel(struct timer *t);

void timer_init_cpu(void); /* once per CPU at bring-up */

#endif
