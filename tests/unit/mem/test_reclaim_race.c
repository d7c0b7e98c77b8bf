/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* unit-sanitizer: thread */
/*
 * Threads that need memory take pages beside each other, also of the same object, and so does kaged,
 * while objects come and go. Nobody's page is lost or another's, and none has less than it was
 * promised by their doing.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/reclaim.h"
#include "mem/share.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define VMS	3
#define PAGES	1536u /* of each; together more than there is */
#define THREADS 4
#define STEPS	1500u
#define PROMISE 200u
#ifndef NODES
#define NODES 1u
#endif

static struct vm {
	struct gmem *g;
	struct reclaim_target target;
	u32 stamp[PAGES]; /* atomic: what the page holds; its owner's */
} vms[VMS];
static bool ended; /* atomic */

static u64 look(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* Each thread has every fourth page for its own. */
static void step(u32 id, u64 *random)
{
	struct vm *vm = &vms[random_below(random, VMS)];
	u64 index = random_below(random, PAGES / THREADS) * THREADS + id;
	u32 tries = 0, *p, stamp;
	pfn_t pfn;
	int err;

	while ((err = gmem_hold(vm->g, index, true, &pfn)) == ERR_NOMEM) {
		(void)reclaim_help(&vm->target, 0);
		assert_true(++tries < 100000);
	}
	assert_int_equal(err, 0);
	p = pfn_to_virt(pfn);
	stamp = vm->stamp[index];
	for (u32 i = 0; i < PAGE_SIZE / 4; i += 64)
		assert_int_equal(p[i], stamp ? stamp + i / 64 : 0);
	stamp = random_below(random, 3) ? (u32)random_next(random) : 0;
	for (u32 i = 0; i < PAGE_SIZE / 4; i++)
		p[i] = stamp ? stamp + i / 64 : 0;
	vm->stamp[index] = stamp;
	gmem_release(vm->g, index, pfn, true);
}

static void *worker(void *arg)
{
	u32 id = (u32)(u64)arg;
	u64 random = 4711 + id;

	hosted_cpu_set(id);
	for (u32 i = 0; i < STEPS; i++)
		step(id, &random);
	return NULL;
}

/* One more object comes, is used and goes, while others take from it. */
static void *comer(void *arg)
{
	struct reclaim_terms terms = {.max = ~0ull, .shares = 1};
	static struct reclaim_target target;

	(void)arg;
	hosted_cpu_set(THREADS);
	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
		struct gmem *g;
		pfn_t pfn;

		if (gmem_create(600, &g))
			continue;
		reclaim_add(&target, g, &terms);
		for (u64 i = 0; i < 600; i++)
			(void)gmem_get_page(g, i, true, &pfn);
		reclaim_remove(&target);
		gmem_unref(g);
	}
	return NULL;
}

static void *watcher(void *arg)
{
	bool seen = false;

	(void)arg;
	hosted_cpu_set(THREADS + 1);
	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
		for (u32 i = 0; i < VMS; i++) {
			struct reclaim_room r;

			reclaim_get_room(&r);
			assert_true(r.promised >= 3);
		}
		/* Once it has what it was promised it keeps it, at every moment. */
		seen |= look(&vms[0].g->resident) >= PROMISE + THREADS;
		assert_true(!seen || look(&vms[0].g->resident) >= PROMISE);
		sched_yield();
	}
	return NULL;
}

/* Of all memory each has a part that no large block ends with; and every CPU is of one. */
static void set_nodes(void)
{
	static struct frame_nodes nodes = {.count = NODES, .range_count = NODES - 1};

	for (u32 i = 1; i < NODES; i++)
		nodes.ranges[i - 1] = (struct frame_node_range){
			MIB(12) / NODES / PAGE_SIZE * PAGE_SIZE * i + 77 * PAGE_SIZE,
			MIB(12) / NODES / PAGE_SIZE * PAGE_SIZE * (i + 1) + 77 * PAGE_SIZE, i};
	for (u32 cpu = 0; cpu < CPU_MAX; cpu++)
		nodes.of_cpu[cpu] = (u8)(cpu % NODES);
	frame_set_nodes(&nodes);
}

static void all_at_it(void **state)
{
	const struct reclaim_options options = {.min = 256, .low = 512, .high = 768, .tax = 75};
	pthread_t threads[THREADS], others[2];
	struct share_stats share;
	u64 before;

	before = start(MIB(12));
	set_nodes();
	assert_int_equal(reclaim_start(&options), 0);
	share_get_stats(&share);
	before -= share.table / PAGE_SIZE;
	for (u32 i = 0; i < VMS; i++) {
		struct reclaim_terms terms = {.min = i == 0 ? PROMISE : 0,
					      .max = i == 1 ? 700 : ~0ull,
					      .shares = 1 + 100 * i,
					      .costs = 1};

		assert_int_equal(gmem_create(PAGES, &vms[i].g), 0);
		reclaim_add(&vms[i].target, vms[i].g, &terms);
	}
	for (u64 i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, (void *)i), 0);
	assert_int_equal(pthread_create(&others[0], NULL, comer, NULL), 0);
	assert_int_equal(pthread_create(&others[1], NULL, watcher, NULL), 0);
	for (u32 i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&ended, true, __ATOMIC_RELEASE);
	for (u32 i = 0; i < 2; i++)
		pthread_join(others[i], NULL);
	assert_true(look(&vms[0].g->resident) >= PROMISE);
	assert_true(look(&vms[1].g->resident) <= 700 + THREADS);
	assert_true(look(&vms[0].g->fetched) + look(&vms[1].g->fetched) > 100);
	for (u32 i = 0; i < VMS; i++) {
		reclaim_remove(&vms[i].target);
		assert_int_equal(vms[i].target.taking, 0);
		gmem_unref(vms[i].g);
	}
	assert_true(free_now() + 1 + NODES >= before); /* vectors' and each kaged's */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
