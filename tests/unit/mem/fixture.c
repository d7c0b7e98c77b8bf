/* SPDX-License-Identifier: MIT */
#include "tests/unit/mem/fixture.h"
#include <string.h>
#include "mem/slab.h"
#include "tests/hosted/hosted.h"

u64 free_now(void)
{
	struct frame_stats s;
	u64 used = 0;

	frame_get_stats(&s);
	/* What is not free is known to be used for something. */
	for (u32 use = 0; use < FRAME_USE_COUNT; use++)
		used += frame_used_for((enum frame_use)use);
	assert_int_equal(s.free + used, s.total);
	return s.free;
}

u64 start(u64 arena)
{
	static struct memmap map;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_locks_forget();
	hosted_arena_init(arena);
	memset(&map, 0, sizeof(map));
	map.count = 1;
	map.ranges[0] = (struct mem_range){MIB(1), arena};
	assert_int_equal(frame_init(&map), 0);
	slab_init();
	return free_now();
}

void soil_free_memory(void)
{
	pfn_t pfn, taken[64];
	u32 order, count = 0;

	for (order = FRAME_ORDER_MAX + 1; order-- > 0;) {
		while (count < 64 && frame_alloc(order, 0, &pfn) == 0) {
			memset(pfn_to_virt(pfn), 0x77, PAGE_SIZE << order);
			frame_of(pfn)->link.next = (void *)(u64)order;
			taken[count++] = pfn;
		}
	}
	while (count--) {
		order = (u32)(u64)frame_of(taken[count])->link.next;
		frame_free(taken[count], order);
	}
}

bool all_zero(pfn_t pfn, u32 order)
{
	const u64 *p = pfn_to_virt(pfn);

	for (u64 i = 0; i < (PAGE_SIZE << order) / sizeof(*p); i++) {
		if (p[i])
			return false;
	}
	return true;
}

u64 entry_of(pfn_t pfn, u64 state_and_flags)
{
	return pfn.v << GMEM_PFN_SHIFT | state_and_flags;
}

static u64 record(struct gmem_notifier *n, struct gmem *g, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	struct recorder *r = container_of(n, struct recorder, n);

	r->calls++;
	r->event = event;
	r->first = first;
	r->pages = pages;
	if (r->in_call)
		r->in_call(r, g);
	return r->answer;
}

void recorder_init(struct recorder *r, u64 answer)
{
	memset(r, 0, sizeof(*r));
	r->n.notify = record;
	r->answer = answer;
}
