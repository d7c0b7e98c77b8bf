/* SPDX-License-Identifier: MIT */
/* Jobs and who of them goes on. See schedule.h. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "kernel/base/panic.h"
#include "tests/hosted/host_switch.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/hosted/points_off.h"

#define NO_DEADLINE    (~0ull)
#define NS_PER_SECOND  1000000000ull
#define POINTS_MAX     20000000ull /* far more than a run needs */
#define NS_PER_CHOICE  1000	   /* what serial time goes on by */
#define PARALLEL_SEEDS 0x5eed

#define YIELD_NS	 500000 /* longer: the CPUs are not the run's alone */
#define SLOW_MAX	 8
#define POINTS_PER_YIELD 100 /* in parallel, of one who stands still */

/* One stall in so many points, of 2^STALL_LEAST points, or twice that, ... */
#define STALL_ONE_IN 300
#define STALL_LEAST  5
#define STALL_RANGE  8
#define STALL_US     200 /* in parallel */

#define SPINS_IN_VAIN 20 /* directed, until one that was stopped goes on */

struct runner {
	const struct hosted_job *job;
	pthread_t host;
	u32 number;
	u64 random;
	s64 left;  /* points until the next choice */
	u32 slow;  /* parallel: by so many powers of two that is later than the way says */
	u64 still; /* serial: not before there have been so many points */
	/* whose turn it is */
	bool done;
	const bool *woken; /* not NULL: it sleeps, until this or its deadline */
	u64 deadline;
	/* directed */
	bool counts;
	u32 counted, stop_at;
	u32 stopped; /* 0: it is not; else the how-manieth stop it is */
};

static struct runner runners[HOSTED_JOBS_MAX];
static u32 runner_count;
static struct hosted_way way;
static _Thread_local struct runner *self;
static struct host_context contexts[HOSTED_JOBS_MAX], caller; /* serial; hosted_run's caller */

/* Serial: of the one whose turn it is. */
static u64 choices, trace, points, now_ns;
static u32 stops, spins; /* directed: so far, and in vain since the last */

/* --- serial: whose turn ---------------------------------------------------------------------- */

static bool can_run(const struct runner *r)
{
	if (r->done || r->stopped)
		return false;
	return !r->woken || *r->woken || now_ns >= r->deadline;
}

static void __noreturn stuck(const char *why)
{
	for (u32 i = 0; i < runner_count; i++) {
		const struct runner *r = &runners[i];

		fprintf(stderr, "  %-12s %s\n", r->job->name,
			r->done	   ? "has returned"
			: r->woken ? "sleeps"
				   : "runs");
	}
	panic("%s after %llu points", why, (unsigned long long)points);
}

/* Time passes for those who sleep until a deadline. */
static void skip_time(void)
{
	u64 first = NO_DEADLINE;

	for (u32 i = 0; i < runner_count; i++) {
		if (!runners[i].done && runners[i].woken)
			first = min(first, runners[i].deadline);
	}
	if (first == NO_DEADLINE)
		stuck("nobody can go on");
	now_ns = max(now_ns, first);
}

/* Those that can run and do not stand still; where all do, points pass until one does not. */
static u32 find_fit(struct runner **fit, const struct runner *except)
{
	struct runner *first = NULL;
	u32 n = 0;

	for (u32 i = 0; i < runner_count; i++) {
		struct runner *r = &runners[i];

		if (!can_run(r) || r == except)
			continue;
		if (points >= r->still)
			fit[n++] = r;
		if (!first || r->still < first->still)
			first = r;
	}
	if (!n && first) {
		points = first->still;
		fit[n++] = first;
	}
	return n;
}

/* Directed: each in its turn, by number. */
static struct runner *next_of(struct runner **fit, u32 n)
{
	for (u32 i = 0; self && i < n; i++) {
		if (fit[i]->number > self->number)
			return fit[i];
	}
	return fit[0];
}

/* NULL: all have returned. */
static struct runner *choose(bool another)
{
	struct runner *fit[HOSTED_JOBS_MAX];
	u32 n, left = 0;

	now_ns += way.choice_ns ? way.choice_ns : NS_PER_CHOICE;
	for (u32 i = 0; i < runner_count; i++)
		left += !runners[i].done;
	if (left == 0)
		return NULL;
	while (!(n = find_fit(fit, another ? self : NULL))) {
		if (another && can_run(self))
			return self;
		skip_time();
	}
	hosted_clock_set(now_ns);
	return way.directed ? next_of(fit, n) : fit[random_below(&choices, n)];
}

/*
 * Now and then one stands still for long just where it is, as if its CPU were taken away: much may
 * happen to what it has looked at.
 */
static void stall(struct runner *r)
{
	if (random_one_in(&choices, 1 + STALL_ONE_IN / way.period))
		r->still = points + (BIT(STALL_LEAST) << random_below(&choices, STALL_RANGE));
}

/* It has its turn. */
static void begin_turn(struct runner *r)
{
	r->left = 1 + random_below(&choices, 2 * way.period);
}

static void next_turn(bool another)
{
	struct runner *me = self, *next = choose(another);

	trace = (trace ^ (next->number + points)) * 0x100000001b3ull;
	if (next != me)
		host_switch(&contexts[me->number], &contexts[next->number]);
	begin_turn(me);
}

/* --- directed -------------------------------------------------------------------------------- */

static bool others_count(const struct runner *except)
{
	for (u32 i = 0; i < runner_count; i++) {
		if (&runners[i] != except && runners[i].counts && can_run(&runners[i]))
			return true;
	}
	return false;
}

