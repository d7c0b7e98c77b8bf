/* SPDX-License-Identifier: MIT */
/* What frames are in use for. */
#include "mem/frame_internal.h"

struct frame_uses frame_uses[CPU_MAX];

void frame_use_reset(void)
{
	for (u32 i = 0; i < CPU_MAX; i++)
		frame_uses[i] = (struct frame_uses){0};
}

u64 frame_used_for(enum frame_use use)
{
	u64 sum = 0;

	for (u32 i = 0; i < CPU_MAX; i++)
		sum += __atomic_load_n(&frame_uses[i].frames[use], __ATOMIC_RELAXED);
	/* One that came back on a CPU was perhaps handed out on another since that was looked at. */
	return (s64)sum < 0 ? 0 : sum;
}

#define USE_DESC(id, name, sentence) STAT_DESC(name, "frames", sentence, STAT_LEVEL)
static const struct stat_desc use_descs[] = {FRAME_USES(USE_DESC)};
static_assert(ARRAY_SIZE(use_descs) == FRAME_USE_COUNT, "a row for each use");

static u64 read_use(const void *owner, u32 i)
{
	(void)owner;
	return frame_used_for((enum frame_use)i);
}

struct stat_group frame_use_stat_group = {
	.scope = "",
	.name = "used_for",
	.descs = use_descs,
	.count = ARRAY_SIZE(use_descs),
	.read = read_use,
};
