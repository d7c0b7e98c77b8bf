/* SPDX-License-Identifier: MIT */
/* Which memory is of which node. */
#include "mem/frame_internal.h"
#include "kernel/base/list.h"
#include "kernel/base/panic.h"

u32 frame_node_count = 1;

/* Set at init, read-only afterwards. */
static struct frame_nodes nodes;
static u8 near[FRAME_NODES_MAX][FRAME_NODES_MAX]; /* nodes by their distance from one */

void frame_node_reset(void)
{
	frame_node_count = 1;
	nodes = (struct frame_nodes){.count = 1};
	near[0][0] = 0;
}

/* The first range that ends above; range_count: none does. */
static u32 find_range(u64 at)
{
	u32 low = 0, high = nodes.range_count;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (nodes.ranges[middle].end <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

u32 frame_node_find(pfn_t pfn)
{
	u64 at = pfn.v << PAGE_SHIFT;
	u32 i = find_range(at);

	return i < nodes.range_count && nodes.ranges[i].start <= at ? nodes.ranges[i].node : 0;
}

u64 frame_node_end(u64 pfn, u64 end)
{
	u64 at = pfn << PAGE_SHIFT, next;
	u32 i = find_range(at);

	if (i == nodes.range_count)
		return end;
	next = nodes.ranges[i].start <= at ? nodes.ranges[i].end : nodes.ranges[i].start;
	return min(end, next >> PAGE_SHIFT);
}

u32 frame_node_of_cpu(u32 cpu)
{
	return nodes.of_cpu[cpu];
}

u32 frame_node_near(u32 node, u32 i)
{
	return near[node][i];
}

static u32 distance(u32 node, u32 other)
{
	return node == other ? 0 : nodes.distance[node][other];
}

/* By insertion: of nodes that are as far the one with the lower number comes first. */
static void sort_by_distance(u32 node)
{
	for (u32 i = 0; i < nodes.count; i++) {
		u32 at = i;

		for (; at && distance(node, i) < distance(node, near[node][at - 1]); at--)
			near[node][at] = near[node][at - 1];
		near[node][at] = (u8)i;
	}
}

/* Frames from pfn on that are one block; managed: the allocator's. */
static u64 look_at_block(u64 pfn, bool *managed)
{
	const struct frame *f = frame_slot(pfn);
	u8 state = f ? frame_state(f) : FRAME_NONE;

	*managed = state == FRAME_FREE || state == FRAME_USED || state == FRAME_CACHED;
	return state == FRAME_FREE || state == FRAME_USED ? 1ull << f->order : 1;
}

/* Of a block that is in use each node may have a part. */
static void count_range(u64 at, u64 end)
{
	while (at < end) {
		bool managed;
		u64 next = at + look_at_block(at, &managed);

		while (at < next) {
			u64 until = frame_node_end(at, next);

			if (managed)
				frame_zone_move_total(frame_node_of(PFN(at)), until - at);
			at = until;
		}
	}
}

static void count_totals(void)
{
	const struct mem_range *ram;
	u32 count;

	ram = frame_ram(&count);
	for (u32 i = 0; i < count; i++)
		count_range(ram[i].start >> PAGE_SHIFT, ram[i].end >> PAGE_SHIFT);
}

/* All that is free, as blocks that are in use. */
static void take_all(struct list *blocks)
{
	struct frame *f;

	(void)frame_drain();
	for (u32 order = FRAME_ORDER_MAX + 1; order-- > 0;) {
		while (frame_zone_take(order, &f, 1))
			list_add(&f->link, blocks);
	}
}

void frame_set_nodes(const struct frame_nodes *n)
{
	struct list blocks = LIST_INIT(blocks);

	BUG_ON(!n->count || n->count > FRAME_NODES_MAX || n->range_count > FRAME_NODE_RANGES_MAX);
	if (n->count == 1)
		return; /* it has all of it */
	take_all(&blocks);
	nodes = *n;
	for (u32 node = 0; node < nodes.count; node++)
		sort_by_distance(node);
	frame_node_count = nodes.count;
	count_totals();
	while (!list_empty(&blocks)) {
		struct frame *f = list_first(&blocks, struct frame, link);

		list_del(&f->link);
		frame_zone_put(f->order, &f, 1);
	}
}
