/* SPDX-License-Identifier: MIT */
/* What the operator is told of reclaim: lines of the log, and counters. */
#include "kernel/base/log.h"
#include "mem/frame.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"

/* Between two lines of the log, doubled for each that comes within the most. */
#define TELL_GAP_NS	 1000000000ull
#define TELL_GAP_MOST_NS 600000000000ull

static const char *const state_texts[] = {
	[RECLAIM_ENOUGH] = "enough is free",
	[RECLAIM_LOW] = "low: cold pages are taken",
	[RECLAIM_SHORT] = "short: guests wait for pages to be taken",
};

/* From low on until high is reached it is low. */
static enum reclaim_state state_now(u64 free)
{
	if (free < watermarks.min)
		return RECLAIM_SHORT;
	if (free < watermarks.low || (free < watermarks.high && reclaim.told != RECLAIM_ENOUGH))
		return RECLAIM_LOW;
	return RECLAIM_ENOUGH;
}

/* reclaim.lock. Whether it is to be told now: not more often than anybody wants to read. */
static bool state_changed(u64 free, u64 now)
{
	enum reclaim_state state = state_now(free);
	/* Another may have told after `now`. */
	u64 since = now - min(now, reclaim.told_ns);

	if (state == reclaim.told || (reclaim.told_ns && since < reclaim.tell_gap_ns))
		return false;
	if (reclaim.told_ns && since < TELL_GAP_MOST_NS)
		reclaim.tell_gap_ns = min(2 * reclaim.tell_gap_ns, TELL_GAP_MOST_NS);
	else
		reclaim.tell_gap_ns = TELL_GAP_NS;
	reclaim.told = state;
	reclaim.told_ns = now;
	return true;
}

bool reclaim_state_is_told(void)
{
	bool told;

	spin_lock(&reclaim.lock);
	told = state_now(watermark_free()) == reclaim.told;
	spin_unlock(&reclaim.lock);
	return told;
}

void reclaim_tell_state(void)
{
	u64 now = clock_ns(), free = watermark_free();
	enum reclaim_state state;
	struct pool_stats pool;
	bool changed;

	spin_lock(&reclaim.lock);
	changed = state_changed(free, now);
	state = reclaim.told;
	spin_unlock(&reclaim.lock);
	if (!changed)
		return;
	pool_get_stats(&pool);
	log_info("memory: %s: %llu frames free; %llu pages packed in %llu frames",
		 state_texts[state], (unsigned long long)frame_free_estimate(),
		 (unsigned long long)pool.objects, (unsigned long long)pool.frames);
}

static const struct stat_desc stat_descs[] = {RECLAIM_STATS(STAT_DESC)};
STAT_CHECK(reclaim_stats, stat_descs);

struct stat_group reclaim_stat_group = {
	.scope = "",
	.name = "reclaim",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = stat_read_field,
	.owner = &reclaim.stats,
};

/* --- The machine's memory --- */

static const struct stat_desc memory_descs[] = {RECLAIM_MEMORY_STATS(STAT_DESC)};
STAT_CHECK(reclaim_memory_stats, memory_descs);

static u64 committed(void)
{
	struct reclaim_target *t;
	u64 pages = 0;

	spin_lock(&reclaim.lock);
	list_for_each_entry (t, &reclaim.targets, link)
		pages += t->object->pages;
	spin_unlock(&reclaim.lock);
	return pages;
}

static u64 read_memory(const void *owner, u32 i)
{
	struct reclaim_room room;
	struct reclaim_memory_stats s;

	(void)owner;
	reclaim_get_room(&room);
	s = (struct reclaim_memory_stats){
		.state = state_now(watermark_free()),
		.min = watermarks.min,
		.low = watermarks.low,
		.high = watermarks.high,
		.committed = committed(),
		.promised = room.promised,
		.owed = __atomic_load_n(&watermarks.owed, __ATOMIC_RELAXED),
		.room = room.total,
	};
	return stat_read_field(&s, i);
}

struct stat_group reclaim_memory_stat_group = {
	.scope = "",
	.name = "memory",
	.descs = memory_descs,
	.count = ARRAY_SIZE(memory_descs),
	.read = read_memory,
};

/* --- A VM's --- */

const struct stat_desc reclaim_vm_stat_descs[] = {RECLAIM_VM_STATS(STAT_DESC)};
STAT_CHECK(reclaim_vm_stats, reclaim_vm_stat_descs);

static u64 look(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

u64 reclaim_vm_stat_read(const void *target, u32 i)
{
	const struct reclaim_target *t = target;
	const struct gmem *g = t->object;
	struct reclaim_vm_stats s = {
		.working_set = look(&t->working_set),
		.taken = look(&g->taken),
		.fetched = look(&g->fetched),
		.refaults = look(&g->refaults),
		.packed_bytes = look(&g->packed_bytes),
		.min = t->terms.min,
		.max = min(t->terms.max, g->pages),
		.shares = t->terms.shares,
		.costs = t->terms.costs,
	};

	return stat_read_field(&s, i);
}
