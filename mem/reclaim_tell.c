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

/* From low on until high is reached it is low, whether or not it was told. */
static enum reclaim_state state_after(enum reclaim_state before, u64 free)
{
	if (free < watermarks.min)
		return RECLAIM_SHORT;
	if (free < watermarks.low)
		return RECLAIM_LOW;
	if (free >= watermarks.high)
		return RECLAIM_ENOUGH;
	return before == RECLAIM_SHORT ? RECLAIM_LOW : before;
}

/* reclaim.lock. */
static enum reclaim_state look_at_state(u64 free)
{
	enum reclaim_state now = state_after(reclaim.state, free);

	reclaim.moves += now != reclaim.state;
	reclaim.state = now;
	return now;
}

static enum reclaim_state state_now(void)
{
	enum reclaim_state state;

	spin_lock(&reclaim.lock);
	state = look_at_state(watermark_free());
	spin_unlock(&reclaim.lock);
	return state;
}

/*
 * reclaim.lock. Whether it is to be told now: not more often than anybody wants to read. *moves: how
 * often it has changed since it was told last.
 */
static bool is_to_be_told(u64 now, u64 *moves)
{
	/* Another may have told after `now`. */
	u64 since = now - min(now, reclaim.told_ns);

	*moves = reclaim.moves - reclaim.moves_told;
	if (reclaim.state == reclaim.told || (reclaim.told_ns && since < reclaim.tell_gap_ns))
		return false;
	if (reclaim.told_ns && since < TELL_GAP_MOST_NS)
		reclaim.tell_gap_ns = min(2 * reclaim.tell_gap_ns, TELL_GAP_MOST_NS);
	else
		reclaim.tell_gap_ns = TELL_GAP_NS;
	reclaim.told = reclaim.state;
	reclaim.told_ns = now;
	reclaim.moves_told = reclaim.moves;
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

void reclaim_count_overwritten(void)
{
	reclaim_count(&reclaim.stats.overwritten, 1);
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

static u64 look(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

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

/* In one line: the rung, what VMs have and where it is, and how often the rung changed unsaid. */
static void tell(enum reclaim_state state, u64 moves)
{
	struct frame_stats frames;
	struct pool_stats pool;
	struct swap_stats swap;
	char unsaid[64] = "";
	u64 tenths;

	frame_get_stats(&frames);
	pool_get_stats(&pool);
	swap_get_stats(&swap);
	tenths = committed() * 10 / max(frames.total, 1ull);
	if (moves > 1)
		snprintf(unsaid, sizeof(unsaid), "; %llu moves since this was said last",
			 (unsigned long long)moves);
	log_info("memory: %s: %s; VMs have %llu.%llu times RAM; %llu pages packed in %llu frames, "
		 "%llu swapped%s",
		 state_texts[state], reclaim_free_text().text, (unsigned long long)(tenths / 10),
		 (unsigned long long)(tenths % 10), (unsigned long long)pool.objects,
		 (unsigned long long)pool.frames, (unsigned long long)swap.used, unsaid);
}

enum reclaim_state reclaim_tell_state(void)
{
	u64 now = clock_ns(), moves;
	enum reclaim_state state;
	bool told;

	spin_lock(&reclaim.lock);
	state = look_at_state(watermark_free());
	told = is_to_be_told(now, &moves);
	spin_unlock(&reclaim.lock);
	if (told)
		tell(state, moves);
	return state;
}

static u64 read_memory(const void *owner, u32 i)
{
	struct reclaim_room room;
	struct reclaim_memory_stats s;

	(void)owner;
	reclaim_get_room(&room);
	s = (struct reclaim_memory_stats){
		.state = state_now(),
		.moves = look(&reclaim.moves),
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

u64 reclaim_vm_stat_read(const void *target, u32 i)
{
	const struct reclaim_target *t = target;
	const struct gmem *g = t->object;
	struct reclaim_vm_stats s = {
		.working_set = look(&t->working_set),
		.taken = look(&g->taken),
		.zero = look(&t->zero),
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
