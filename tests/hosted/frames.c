/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "tests/hosted/frames.h"
#include "tests/hosted/hosted.h"

void frames_start(u64 memory)
{
	static struct memmap map;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_arena_init(memory);
	memset(&map, 0, sizeof(map));
	map.count = map.ram_count = 1;
	map.ranges[0] = map.ram[0] = (struct mem_range){MIB(1), memory};
	map.highest_ram = memory;
	BUG_ON(frame_init(&map));
}

u64 frames_free(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}
