/* SPDX-License-Identifier: MIT */
/* What the operator is told of reclaim: lines of the log, and counters. */
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
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

struct reclaim_free_text reclaim_free_text(void)
{
	u64 free = frame_free_estimate(),
	    kept = min(free, __atomic_load_n(&watermarks.owed, __ATOMIC_RELAXED));
	struct reclaim_free_text t;
	int n = snprintf(t.text, sizeof(t.text), "%llu frames are free",
			 (unsigned long long)(free - kept));

	if (kept)
		snprintf(t.text + n, sizeof(t.text) - (size_t)n,
			 ", and %llu kept for min=", (unsigned long long)kept);
	return t;
}

/* reclaim.lock. From low on until high is reached it is low, whether or not it was told. */
static enum reclaim_state look_at_state(u64 free)
{
	if (free < watermarks.min)
		reclaim.state = RECLAIM_SHORT;
	else if (free < watermarks.low)
		reclaim.state = RECLAIM_LOW;
	else if (free >= watermarks.high)
		reclaim.state = RECLAIM_ENOUGH;
	else if (reclaim.state == RECLAIM_SHORT)
		reclaim.state = RECLAIM_LOW;
	return reclaim.state;
}

static enum reclaim_state state_now(void)
{
	enum reclaim_state state;

	spin_lock(&reclaim.lock);
	state = look_at_state(watermark_free());
	spin_unlock(&reclaim.lock);
	return state;
}

/* reclaim.lock. Whether it is to be told now: not more often than anybody wants to read. */
static bool is_to_be_told(u64 now)
{
	/* Another may have told after `now`. */
	u64 since = now - min(now, reclaim.told_ns);

	if (reclaim.state == reclaim.told || (reclaim.told_ns && since < reclaim.tell_gap_ns))
		return false;
	if (reclaim.told_ns && since < TELL_GAP_MOST_NS)
		reclaim.tell_gap_ns = min(2 * reclaim.tell_gap_ns, TELL_GAP_MOST_NS);
	else
		reclaim.tell_gap_ns = TELL_GAP_NS;
	reclaim.told = reclaim.state;
	reclaim.told_ns = now;
	return true;
}

bool reclaim_state_is_told(void)
{
	bool told;

	spin_lock(&reclaim.lock);
	told = look_at_state(watermark_free()) == reclaim.told;
	spin_unlock(&reclaim.lock);
	return told;
}

enum reclaim_state reclaim_tell_state(void)
{
	u64 now = clock_ns();
	enum reclaim_state state;
	struct pool_stats pool;
	bool tell;

	spin_lock(&reclaim.lock);
	state = look_at_state(watermark_free());
	tell = is_to_be_told(now);
	spin_unlock(&reclaim.lock);
	if (!tell)
		return state;
	pool_get_stats(&pool);
	log_info("memory: %s: %s; %llu pages packed in %llu frames", state_texts[state],
		 reclaim_free_text().text, (unsigned long long)pool.objects,
		 (unsigned long long)pool.frames);
	return state;
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
		.state = state_now(),
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
