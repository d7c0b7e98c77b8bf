/* SPDX-License-Identifier: MIT */
/* The CPUs' schedulers, and what they count. */
#include "smp/sched.h"

struct scheduler schedulers[CPU_MAX];

static const struct stat_desc stat_descs[] = {SCHED_STATS(STAT_DESC)};
STAT_CHECK(sched_stats, stat_descs);

static u64 longest_wait(void)
{
	u64 longest = 0;

	for (u32 id = 0; id < CPU_MAX; id++)
		longest = max(longest, PEEK(schedulers[id].stats.wait_max));
	return longest;
}

static u64 read_stat(const void *owner, u32 i)
{
	(void)owner;
	if (i == offsetof(struct sched_stats, wait_max) / sizeof(u64))
		return longest_wait();
	return stat_sum_field(&schedulers[0].stats, sizeof(schedulers[0]), CPU_MAX, i);
}

struct stat_group sched_stat_group = {
	.scope = "",
	.name = "sched",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = read_stat,
};
