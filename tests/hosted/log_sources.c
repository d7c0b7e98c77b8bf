/* SPDX-License-Identifier: MIT */
/* What the log has of the floors above: time, and CPUs. */
#include "kernel/base/log.h"
#include "smp/cpu.h"
#include "smp/timer.h"

u32 log_cpu_id(void)
{
	return cpu_id();
}

u64 log_clock_ns(void)
{
	return clock_ns();
}
