/* SPDX-License-Identifier: MIT */
/* Objects with shares, promises and bounds, of which pages are taken. No guest maps anything. */
#ifndef TESTS_UNIT_MEM_RECLAIM_VMS_H
#define TESTS_UNIT_MEM_RECLAIM_VMS_H

#include <string.h>
#include "mem/gmem_private.h"
#include "mem/reclaim_private.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define VMS   3
#define PAGES 2048u
#define ANY   ~0ull

static struct vm {
	struct gmem *g;
	struct gmem_notifier n;
	struct reclaim_target target;
	u64 used; /* the first so many are used all the time */
} vms[VMS];
static u64 now_ns, before;
static u32 splits;

static inline u64 notify(struct gmem_notifier *n, struct gmem *g, enum gmem_event event, u64 first,
			 u64 pages, u64 *young)
{
	const struct vm *vm = container_of(n, struct vm, n);

	splits += event == GMEM_EVENT_SPLIT;
	for (u64 i = 0; event == GMEM_EVENT_AGE && young && i < pages; i++) {
		if (first + i < vm->used)
			young[i / 64] |= BIT(i % 64);
	}
	return 0;
}

static inline void touch(const struct vm *vm, u64 index, bool packs)
{
	u64 random = index + 7;
	pfn_t pfn;
	u64 *p;

	assert_int_equal(gmem_get_page(vm->g, index, true, &pfn), 0);
	p = pfn_to_virt(pfn);
	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = packs ? index + 1 + i % 8 : random_next(&random);
}

static inline void make_vm(u32 i, u64 pages, const struct reclaim_terms *terms)
{
	struct vm *vm = &vms[i];

	memset(vm, 0, sizeof(*vm));
	assert_int_equal(gmem_create(PAGES, &vm->g), 0);
	vm->n.notify = notify;
	gmem_notifier_add(vm->g, &vm->n);
	reclaim_add(&vm->target, vm->g, terms);
	for (u64 p = 0; p < pages; p++)
		touch(vm, p, true);
}

static inline int setup(void **state)
{
	const struct reclaim_options options = {.tax = 75};

	before = start(MIB(48));
	memset(vms, 0, sizeof(vms));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	watermarks.low = watermarks.high = 1u << 20; /* memory is short for whoever asks */
	watermarks.min = 1;
	frame_leave_to_reclaim(0);
	return 0;
}

static inline int teardown(void **state)
{
	for (u32 i = 0; i < VMS; i++) {
		if (!vms[i].g)
			continue;
		reclaim_remove(&vms[i].target);
		gmem_notifier_remove(vms[i].g, &vms[i].n);
		gmem_unref(vms[i].g);
	}
	assert_int_equal(free_now(), before);
	memset(&watermarks, 0, sizeof(watermarks));
	hosted_clock_free();
	return 0;
}

static inline bool help(struct reclaim_target *t)
{
	hosted_clock_set(now_ns += 50000000);
	return reclaim_help(t, 0);
}

static inline u64 resident(u32 i)
{
	return __atomic_load_n(&vms[i].g->resident, __ATOMIC_RELAXED);
}

static inline void help_until_left(u64 pages)
{
	for (u32 i = 0; resident(0) + resident(1) > pages; i++) {
		assert_true(help(NULL));
		assert_true(i < 1000);
	}
}

static inline void nobody(void)
{
}

static pfn_t ballast[MIB(48) / PAGE_SIZE];
static u32 ballast_count;

/* So many frames are left. */
static inline void leave_free(u64 frames)
{
	while (frame_free_estimate() > frames)
		assert_int_equal(frame_alloc(0, 0, &ballast[ballast_count++]), 0);
}

static inline void give_ballast_back(void)
{
	while (ballast_count)
		frame_free(ballast[--ballast_count], 0);
}

#endif
