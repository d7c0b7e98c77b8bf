/* SPDX-License-Identifier: MIT */
/* Where points lead: nowhere, until schedule.c has jobs to run. */
#include <sched.h>
#include "tests/hosted/schedule.h"

void (*hosted_on_point)(void);
void (*hosted_on_relax)(void);
void (*hosted_on_stand)(u32 points);
bool (*hosted_on_sleep)(const bool *woken, u64 deadline_ns);

void hosted_point(void)
{
	if (hosted_on_point)
		hosted_on_point();
}

void hosted_relax(void)
{
	if (hosted_on_relax)
		hosted_on_relax();
	else
		sched_yield();
}

void hosted_stand(u32 points)
{
	if (hosted_on_stand)
		hosted_on_stand(points);
}
