/* SPDX-License-Identifier: MIT */
/* Operations side by side, stopped where the test says. See machine.h. */
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/panic.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/machine/machine_private.h"
#include "tests/hosted/schedule.h"

/* Jobs, and so CPUs. */
enum {
	DIRECTOR,
	RCU,
	FIRST,
	SECOND,
	JOBS
};

#define SHORT_NS 2300000000ull
#define FULL_NS	 120000000000ull

#define FAIL_ONE_IN 6

/* So many pairs of operations a day at least, even in half the time on a slow machine. */
#define PLACES_A_DAY 60

/* Which run it is. */
struct place {
	u32 first, second;	     /* operations */
	u32 stop_first, stop_second; /* at which of their points; 0: not */
	bool accessed_dirty, pml, failing;
	u32 variant;
};

static const struct machine_pairs *pairs;
static struct place *now; /* shared with the process that runs it */
static u64 *runs_done, *places_done;
static bool started; /* atomic */
static u32 arrived;  /* atomic */
static u32 looked;   /* atomic */

/* --- one run --------------------------------------------------------------------------------- */

static void operation_job(void *arg)
{
	struct mmu_vcpu *v = &machine.vm[0].vcpu[cpu_id() - FIRST];
	const struct machine_operation *op = arg;

	while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
		hosted_stand(LOOK_AGAIN);
	pairs->prepare(v, now->variant);
	if (now->failing)
		hosted_fail_often(FAIL_ONE_IN, now->stop_first);
	hosted_count_points();
	op->fn(v);
	hosted_count_no_more();
	__atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) != 2)
		hosted_stand(LOOK_AGAIN);
	hosted_fail_often(0, 0);
	pairs->look(v);
	__atomic_fetch_add(&looked, 1, __ATOMIC_ACQ_REL);
}

static void director_job(void *arg)
{
	(void)arg;
	machine_vm_start(&machine.vm[0]);
	pairs->set_up(now->variant);
	__atomic_store_n(&started, true, __ATOMIC_RELEASE);
	while (__atomic_load_n(&looked, __ATOMIC_ACQUIRE) != 2)
		hosted_stand(LOOK_AGAIN);
	machine_check_contents();
	if (pairs->check)
		pairs->check();
	machine_vm_end(&machine.vm[0]);
	machine_objects_end();
	machine_off();
}

/* Returns how many points each of the two had. */
static void run(const struct place *p, u32 *first_points, u32 *second_points)
{
	const struct machine_operation *first = &pairs->operations[p->first];
	const struct machine_operation *second = &pairs->operations[p->second];
	const struct hosted_job jobs[JOBS] = {
		[DIRECTOR] = {"director", director_job, NULL},
		[RCU] = {"rcu", machine_rcu_job, NULL},
		[FIRST] = {first->name, operation_job, (void *)first},
		[SECOND] = {second->name, operation_job, (void *)second},
	};
	struct hosted_way way = {
		.directed = true,
		.period = 1,
		.stop = {{FIRST, p->stop_first}, {SECOND, p->stop_second}},
	};

	*now = *p;
	memset(&machine, 0, sizeof(machine));
	machine.serial = true;
	machine.accessed_dirty = p->accessed_dirty;
	machine.pml = p->pml;
	machine.failing = p->failing;
	machine.vms = 1;
	machine.hot_pages = 1;
	started = false;
	arrived = looked = 0;
	machine_on(pairs->memory, 1);
	hosted_run(jobs, JOBS, &way);
	*first_points = hosted_points_counted(FIRST);
	*second_points = hosted_points_counted(SECOND);
	(*runs_done)++;
}

/* --- all runs -------------------------------------------------------------------------------- */

static bool full;
static u64 random_state;

/* Every point of the first, for all of the second; and as many pairs of points. */
static void stop_everywhere(struct place p)
{
	u32 first, second, most, unused;

	run(&p, &first, &second);
	for (most = first, p.stop_first = 1; p.stop_first <= most; p.stop_first++)
		run(&p, &first, &unused);
	for (u32 i = 0; i < most; i++) {
		p.stop_first = 1 + random_below(&random_state, most);
		p.stop_second = 1 + random_below(&random_state, second ? second : 1);
		run(&p, &first, &unused);
	}
}

static void stop_somewhere(struct place p)
{
	u32 first, second, unused;

	run(&p, &first, &second);
	for (u32 i = 0; i < 4; i++) {
		p.stop_first = 1 + random_below(&random_state, first ? first : 1);
		p.stop_second = i < 3 ? 0 : 1 + random_below(&random_state, second ? second : 1);
		run(&p, &unused, &unused);
	}
}

/* CPUs: EPT, the same with A and D bits, with PML; each with allocations that fail, and without. */
enum {
	WAY_EPT,
	WAY_AD,
	WAY_PML,
	WAYS
};

static struct place place_of(u32 first, u32 second, u64 number)
{
	struct place p = {.first = first, .second = second};
	u32 way;

	p.failing = number % 2;
	number /= 2;
	way = number % (pairs->logs ? WAYS : WAY_PML);
	p.variant = number / WAYS % pairs->variants;
	p.accessed_dirty = way >= WAY_AD;
	p.pml = way == WAY_PML;
	return p;
}

/*
 * All pairs come in turn, in an order in which neighbours have nothing in common; where the date
 * has led to. Each time that a pair comes it is on other CPUs, or begins in another way.
 */
static struct place place_at(u64 n)
{
	u64 all = (u64)pairs->count * pairs->count, step = all / 2;
	u64 at, a, b, t;

	/* The next number below half of them that has no factor in common with them. */
	do {
		step--;
		for (a = all, b = step; b; t = a % b, a = b, b = t)
			;
	} while (a != 1);
	at = n % all * step % all;
	return place_of(at / pairs->count, at % pairs->count, n / all + at);
}

static u32 operation_of(const char *name)
{
	u32 i = 0;

	while (i < pairs->count && strcmp(pairs->operations[i].name, name) != 0)
		i++;
	BUG_ON(i == pairs->count);
	return i;
}

static void stop_at(struct place p)
{
	if (full)
		stop_everywhere(p);
	else
		stop_somewhere(p);
	(*places_done)++;
}

static void all_runs(void *arg)
{
	u64 end_ns = run_clock_ns() + run_budget_ns(SHORT_NS, FULL_NS), seed = run_seed();
	u64 n = seed * PLACES_A_DAY;

	(void)arg;
	for (u32 i = 0; i < pairs->known_count; i++)
		stop_at(place_of(operation_of(pairs->known[i].first),
				 operation_of(pairs->known[i].second), seed + i));
	while (run_clock_ns() < end_ns)
		stop_at(place_at(n++));
}

void machine_pairs(const struct machine_pairs *p)
{
	pairs = p;
	now = machine_shared(sizeof(*now));
	runs_done = machine_shared(sizeof(*runs_done));
	places_done = machine_shared(sizeof(*places_done));
	full = run_is_full();
	random_state = run_seed();
	printf("%s: WEIR_SEED=%" PRIu64 "\n", p->name, run_seed());
	if (machine_apart(all_runs, NULL))
		fail_msg("%s: %s, stopped at its point %u, and %s, at %u; variant %u%s%s%s",
			 p->name, p->operations[now->first].name, now->stop_first,
			 p->operations[now->second].name, now->stop_second, now->variant,
			 now->accessed_dirty ? ", with A and D bits" : "",
			 now->pml ? ", with PML" : "", now->failing ? ", failing" : "");
	printf("%s: %" PRIu64 " pairs, %" PRIu64 " runs\n", p->name, *places_done, *runs_done);
}
