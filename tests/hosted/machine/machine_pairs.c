/* SPDX-License-Identifier: MIT */
/* Operations side by side, stopped where the test says. See machine.h. */
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "kernel/base/panic.h"
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

/* Which run it is. */
struct place {
	u32 first, second;	     /* operations */
	u32 stop_first, stop_second; /* at which of their points; 0: not */
	bool accessed_dirty, pml;
	u32 variant;
};

static const struct machine_pairs *pairs;
static struct place *now; /* shared with the process that runs it */
static u64 *runs_done;
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
	hosted_count_points();
	op->fn(v);
	hosted_count_no_more();
	__atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) != 2)
		hosted_stand(LOOK_AGAIN);
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

static struct place random_place(void)
{
	struct place p = {.first = random_below(&random_state, pairs->count),
			  .second = random_below(&random_state, pairs->count)};

	p.variant = random_below(&random_state, pairs->variants);
	p.accessed_dirty = random_below(&random_state, 2);
	p.pml = pairs->logs && p.accessed_dirty && random_below(&random_state, 2);
	return p;
}

static void all_runs(void *arg)
{
	u64 end_ns = run_clock_ns() + run_budget_ns(SHORT_NS, FULL_NS);

	(void)arg;
	while (run_clock_ns() < end_ns) {
		if (full)
			stop_everywhere(random_place());
		else
			stop_somewhere(random_place());
	}
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	BUG_ON(p == MAP_FAILED);
	return p;
}

void machine_pairs(const struct machine_pairs *p)
{
	pairs = p;
	now = shared(sizeof(*now));
	runs_done = shared(sizeof(*runs_done));
	full = run_is_full();
	random_state = run_seed();
	printf("%s: WEIR_SEED=%" PRIu64 "\n", p->name, run_seed());
	if (machine_apart(all_runs, NULL))
		fail_msg("%s: %s, stopped at its point %u, and %s, at %u; variant %u%s%s", p->name,
			 p->operations[now->first].name, now->stop_first,
			 p->operations[now->second].name, now->stop_second, now->variant,
			 now->accessed_dirty ? ", with A and D bits" : "",
			 now->pml ? ", with PML" : "");
	printf("%s: %" PRIu64 " runs\n", p->name, *runs_done);
}
