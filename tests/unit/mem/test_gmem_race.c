/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* unit-sanitizer: thread */
/* Threads at the same pages, frames and objects at once; ThreadSanitizer watches. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "kernel/base/error.h"
#include "mem/slab.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

#define THREADS 4

static pthread_barrier_t barrier;

static void run(void *(*fn)(void *))
{
	pthread_t threads[THREADS];
	u32 numbers[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (u32 i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, fn, &numbers[i]), 0);
	}
	for (u32 i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
}

/* --- R34: all get the same untouched pages at once ----------------------------------------- */

#define PAGES 3000

static struct gmem *g;
static u64 seen[THREADS][PAGES];

static void *get_all(void *arg)
{
	u32 me = *(u32 *)arg;

	hosted_cpu_set(me);
	for (u32 i = 0; i < PAGES; i++) {
		pfn_t pfn;

		/* Together at each page, as far as threads can be. */
		if (i % 50 == 0)
			pthread_barrier_wait(&barrier);
		if (gmem_get_page(g, i, (i + me) % 2, &pfn))
			continue;
		seen[me][i] = pfn.v;
	}
	return NULL;
}

static void r34_one_wins(void **state)
{
	u64 before = start(MIB(64)), chunks = (PAGES + GMEM_CHUNK_ENTRIES - 1) / GMEM_CHUNK_ENTRIES;
	u64 created;

	assert_int_equal(gmem_create(PAGES, &g), 0);
	created = free_now();
	run(get_all);
	for (u32 i = 0; i < PAGES; i++) {
		assert_int_not_equal(seen[0][i], 0);
		for (u32 t = 1; t < THREADS; t++)
			assert_int_equal(seen[t][i], seen[0][i]);
	}
	/* The losers' frames went back, and nobody counted twice. */
	assert_int_equal(created - free_now(), PAGES + chunks);
	assert_int_equal(g->resident, PAGES);
	assert_int_equal(gmem_resident_peak(g), PAGES);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* At order 9 nobody makes the page a second time: the others wait for the one who does. */
static void r34_large(void **state)
{
	u64 before = start(MIB(16)), created;

	/* Room for what is wanted, and for no frame more of the kind. */
	assert_int_equal(gmem_create_order(6 * GMEM_LARGE_PAGES, 9, &g), 0);
	created = free_now();
	memset(seen, 0, sizeof(seen));
	run(get_all);
	for (u32 i = 0; i < PAGES; i++) {
		assert_int_not_equal(seen[0][i], 0);
		for (u32 t = 0; t < THREADS; t++)
			assert_int_equal(seen[t][i], seen[0][i]);
	}
	assert_int_equal(created - free_now(), g->resident + 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* --- R37: claims against touches, pins and each other -------------------------------------- */

#define HOT_PAGES 4
#define ROUNDS	  2000 /* at least, of each pinner */
#define CLAIMS	  200  /* at least, in all: else the race was none */

static u64 claims;  /* atomic */
static u32 pinners; /* atomic: still at it */

/* What a reclaimer does: takes pages away, whose contents nobody needs. */
static void claim_one(u64 index)
{
	u64 entry;

	if (gmem_claim(g, index, &entry))
		return;
	frame_free(gmem_entry_pfn(entry), 0);
	gmem_settle(g, index, GMEM_ABSENT);
	__atomic_fetch_add(&claims, 1, __ATOMIC_RELAXED);
}

static const char *pin_one(u64 index, u32 me, u32 value)
{
	const char *fault = NULL;
	pfn_t pfn, again;
	u32 *word;

	if (gmem_pin(g, index, true, &pfn))
		return "pin failed";
	/* While it is pinned the frame is the page's and keeps what is written. */
	word = (u32 *)pfn_to_virt(pfn) + me;
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
	if (gmem_get_page(g, index, false, &again) || again.v != pfn.v)
		fault = "a pinned page moved";
	else if (__atomic_load_n(word, __ATOMIC_RELAXED) != value)
		fault = "a pinned page lost what was written";
	gmem_unpin(g, index, pfn, true);
	return fault;
}

static void *claim_or_pin(void *arg)
{
	u32 me = *(u32 *)arg, i = 0;

	hosted_cpu_set(me);
	pthread_barrier_wait(&barrier);
	if (me % 2) {
		while (__atomic_load_n(&pinners, __ATOMIC_RELAXED))
			claim_one(i++ % HOT_PAGES);
		return NULL;
	}
	while (i < ROUNDS || __atomic_load_n(&claims, __ATOMIC_RELAXED) < CLAIMS) {
		const char *fault = pin_one((i * 7 + me) % HOT_PAGES, me, i + 1);

		if (fault) {
			fprintf(stderr, "%s\n", fault);
			abort();
		}
		if (i++ % 16 == 0)
			sched_yield();
	}
	__atomic_fetch_sub(&pinners, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void claims_and_pins(void **state)
{
	u64 before = start(MIB(64));

	assert_int_equal(gmem_create(HOT_PAGES, &g), 0);
	pinners = THREADS / 2;
	run(claim_or_pin);
	assert_int_equal(g->pins, 0);
	assert_in_range(g->resident, 0, HOT_PAGES);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* --- Waiting on BUSY ------------------------------------------------------------------------ */

static u64 got[THREADS];

static void *wait_for_busy(void *arg)
{
	u32 me = *(u32 *)arg;
	pfn_t pfn = PFN(0);
	u64 entry = 0;
	int err = 0;

	hosted_cpu_set(me);
	if (me == 0)
		err = gmem_claim(g, 0, &entry);
	pthread_barrier_wait(&barrier);
	if (me == 0) {
		struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

		/* The others are asleep on it by now, or will find it BUSY still. */
		nanosleep(&pause, NULL);
		gmem_settle(g, 0, entry);
	} else {
		err = gmem_get_page(g, 0, true, &pfn);
	}
	got[me] = err ? 0 : me ? pfn.v : gmem_entry_pfn(entry).v;
	return NULL;
}

static void waiters_are_woken(void **state)
{
	u64 before = start(MIB(16));
	pfn_t pfn;

	assert_int_equal(gmem_create(1, &g), 0);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	for (u32 i = 0; i < 5; i++) {
		run(wait_for_busy);
		for (u32 t = 0; t < THREADS; t++)
			assert_int_equal(got[t], pfn.v);
	}
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* --- R35: who waits for a page holds none ---------------------------------------------------- */

#define STUCK 5 /* the page that somebody has BUSY */

static u32 stage; /* atomic */

static void wait_until(u32 wanted)
{
	while (__atomic_load_n(&stage, __ATOMIC_ACQUIRE) < wanted)
		sched_yield();
}

static void *drop_around(void *arg)
{
	u32 me = *(u32 *)arg;
	u64 entry = 0, done = 0;
	int err = 0;

	hosted_cpu_set(me);
	if (me == 0) {
		err = gmem_claim(g, STUCK, &entry);
		__atomic_store_n(&stage, 1, __ATOMIC_RELEASE);
		/* What the other can have is gone while it waits, and nothing of it is BUSY. */
		for (u64 i = 0; i < STUCK; i++) {
			while (gmem_entry_state(gmem_entry(g, i)) != GMEM_ABSENT)
				sched_yield();
		}
		gmem_wait_idle(g, 0);
		got[0] = 0;
		for (u64 i = STUCK + 1; i < 10; i++)
			got[0] += gmem_entry_state(gmem_entry(g, i)) == GMEM_GOT_PAGE;
		gmem_settle(g, STUCK, entry);
	} else if (me == 1) {
		wait_until(1);
		err = gmem_drop_range(g, 0, 10, &done);
		got[1] = done;
	}
	if (err)
		got[me] = ~0ull;
	return NULL;
}

static void r35_waits_for_the_first_only(void **state)
{
	u64 before = start(MIB(16));
	pfn_t pfn;

	assert_int_equal(gmem_create(10, &g), 0);
	for (u64 i = 0; i < 10; i++)
		assert_int_equal(gmem_get_page(g, i, true, &pfn), 0);
	stage = 0;
	run(drop_around);
	assert_int_equal(got[0], 4);
	assert_int_equal(got[1], 10);
	assert_int_equal(g->resident, 0);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* --- The end of an invalidation is waited for ------------------------------------------------ */

static bool ended; /* atomic */

static void *wait_for_end(void *arg)
{
	u32 me = *(u32 *)arg;

	hosted_cpu_set(me);
	if (me == 0)
		gmem_invalidate_begin(g, 0, 600);
	pthread_barrier_wait(&barrier);
	if (me == 0) {
		struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

		nanosleep(&pause, NULL);
		__atomic_store_n(&ended, true, __ATOMIC_RELEASE);
		gmem_invalidate_end(g, 0, 600);
	} else {
		gmem_wait_idle(g, me == 1 ? 0 : 599);
		got[me] = __atomic_load_n(&ended, __ATOMIC_ACQUIRE);
	}
	return NULL;
}

static void waiters_for_the_end(void **state)
{
	u64 before = start(MIB(16));

	assert_int_equal(gmem_create(700, &g), 0);
	for (u32 i = 0; i < 5; i++) {
		ended = false;
		run(wait_for_end);
		for (u32 t = 1; t < THREADS; t++)
			assert_int_equal(got[t], true);
	}
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* --- The allocators themselves -------------------------------------------------------------- */

static void *allocate(void *arg)
{
	u32 me = *(u32 *)arg, seed = me + 1, count = 0;
	struct {
		pfn_t pfn;
		u32 order;
		void *object;
	} held[40];

	hosted_cpu_set(me);
	for (u32 i = 0; i < 20000; i++) {
		seed = seed * 1103515245 + 12345;
		if (count < ARRAY_SIZE(held) && seed >> 31) {
			held[count].object = NULL;
			held[count].order = seed >> 16 & 7 ? 0 : seed >> 20 & 3;
			if (seed >> 24 & 1)
				held[count].object = kmalloc(1 + (seed >> 8 & 511));
			else if (frame_alloc(held[count].order, 0, &held[count].pfn))
				abort();
			/* Whoever else has it writes too, and one of the two sees the other. */
			if (held[count].object)
				*(u8 *)held[count].object = me;
			else
				*(u64 *)pfn_to_virt(held[count].pfn) = me;
			count++;
		} else if (count) {
			u32 which = (seed >> 8) % count;

			if (held[which].object)
				kfree(held[which].object);
			else
				frame_free(held[which].pfn, held[which].order);
			held[which] = held[--count];
		}
	}
	while (count--) {
		if (held[count].object)
			kfree(held[count].object);
		else
			frame_free(held[count].pfn, held[count].order);
	}
	return NULL;
}

static void allocators(void **state)
{
	u64 before = start(MIB(16));
	pfn_t pfn;

	run(allocate);
	assert_int_equal(free_now(), before);
	assert_int_equal(frame_alloc(11, 0, &pfn), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r34_one_wins),
		cmocka_unit_test(claims_and_pins),
		cmocka_unit_test(r34_large),
		cmocka_unit_test(waiters_are_woken),
		cmocka_unit_test(r35_waits_for_the_first_only),
		cmocka_unit_test(waiters_for_the_end),
		cmocka_unit_test(allocators),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
