/* SPDX-License-Identifier: MIT */
/*
 * Several threads of a test, each a CPU of its own, run in one of two ways:
 *
 *	parallel  as the host schedules them; at points they give way now and then. For
 *		  ThreadSanitizer, and for what a CPU's store buffer does.
 *	serial	  one at a time; at each point the seed decides who goes on. The same seed gives the
 *		  same run, switch for switch, and a test meets orders that a host seldom shows.
 *	directed  one at a time, and each goes on until it has to wait; but one or two are stopped at
 *		  a point that the test names, for all that the others do. A test that names every
 *		  point of one after the other has met every order with so many switches.
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

#define HOSTED_STOPS_MAX 2

struct hosted_way {
	bool serial;
	bool directed; /* implies serial */
	struct {
		u32 job;
		u32 point; /* 1: the first that counts; 0: it is not stopped */
	} stop[HOSTED_STOPS_MAX];
	u64 seed;
	/* serial: points from one choice to the next, on average; parallel: points to a yield */
	u32 period;
	u64 choice_ns; /* serial: what the clock goes on by with each; 0: 1 us */
};

/*
 * Runs the jobs, job n as CPU n, until all have returned. Serial: a run in which nobody can go on
 * or that does not end panics, and says who waits.
 */
void hosted_run(const struct hosted_job *jobs, u32 count, const struct hosted_way *way);

/* Of the last serial run: a hash over its switches, and the points it had. */
u64 hosted_run_trace(void);
u64 hosted_run_points(void);

/*
 * Directed: the calling job's points count from here; and no more. A job that was stopped goes on
 * at the latest when no other's points count that could.
 */
void hosted_count_points(void);
void hosted_count_no_more(void);
/* Of the last directed run: how many of the job's points counted. */
u32 hosted_points_counted(u32 job);

/* Another may go on here. Does nothing on a thread that is no job's. */
void hosted_point(void);
/* The caller waits for what another does, without sleeping. */
void hosted_relax(void);
/* The caller has nothing to do until the others have had so many points, roughly. */
void hosted_stand(u32 points);

/* Where those and thread.c's sleeps lead while jobs run; NULL before. */
extern void (*hosted_on_point)(void);
extern void (*hosted_on_relax)(void);
extern void (*hosted_on_stand)(u32 points);
/* Sleeps until *woken or the deadline. False: the caller is no job of a serial run. */
extern bool (*hosted_on_sleep)(const bool *woken, u64 deadline_ns);

#endif
