/* SPDX-License-Identifier: MIT */
/*
 * Several threads of a test, each a CPU of its own, run in one of two ways:
 *
 *	parallel  as the host schedules them; at points they give way now and then. For
 *		  ThreadSanitizer, and for what a CPU's store buffer does.
 *	serial	  one at a time; at each point the seed decides who goes on. The same seed gives the
 *		  same run, switch for switch, and a test meets orders that a host seldom shows.
 *
 * Points are all atomic accesses of sources that are compiled with points.h, and every wait.
 */
#ifndef TESTS_HOSTED_SCHEDULE_H
#define TESTS_HOSTED_SCHEDULE_H

#include "kernel/base/types.h"

struct hosted_job {
	const char *name;
	void (*fn)(void *arg);
	void *arg;
};

#define HOSTED_JOBS_MAX 16

struct hosted_way {
	bool serial;
	u64 seed;
	/* serial: points from one choice to the next, on average; parallel: points to a yield */
	u32 period;
};

/*
 * Runs the jobs, job n as CPU n, until all have returned. Serial: a run in which nobody can go on
 * or that does not end panics, and says who waits.
 */
void hosted_run(const struct hosted_job *jobs, u32 count, const struct hosted_way *way);

/* Of the last serial run: a hash over its switches, and the points it had. */
u64 hosted_run_trace(void);
u64 hosted_run_points(void);

/* Another may go on here. Does nothing on a thread that is no job's. */
void hosted_point(void);
/* The caller waits for what another does, without sleeping. */
void hosted_relax(void);

/* Where those and thread.c's sleeps lead while jobs run; NULL before. */
extern void (*hosted_on_point)(void);
extern void (*hosted_on_relax)(void);
/* Sleeps until *woken or the deadline. False: the caller is no job of a serial run. */
extern bool (*hosted_on_sleep)(const bool *woken, u64 deadline_ns);

#endif
