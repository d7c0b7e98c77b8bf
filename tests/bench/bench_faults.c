/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* unit-cflags: -UWEIR_DEBUG -DWEIR_DEBUG=0 */
/* unit-sanitizer: none */
/*
 * Faults on this machine's own CPUs: how many a second one thread takes, and two at once, each as
 * a vCPU of the same VM on pages of its own that are resident. What they cost each other shows in
 * each thread's CPU time, but for the time in which one sleeps for another, which shows by the
 * clock. It says something only when nothing else runs on the machine.
 *
 *	bench_faults [ROUNDS]
 */
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define THREADS_MAX 2
#define PAGES	    4096 /* of each thread: eight tables */
#define REPEATS	    5	 /* the best of so many counts */

static u64 rounds = 200;
static pthread_barrier_t barrier;

struct worker {
	u64 number;
	u64 fault_ns, wall_ns;
};

/* Faults a second of all together: in CPU time, and by the clock. */
struct rate {
	double cpu, wall;
};

static u64 now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void fault_all(struct mmu_vcpu *v, u64 first)
{
	for (u64 i = 0; i < PAGES; i++) {
		if (touch(v, GPA((first + i) << 12), MMU_WRITE))
			abort();
		if (mmu_vcpu_topup(v))
			abort();
	}
}

/* All fault at once, then all unmap: the time of the faults alone counts. */
static void *work(void *arg)
{
	struct worker *w = arg;
	u64 first = w->number * PAGES, start, wall;
	struct mmu_vcpu v;

	hosted_cpu_set((u32)w->number + 1);
	mmu_vcpu_init(&v, &vm);
	fault_all(&v, first);
	w->fault_ns = w->wall_ns = 0;
	for (u64 i = 0; i < rounds; i++) {
		mmu_unmap(&vm, GFN(first), PAGES);
		pthread_barrier_wait(&barrier);
		wall = now_ns(CLOCK_MONOTONIC);
		start = now_ns(CLOCK_THREAD_CPUTIME_ID);
		fault_all(&v, first);
		w->fault_ns += now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
		w->wall_ns += now_ns(CLOCK_MONOTONIC) - wall;
		pthread_barrier_wait(&barrier);
	}
	mmu_vcpu_destroy(&v);
	return NULL;
}

static struct rate measure(u64 threads)
{
	const double faults = (double)(rounds * PAGES);
	struct worker workers[THREADS_MAX];
	pthread_t handles[THREADS_MAX];
	struct rate sum = {0};

	pthread_barrier_init(&barrier, NULL, (unsigned int)threads);
	for (u64 i = 0; i < threads; i++) {
		workers[i].number = i;
		pthread_create(&handles[i], NULL, work, &workers[i]);
	}
	for (u64 i = 0; i < threads; i++) {
		pthread_join(handles[i], NULL);
		sum.cpu += faults / ((double)workers[i].fault_ns / 1e9);
		sum.wall += faults / ((double)workers[i].wall_ns / 1e9);
	}
	pthread_barrier_destroy(&barrier);
	return sum;
}

int main(int argc, char **argv)
{
	struct rate best[THREADS_MAX + 1] = {0};
	struct gmem *g;

	if (argc > 1)
		rounds = strtoull(argv[1], NULL, 0);
	fixture_start(MIB(64));
	g = object_new(THREADS_MAX * PAGES);
	if (memslot_create(&vm, 0, GFN(0), THREADS_MAX * PAGES, g, 0, MEMSLOT_NO_LARGE))
		return 1;
	for (u64 i = 0; i < REPEATS; i++) {
		for (u64 threads = 1; threads <= THREADS_MAX; threads++) {
			struct rate r = measure(threads), *b = &best[threads];

			b->cpu = max(b->cpu, r.cpu);
			b->wall = max(b->wall, r.wall);
		}
	}
	/* Threads, faults a second, times those of one thread, both by the clock: see faults.py. */
	for (u64 threads = 1; threads <= THREADS_MAX; threads++)
		printf("faults: %lu %.0f %.2f %.0f %.2f\n", threads, best[threads].cpu,
		       best[threads].cpu / best[1].cpu, best[threads].wall,
		       best[threads].wall / best[1].wall);
	gmem_unref(g);
	fixture_end();
	return 0;
}
