/* SPDX-License-Identifier: MIT */
/*
 * Two objects of one share group, of which one was promised memory, and one of another group. No
 * guest maps anything.
 */
#ifndef TESTS_UNIT_MEM_RECLAIM_GROUPS_H
#define TESTS_UNIT_MEM_RECLAIM_GROUPS_H

#include <string.h>
#include "mem/gmem_private.h"
#include "mem/reclaim_private.h"
#include "mem/share.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define PAGES	  4096u
#define ANY	  ~0ull
#define PROMISED  500u
#define FEW	  60u	/* pages that nobody came to try, or find */
#define ELSEWHERE 2000u /* pages that no other VM has the contents of */

static struct vm {
	struct gmem *g;
	struct reclaim_target target;
} a, b, c;
static pfn_t ballast[MIB(48) / PAGE_SIZE];
static u32 ballast_count;
static u64 now_ns, before;

static inline void nobody(void)
{
}

static inline void make(struct vm *vm, u32 group, u64 promised)
{
	const struct reclaim_terms terms = {.min = promised, .max = ANY, .shares = 100};

	assert_int_equal(gmem_create(PAGES, &vm->g), 0);
	gmem_set_share_group(vm->g, group);
	reclaim_add(&vm->target, vm->g, &terms);
}

/* Pages of one index have one content in all VMs. */
static inline void fill(const struct vm *vm, u64 first, u64 pages, bool packs)
{
	for (u64 i = first; i < first + pages; i++) {
		u64 random = i + 7, *p;
		pfn_t pfn;

		assert_int_equal(gmem_get_page(vm->g, i, true, &pfn), 0);
		p = pfn_to_virt(pfn);
		for (u32 n = 0; n < PAGE_SIZE / 8; n++)
			p[n] = packs ? i + 1 + n % 8 : random_next(&random);
	}
}

/* One content in all of these. */
static inline void fill_equal(const struct vm *vm, u64 first, u64 pages, u64 content, bool packs)
{
	for (u64 i = first; i < first + pages; i++) {
		u64 random = content, *p;
		pfn_t pfn;

		assert_int_equal(gmem_get_page(vm->g, i, true, &pfn), 0);
		p = pfn_to_virt(pfn);
		for (u32 n = 0; n < PAGE_SIZE / 8; n++)
			p[n] = packs ? content + n % 8 : random_next(&random);
	}
}

static inline int setup(void **state)
{
	const struct reclaim_options options = {.tax = 75};

	(void)state;
	before = start(MIB(48));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	/* Always short. CPUs take frames by the dozen: half of min has room for that. */
	watermarks = (struct watermarks){
		.min = 100, .low = BIT(20), .high = BIT(20), .wake = nobody};
	make(&a, 1, PROMISED);
	make(&b, 1, 0);
	make(&c, 2, 0);
	return 0;
}

static inline void unmake(struct vm *vm)
{
	reclaim_remove(&vm->target);
	gmem_unref(vm->g);
}

static inline int teardown(void **state)
{
	(void)state;
	while (ballast_count)
		frame_free(ballast[--ballast_count], 0);
	unmake(&a);
	unmake(&b);
	unmake(&c);
	assert_int_equal(share_saved(1), 0);
	assert_int_equal(free_now(), before);
	memset(&watermarks, 0, sizeof(watermarks));
	hosted_clock_free();
	return 0;
}

static inline void help(u32 times)
{
	for (u32 i = 0; i < times; i++) {
		hosted_clock_set(now_ns += 50000000);
		(void)reclaim_help(NULL, 0);
	}
}

static inline u64 in_state(const struct vm *vm, enum gmem_state state)
{
	u64 pages[GMEM_STATES];

	gmem_count_states(vm->g, pages);
	return pages[state];
}

static inline void leave_free(u64 frames)
{
	while (frame_free_estimate() > frames)
		assert_int_equal(frame_alloc(0, 0, &ballast[ballast_count++]), 0);
}

/* Another takes all that it gets, and nothing of it can be taken. */
static inline void use_up(void)
{
	u64 i = ELSEWHERE;
	pfn_t pfn;

	while (gmem_get_page(c.g, i, true, &pfn) == 0)
		fill(&c, i++, 1, false);
	assert_true(i < PAGES);
}

/* How many of them it can write to. */
static inline u64 writes_from(const struct vm *vm, u64 first, u64 pages)
{
	u64 done = 0;
	pfn_t pfn;

	for (u64 i = first; i < first + pages; i++)
		done += gmem_get_page(vm->g, i, true, &pfn) == 0;
	return done;
}

static inline u64 writes(const struct vm *vm, u64 pages)
{
	return writes_from(vm, 0, pages);
}

/* All that a has was found to be b's, too: it has nothing of its own. */
static inline void all_is_shared(void)
{
	fill(&a, 0, PROMISED, false);
	fill(&b, 0, PROMISED, false);
	a.target.terms.min = 0;
	help(200);
	a.target.terms.min = PROMISED;
	reclaim_count_owed();
	assert_in_range(gmem_lacks(a.g), PROMISED - FEW, PROMISED);
}

/* All of these packed, and read again: each in one frame that all of its readers show. */
static inline void pack_and_show(struct vm *vms[], u32 n, u64 first, u64 pages)
{
	u64 promised[3];
	pfn_t pfn;

	for (u32 i = 0; i < n; i++) {
		promised[i] = vms[i]->target.terms.min;
		vms[i]->target.terms.min = 0;
	}
	help(300);
	for (u32 i = 0; i < n; i++) {
		vms[i]->target.terms.min = promised[i];
		for (u64 at = first; at < first + pages; at++)
			assert_int_equal(gmem_get_page(vms[i]->g, at, false, &pfn), 0);
	}
}

#endif