/* The one that was stopped first goes on. */
static void go_on(void)
{
	struct runner *first = NULL;

	for (u32 i = 0; i < runner_count; i++) {
		struct runner *r = &runners[i];

		if (r->stopped && (!first || r->stopped < first->stopped))
			first = r;
	}
	if (first)
		first->stopped = 0;
	spins = 0;
}

static void directed_point(struct runner *r)
{
	if (!r->counts || ++r->counted != r->stop_at)
		return;
	r->stopped = ++stops;
	spins = 0;
	if (!others_count(r))
		go_on();
	next_turn(true);
}

/* Another waits, perhaps for one that was stopped. */
static void directed_wait(void)
{
	if (!others_count(self) || ++spins > SPINS_IN_VAIN)
		go_on();
}

void hosted_count_points(void)
{
	if (self)
		self->counts = true;
}

void hosted_count_no_more(void)
{
	if (!self || !self->counts)
		return;
	self->counts = false;
	if (!others_count(self))
		go_on();
}

u32 hosted_points_counted(u32 job)
{
	return runners[job].counted;
}

/* --- points ---------------------------------------------------------------------------------- */

static u64 host_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

/*
 * False: it took long until this one went on, for the host has others to run. A run that gave way
 * as often as alone would take a thousand times as long then.
 */
static bool give_way(void)
{
	u64 start = host_ns();

	sched_yield();
	return host_ns() - start < YIELD_NS;
}

static void on_point(void)
{
	struct runner *r = self;

	if (!r)
		return;
	if (way.serial && ++points > POINTS_MAX)
		stuck("no end is in sight");
	if (way.directed) {
		directed_point(r);
		return;
	}
	if (--r->left > 0)
		return;
	if (way.serial) {
		stall(r);
		next_turn(false);
		return;
	}
	r->left = (1 + random_below(&r->random, 2 * way.period)) << r->slow;
	if (random_one_in(&r->random, 1 + STALL_ONE_IN / way.period))
		usleep(1 + random_below(&r->random, STALL_US));
	else if (give_way())
		r->slow -= r->slow > 0;
	else
		r->slow += r->slow < SLOW_MAX;
}

static void on_relax(void)
{
	if (!self || !way.serial) {
		sched_yield();
		return;
	}
	if (++points > POINTS_MAX)
		stuck("no end is in sight");
	if (way.directed)
		directed_wait();
	next_turn(true);
}

static void on_stand(u32 n)
{
	if (!self || !way.serial) {
		for (n /= POINTS_PER_YIELD; n && give_way(); n--)
			;
		return;
	}
	if (way.directed)
		directed_wait();
	else
		self->still = points + n;
	next_turn(true);
}

/* The sleeper's turn comes when it has been woken or its deadline has passed. */
static bool on_sleep(const bool *woken, u64 deadline_ns)
{
	if (!self || !way.serial)
		return false;
	self->woken = woken;
	self->deadline = deadline_ns;
	if (way.directed)
		directed_wait();
	next_turn(false);
	self->woken = NULL;
	return true;
}

/* --- a run ----------------------------------------------------------------------------------- */

static void run_job(struct runner *r)
{
	self = r;
	r->job->fn(r->job->arg);
	self = NULL;
	r->done = true;
}

static void *start(void *arg)
{
	struct runner *r = arg, *next;

	hosted_cpu_set(r->number);
	if (!way.serial) {
		run_job(r);
		return NULL;
	}
	host_park(&contexts[r->number]);
	begin_turn(r);
	run_job(r);
	next = choose(false);
	host_switch(&contexts[r->number], next ? &contexts[next->number] : &caller);
	return NULL;
}

/* All of the run on the caller's time, and so on one of the host's CPUs. */
static void run_in_turn(void)
{
	for (u32 i = 0; i < runner_count; i++)
		host_await_parked(&contexts[i]);
	host_switch(&caller, &contexts[choose(false)->number]);
	for (u32 i = 0; i < runner_count; i++)
		host_release(&contexts[i]);
}

void hosted_run(const struct hosted_job *jobs, u32 count, const struct hosted_way *how)
{
	BUG_ON(count == 0 || count > HOSTED_JOBS_MAX || how->period == 0);
	way = *how;
	way.serial |= way.directed;
	stops = spins = 0;
	hosted_on_point = on_point;
	hosted_on_relax = on_relax;
	hosted_on_stand = on_stand;
	hosted_on_sleep = on_sleep;
	runner_count = count;
	choices = way.seed;
	trace = points = now_ns = 0;
	if (!way.serial)
		hosted_clock_free();
	/* All CPUs are there before the first job looks at how many there are. */
	hosted_cpu_set(count - 1);
	hosted_cpu_set(0);
	for (u32 i = 0; i < count; i++) {
		runners[i] = (struct runner){.job = &jobs[i], .number = i};
		contexts[i].parked = contexts[i].released = 0;
		runners[i].random = way.seed ^ (PARALLEL_SEEDS + i);
		runners[i].left = 1 + way.period;
	}
	for (u32 i = 0; i < HOSTED_STOPS_MAX; i++) {
		if (way.directed && way.stop[i].point)
			runners[way.stop[i].job].stop_at = way.stop[i].point;
	}
	for (u32 i = 0; i < count; i++)
		BUG_ON(pthread_create(&runners[i].host, NULL, start, &runners[i]));
	if (way.serial)
		run_in_turn();
	for (u32 i = 0; i < count; i++)
		pthread_join(runners[i].host, NULL);
}

u64 hosted_run_trace(void)
{
	return trace;
}

u64 hosted_run_points(void)
{
	return points;
}
