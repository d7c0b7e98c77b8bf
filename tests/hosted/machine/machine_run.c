/* SPDX-License-Identifier: MIT */
/* Runs of a scenario on the fake machine. See machine.h. */
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "kernel/base/panic.h"
#include "tests/hosted/machine/fake_cpu.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/hosted/machine/machine_private.h"

#ifdef __SANITIZE_THREAD__
#define WATCHES_RACES true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WATCHES_RACES true
#endif
#endif
#ifndef WATCHES_RACES
#define WATCHES_RACES false
#endif

/* A serial run, of which there is none under ThreadSanitizer, takes a fraction of a parallel one. */
#define SHORT_NS    (WATCHES_RACES ? 2000000000ull : 1400000000ull)
#define FULL_NS	    120000000000ull
#define RUNS_MORE   (WATCHES_RACES ? 60u : 10u) /* at most, for what was not met often enough */
#define FAIL_ONE_IN 40
#define HOT_PAGES   5

/*
 * The least number of serial runs, of those that count, that lost races are reckoned by: after
 * fewer they are not said to be too seldom. Of parallel runs nothing is asked there: the slower the
 * host has them, the fewer races they lose.
 */
#define SERIAL_LEAST (WATCHES_RACES ? 0ull : 20ull)
/*
 * The same, of all runs that count, for what else they meet. Where none is serial once is enough: on a
 * host that lets the program run little, vCPUs are hardly ever met in the guest.
 */
#define RUNS_TEN 10ull

/* How a run goes: all of it from its seed. */
struct run {
	struct hosted_way way;
	bool accessed_dirty, failing, pml, shadow;
	u32 hot_slot, hot_pages;
	u64 random; /* of set_up and, by more, of the CPUs */
};

static const struct machine_scenario *scenario;
static struct run run;
/* Of all runs that count; shared with their processes. */
static struct {
	u64 runs, serial;
	u64 races_lost; /* serial runs that lost some: one long race gives many */
	struct machine_met met;
} * all;
static bool started;	   /* atomic */
static u32 guests_running; /* atomic */

/* Kinds of CPUs: EPT, the same with A and D bits, with PML, and none. */
static u32 kinds(void)
{
	if (scenario->linear)
		return 1;
	return scenario->logs ? 4 : 3;
}

/* Each kind of CPU in turn, in every second of its runs with allocations that fail. */
static void choose_kind(struct run *r, u64 seed)
{
	u32 n = kinds(), kind = seed % n;

	r->shadow = kind == n - 1;
	r->accessed_dirty = r->shadow || kind >= 1;
	r->pml = !r->shadow && kind >= 2;
	r->failing = (n % 2 ? seed : seed / n + seed) % 2;
}

static u32 runs_least(void)
{
	return WATCHES_RACES ? max(3u, kinds()) : max(5u, 2 * kinds());
}

static struct run run_of(u64 seed)
{
	static const u32 periods[] = {3, 8, 20, 60, 200};
	u64 random = seed;
	struct run r = {.way.seed = seed};

	r.way.serial = !WATCHES_RACES && random_below(&random, 4);
	r.way.period = periods[random_below(&random, ARRAY_SIZE(periods))];
	choose_kind(&r, seed);
	r.hot_slot = random_below(&random, MACHINE_SLOTS);
	r.hot_pages = 1 + random_below(&random, HOT_PAGES);
	r.random = random_next(&random);
	/* Without EPT faults have far more points. */
	if (r.shadow && !r.way.serial)
		r.way.period = max(r.way.period, 60u);
	return r;
}

/* --- jobs ------------------------------------------------------------------------------------ */

static void wait_for_start(void)
{
	while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
		hosted_stand(LOOK_AGAIN);
}

static u64 random_of_cpu(void)
{
	u64 state = run.random + cpu_id();

	return random_next(&state);
}

static bool goes_on(void)
{
	return relaxed(&machine.accesses) < scenario->accesses ||
	       relaxed(&machine.rounds) < scenario->rounds ||
	       (scenario->enough && !scenario->enough());
}

static void guest_job(void *arg)
{
	u64 random = random_of_cpu();

	(void)arg;
	wait_for_start();
	while (goes_on())
		machine_guest_turn(&random);
	/* A job that wants them to stand still has its way. */
	while (__atomic_load_n(&machine.working, __ATOMIC_ACQUIRE))
		machine_stand();
	__atomic_fetch_sub(&guests_running, 1, __ATOMIC_RELEASE);
}

static void other_job(void *arg)
{
	const struct machine_job *job = arg;
	u64 random = random_of_cpu();

	wait_for_start();
	while (goes_on() || (job->serves && relaxed(&machine.served))) {
		job->fn(&random);
		relaxed_add(&machine.rounds, 1);
		machine_pause(&random);
	}
	if (!job->serves)
		relaxed_add(&machine.served, -1u);
	__atomic_fetch_sub(&machine.working, 1, __ATOMIC_RELEASE);
}

/* Begins and ends the run, alone. */
static void director_job(void *arg)
{
	u64 random = random_of_cpu();

	(void)arg;
	for (u32 i = 0; i < scenario->vms; i++)
		machine_vm_start(&machine.vm[i]);
	scenario->set_up(&random);
	if (run.failing)
		hosted_fail_often(FAIL_ONE_IN, run.random);
	__atomic_store_n(&started, true, __ATOMIC_RELEASE);
	while (__atomic_load_n(&guests_running, __ATOMIC_ACQUIRE))
		hosted_stand(LOOK_AGAIN);
	hosted_fail_often(0, 0);
	machine_check_contents();
	if (scenario->tear_down)
		scenario->tear_down();
	for (u32 i = 0; i < scenario->vms; i++)
		machine_vm_end(&machine.vm[i]);
	machine_objects_end();
	machine_off();
}

