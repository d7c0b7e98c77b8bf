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

	if (state == reclaim.told ||
	    (reclaim.told_ns && now - reclaim.told_ns < reclaim.tell_gap_ns))
		return false;
	if (reclaim.told_ns && now - reclaim.told_ns < TELL_GAP_MOST_NS)
		reclaim.tell_gap_ns = min(2 * reclaim.tell_gap_ns, TELL_GAP_MOST_NS);
	else
		reclaim.tell_gap_ns = TELL_GAP_NS;
	reclaim.told = state;
	reclaim.told_ns = now;
	return true;
}

void reclaim_tell_state(void)
{
	u64 now = clock_ns(), free = frame_free_estimate();
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
		 state_texts[state], (unsigned long long)free, (unsigned long long)pool.objects,
		 (unsigned long long)pool.frames);
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
