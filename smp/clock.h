/* SPDX-License-Identifier: MIT */
/*
 * The parts of the clock: scaling, the hardware it is measured against, and the date. For smp/
 * alone; what others want is in timer.h. Boot CPU at clock_init unless said otherwise.
 */
#ifndef SMP_CLOCK_H
#define SMP_CLOCK_H

#include "kernel/base/types.h"

/* value * mult >> 32, with no overflow below 2^64 results. Pure. */
struct clock_scale {
	u64 mult;
};

/* So that from_hz ticks become to_hz ticks; from_hz > 0. */
struct clock_scale clock_scale_make(u64 from_hz, u64 to_hz);

static inline u64 clock_scale_apply(struct clock_scale s, u64 value)
{
	return (u64)(((unsigned __int128)value * s.mult) >> 32);
}

/* A counter of known rate. */
struct clock_reference {
	const char *name;
	u64 hz;
	u64 mask;	   /* it wraps here */
	u64 (*read)(void); /* monotonic but for the wrap */
};

/* The best that is there and moves, or NULL. */
const struct clock_reference *clock_reference_find(void);

/* Busy for ms by channel 2 of the 8254, TSC cycles in *cycles. false: it does not count. */
bool clock_pit_measure(u32 ms, u64 *cycles);

/* What the CMOS clock shows, as Unix time taken as UTC; 0 when it shows nonsense. */
u64 cmos_read_time(void);

/* Days since 1970-01-01 in the Gregorian calendar. Pure. */
u64 cmos_days(u32 year, u32 month, u32 day);

/*
 * A CPU that comes up: when its TSC is apart from the boot CPU's it is set to match. Called on
 * both at once, the new CPU by the first, the boot CPU by the second; before the new CPU can
 * come the boot CPU calls clock_sync_prepare.
 */
void clock_sync_new_cpu(void);
void clock_sync_boot_cpu(void);
void clock_sync_prepare(void);

#endif
