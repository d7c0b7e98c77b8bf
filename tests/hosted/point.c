/* SPDX-License-Identifier: MIT */
/* Where points lead: nowhere, until schedule.c has jobs to run. */
#include <sched.h>
#include "tests/hosted/schedule.h"

#define PAUSES 64u /* to one yield */

void (*hosted_on_point)(void);
void (*hosted_on_relax)(void);
void (*hosted_on_stand)(u32 points);
bool (*hosted_on_sleep)(const bool *woken, u64 deadline_ns);

void hosted_point(void)
{
	if (hosted_on_point)
		hosted_on_point();
}

/* Who holds the lock runs on another of the host's CPUs, mostly, and is through before a yield would be. */
void hosted_relax(void)
{
	static _Thread_local u32 n;

	if (hosted_on_relax)
		hosted_on_relax();
	else if (++n % PAUSES)
		__builtin_ia32_pause();
	else
		sched_yield();
}

void hosted_stand(u32 points)
{
	if (hosted_on_stand)
		hosted_on_stand(points);
}
