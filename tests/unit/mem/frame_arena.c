/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <string.h>
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/frame_arena.h"

struct memmap map;
u8 taken[PAGES];

void map_of(const struct mem_range *free, u32 count)
{
	memset(&map, 0, sizeof(map));
	map.count = count;
	memcpy(map.ranges, free, count * sizeof(*free));
	map.highest_ram = free[count - 1].end;
}

void start(u64 arena)
{
	struct mem_range r = {MIB(1), arena};

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_arena_init(arena);
	map_of(&r, 1);
	assert_int_equal(frame_init(&map), 0);
}

u64 free_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

void mark(pfn_t pfn, u32 order, u8 from, u8 to)
{
	for (u64 i = 0; i < 1ull << order; i++) {
		assert_in_range(pfn.v + i, MIB(1) >> PAGE_SHIFT, PAGES - 1);
		assert_int_equal(taken[pfn.v + i], from);
		taken[pfn.v + i] = to;
	}
}

u32 largest_order(void)
{
	pfn_t pfn;

	for (u32 order = FRAME_ORDER_MAX + 1; order-- > 0;) {
		if (frame_alloc(order, 0, &pfn) == 0) {
			frame_free(pfn, order);
			return order;
		}
	}
	return ~0u;
}
