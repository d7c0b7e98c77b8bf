/* SPDX-License-Identifier: MIT */
/*
 * smp/timer.h's clock on the host: real time, unless a test sets it by hand. Timers themselves
 * are not faked here: a test that wants them drives its own.
 */
#include <time.h>
#include "smp/timer.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/points_off.h"

#define NS_PER_SECOND 1000000000ull
#define FAKE_TSC_KHZ  1000000ull /* one cycle a nanosecond */

static bool by_hand; /* both atomic */
static u64 hand_ns;

void hosted_clock_set(u64 ns)
{
	__atomic_store_n(&hand_ns, ns, __ATOMIC_SEQ_CST);
	__atomic_store_n(&by_hand, true, __ATOMIC_SEQ_CST);
}

void hosted_clock_free(void)
{
	__atomic_store_n(&by_hand, false, __ATOMIC_SEQ_CST);
}

u64 clock_ns(void)
{
	struct timespec now;

	if (__atomic_load_n(&by_hand, __ATOMIC_SEQ_CST))
		return __atomic_load_n(&hand_ns, __ATOMIC_SEQ_CST);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * NS_PER_SECOND + (u64)now.tv_nsec;
}

bool clock_tsc_is_stable(void)
{
	return true;
}

u64 clock_tsc_khz(void)
{
	return FAKE_TSC_KHZ;
}

u64 clock_tsc_to_ns(u64 cycles)
{
	return cycles;
}

u64 clock_ns_to_tsc(u64 ns)
{
	return ns;
}

u64 clock_boot_wall_seconds(void)
{
	return 0;
}

void clock_udelay(u32 microseconds)
{
	u64 end = clock_ns() + (u64)microseconds * 1000;

	while (!by_hand && clock_ns() < end)
		;
}
