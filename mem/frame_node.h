/* SPDX-License-Identifier: MIT */
/*
 * Memory nodes: RAM that is as near to some CPUs as to others of theirs, and farther from the rest
 * (ACPI 6.4 5.2.16). Who wants a frame gets one of the node of its CPU; where that has no more than is
 * kept there, of the nearest that has; and where all are down to that, of the nearest that has any. A
 * machine that says nothing of nodes has one. Any context but where it is said.
 */
#ifndef MEM_FRAME_NODE_H
#define MEM_FRAME_NODE_H

#include "kernel/base/addr.h"
#include "smp/cpu.h"

#define FRAME_NODES_MAX	      8
#define FRAME_NODE_RANGES_MAX 256

struct frame_node_range {
	u64 start, end; /* bytes, page-aligned, end exclusive */
	u32 node;
};

struct frame_nodes {
	u32 count;	 /* at least 1 */
	u32 range_count; /* sorted, disjoint; RAM in none of them is node 0's */
	struct frame_node_range ranges[FRAME_NODE_RANGES_MAX];
	u8 of_cpu[CPU_MAX];
	u8 distance[FRAME_NODES_MAX]
		   [FRAME_NODES_MAX]; /* SLIT's: 10 to itself; 20 where nothing says */
};

/*
 * Once, boot CPU, after frame_init_high, while nobody else allocates or frees: deals what is free out
 * to the nodes. LOCK_ZONE.
 */
void frame_set_nodes(const struct frame_nodes *nodes);

extern u32 frame_node_count; /* set by frame_set_nodes, 1 before */

u32 frame_node_find(pfn_t pfn);

/* The node of any frame of RAM. */
static inline u32 frame_node_of(pfn_t pfn)
{
	return likely(frame_node_count == 1) ? 0 : frame_node_find(pfn);
}

u32 frame_node_of_cpu(u32 cpu);
u64 frame_node_total(u32 node); /* frames, in use or not, that the allocator manages; LOCK_ZONE */

extern struct frame_node_free {
	u64 frames; /* atomic */
} __aligned(64) frame_node_frees[FRAME_NODES_MAX];

/* Of those, the free ones, but for those in CPUs' caches. No lock. */
static inline u64 frame_node_free(u32 node)
{
	return __atomic_load_n(&frame_node_frees[node].frames, __ATOMIC_RELAXED);
}

/* So many free frames are left to a node while others have more than is left to them. */
void frame_node_keep(u32 node, u64 frames);

#endif
