/* SPDX-License-Identifier: MIT */
/*
 * The watermarks by memory node: each has that part of them that it has of memory, and of what is kept
 * for whom it was promised. Guests are refused by what is free in all: where one node has nothing left
 * another's frames do. Rounded up, so that where no node lacks anything memory does not, either.
 */
#include "kernel/base/printf.h"
#include "mem/reclaim_private.h"

#define PARTS_SHIFT 16

static u64 parts[FRAME_NODES_MAX]; /* atomic; of 2^PARTS_SHIFT */

static u64 part_of(u64 frames, u32 node)
{
	u64 part = __atomic_load_n(&parts[node], __ATOMIC_RELAXED);

	if (frame_node_count == 1)
		return frames;
	return (frames * part + BIT(PARTS_SHIFT) - 1) >> PARTS_SHIFT;
}

void reclaim_set_node_parts(void)
{
	u64 total = 0;

	for (u32 node = 0; node < frame_node_count; node++)
		total += frame_node_total(node);
	for (u32 node = 0; node < frame_node_count; node++) {
		u64 of_it = frame_node_total(node);
		u64 part = total ? ((of_it << PARTS_SHIFT) + total - 1) / total : 0;

		__atomic_store_n(&parts[node], part, __ATOMIC_RELAXED);
		/* With one there is no other to be left for. */
		frame_node_keep(node, frame_node_count > 1 ? part_of(watermarks.low, node) : 0);
	}
}

u64 reclaim_node_lacks(u32 node, u64 mark)
{
	u64 owed = part_of(__atomic_load_n(&watermarks.owed, __ATOMIC_RELAXED), node);
	u64 wanted = part_of(mark, node), free = frame_node_free(node);

	free -= min(free, owed);
	return wanted - min(wanted, free);
}

u32 reclaim_neediest_node(void)
{
	u64 most = 0;
	u32 neediest = 0;

	for (u32 node = 0; node < frame_node_count; node++) {
		u64 lacks = reclaim_node_lacks(node, watermarks.high);

		if (lacks > most) {
			most = lacks;
			neediest = node;
		}
	}
	return neediest;
}

static const struct stat_desc stat_descs[] = {RECLAIM_NODE_STATS(STAT_DESC)};
STAT_CHECK(reclaim_node_stats, stat_descs);

/* One for each node, with its name. */
static struct group {
	struct stat_group group;
	char scope[sizeof("node.99")];
} groups[FRAME_NODES_MAX];

static u64 read_stat(const void *owner, u32 i)
{
	u32 node = (u32)((const struct group *)owner - groups);
	struct reclaim_node_stats s = {
		.total = frame_node_total(node),
		.free = frame_node_free(node),
		.low = part_of(watermarks.low, node),
		.high = part_of(watermarks.high, node),
		.taken = __atomic_load_n(&reclaim.taken[node], __ATOMIC_RELAXED),
	};

	return stat_read_field(&s, i);
}

struct stat_group *reclaim_node_stat_group(u32 node)
{
	struct group *g = &groups[node];

	snprintf(g->scope, sizeof(g->scope), "node.%u", node);
	g->group = (struct stat_group){.scope = g->scope,
				       .name = "memory",
				       .descs = stat_descs,
				       .count = ARRAY_SIZE(stat_descs),
				       .read = read_stat,
				       .owner = g};
	return &g->group;
}
