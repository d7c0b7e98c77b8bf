/* SPDX-License-Identifier: MIT */
/* What frames are in use for. A CPU counts on its own line; frames come back on any. */
#include "mem/frame_internal.h"
#include "smp/cpu.h"

static struct uses {
	u64 frames[FRAME_USE_COUNT]; /* atomic; may be below 0: the sum over all CPUs counts */
} __aligned(64) uses[CPU_MAX];

static void count(enum frame_use use, u64 frames)
{
	__atomic_fetch_add(&uses[cpu_id()].frames[use], frames, __ATOMIC_RELAXED);
}

void frame_use_begin(struct frame *f, u32 order, u32 flags)
{
	f->use = (u8)(flags >> FRAME_USE_SHIFT);
	count(f->use, 1ull << order);
}

void frame_use_end(const struct frame *f, u32 order)
{
	count(f->use, -(1ull << order));
}

void frame_use_reset(void)
{
	for (u32 i = 0; i < CPU_MAX; i++)
		uses[i] = (struct uses){0};
}

u64 frame_used_for(enum frame_use use)
{
	u64 sum = 0;

	for (u32 i = 0; i < CPU_MAX; i++)
		sum += __atomic_load_n(&uses[i].frames[use], __ATOMIC_RELAXED);
	return sum;
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