static u32 add_jobs(struct hosted_job *jobs)
{
	u32 n = 0;

	jobs[n++] = (struct hosted_job){"director", director_job, NULL};
	jobs[n++] = (struct hosted_job){"rcu", machine_rcu_job, NULL};
	for (u32 i = 0; i < scenario->guests; i++)
		jobs[n++] = (struct hosted_job){"guest", guest_job, NULL};
	for (u32 i = 0; i < ARRAY_SIZE(scenario->jobs) && scenario->jobs[i].fn; i++) {
		jobs[n++] = (struct hosted_job){scenario->jobs[i].name, other_job,
						(void *)&scenario->jobs[i]};
		machine.working++;
		machine.served += !scenario->jobs[i].serves;
	}
	return n;
}

static void add_up(void)
{
	all->runs++;
	all->serial += run.way.serial;
	all->races_lost += run.way.serial && machine.retries;
#define ADD(name) all->met.name += machine.met.name;
	MACHINE_MET(ADD)
}

static void one_run(void *arg)
{
	u64 seed = *(const u64 *)arg;
	struct hosted_job jobs[HOSTED_JOBS_MAX];
	struct fake_cpu_stats cpus;
	u32 n;

	run = run_of(seed);
	machine.seed = seed;
	machine.serial = run.way.serial;
	machine.failing = run.failing;
	machine.accessed_dirty = run.accessed_dirty;
	machine.shadow = run.shadow;
	machine.vms = scenario->vms;
	machine.guests = scenario->guests;
	machine.pml = run.pml;
	machine.hot_slot = run.hot_slot;
	machine.hot_pages = run.hot_pages;
	machine.few_pins = scenario->few_pins;
	machine.alike = scenario->alike;
	machine_before_entry = scenario->before_entry;
	machine_call = scenario->call;
	machine_memory_init = scenario->memory_init;
	machine_no_memory = scenario->no_memory;
	machine.reclaims = scenario->memory_init != NULL;
	guests_running = scenario->guests;
	printf("%s: WEIR_SEED=%" PRIu64 ", %s, a choice in %u points%s%s%s", scenario->name, seed,
	       run.way.serial ? "serial" : "parallel", run.way.period,
	       run.shadow	    ? ", shadow paging"
	       : run.accessed_dirty ? ", A and D bits"
				    : "",
	       run.pml ? ", PML" : "", run.failing ? ", failing" : "");
	fflush(stdout);
	machine_on(scenario->memory, run.random);
	n = add_jobs(jobs);
	run.way.choice_ns = scenario->choice_ns;
	hosted_run(jobs, n, &run.way);
	cpus = fake_cpus_stats();
	if (!run.shadow || scenario->linear)
		add_up();
	printf(": %" PRIu64 " accesses, %" PRIu64 " faults, %" PRIu64 " retries, %" PRIu64
	       " to devices; %" PRIu64 " kicks, %" PRIu64 " INVEPTs; %" PRIu64 " rounds, %" PRIu64
	       " points; %" PRIu64 " at INVALID, %" PRIu64 " large, %" PRIu64 " split, %" PRIu64
	       " collapsed\n",
	       machine.accesses, machine.faults, machine.retries, machine.no_slot, cpus.kicks,
	       cpus.invepts, machine.rounds, hosted_run_points(), machine.met.invalid,
	       machine.met.large, machine.met.split, machine.met.collapsed);
}

static void run_apart(u64 seed)
{
	if (machine_apart(one_run, &seed))
		fail_msg("%s failed; WEIR_SEED=%" PRIu64 " repeats it", scenario->name, seed);
}

/* What all runs have to meet, times RUNS_TEN, of what ten are to meet in_ten times. */
static u64 least(u64 in_ten)
{
	return WATCHES_RACES ? min(in_ten, 1ull) * RUNS_TEN : in_ten * max(all->runs, RUNS_TEN);
}

/* What is not met as often as the scenario says, or NULL. */
static const char *missing(void)
{
#define LOOK(name)                                                  \
	if (all->met.name * RUNS_TEN < least(scenario->meets.name)) \
		return #name;
	MACHINE_MET(LOOK)
	if (all->races_lost * 100 < scenario->races_lost * max(all->serial, SERIAL_LEAST))
		return "lost races";
	return NULL;
}

static u64 seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec;
}

/* Runs until nothing is missing; or why there are no more of them. */
static const char *go_on(u64 seed, u32 *runs, u64 end)
{
	u32 more = 0;

	while (missing()) {
		if (all->serial + 1 > SERIAL_LEAST && more++ == RUNS_MORE)
			return "as many runs more as there may be were in vain";
		if (seconds() >= end)
			return "half of WEIR_DEADLINE has passed";
		run_apart(seed + (*runs)++);
	}
	return NULL;
}

void machine_runs(const struct machine_scenario *s)
{
	u64 budget = run_budget_ns(SHORT_NS, FULL_NS);
	u64 start = run_clock_ns(), end = seconds() + hosted_deadline() / 2, seed = run_seed();
	const char *ended;
	u32 i;

	scenario = s;
	all = machine_shared(sizeof(*all));
	for (i = 0; i < runs_least() || run_clock_ns() - start < budget; i++)
		run_apart(seed + i);
	ended = go_on(seed, &i, end);
	printf("%s: %" PRIu64 " of %u runs count; %" PRIu64 " are serial, %" PRIu64
	       " of these lost races\n",
	       s->name, all->runs, i, all->serial, all->races_lost);
	if (ended)
		fail_msg("%s: what the runs are for they meet too seldom: %s; %s", s->name,
			 missing(), ended);
}
