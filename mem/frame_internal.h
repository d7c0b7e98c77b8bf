/* SPDX-License-Identifier: MIT */
/*
 * What frame.c (caches), frame_zone.c (the buddy) and frame_array.c (the struct frames and where
 * they are) know of each other. Not for anyone else.
 */
#ifndef MEM_FRAME_INTERNAL_H
#define MEM_FRAME_INTERNAL_H

#include "mem/frame.h"
#include "mem/frame_node.h"
#include "smp/cpu.h"

/*
 * Only a block's first frame says what the block is; the others are FRAME_BODY, so a block
 * changes hands by one store whatever its size, and a free of its middle is noticed.
 */
enum frame_state {
	FRAME_NONE,	/* not RAM */
	FRAME_RESERVED, /* RAM that was never given to the allocator */
	FRAME_BODY,	/* not the first of its block */
	FRAME_FREE,	/* on a free list */
	FRAME_CACHED,	/* in a CPU's cache */
	FRAME_USED,
	FRAME_STATE_MASK = 0x7f,
	FRAME_JUNKED = 0x80, /* holds FRAME_JUNK_FREE: flag beside the state of any frame */
};

/* A block is never larger than a section, so its buddy is in the same array. */
#define SECTION_ORDER  FRAME_ORDER_MAX
#define SECTION_FRAMES (1ull << SECTION_ORDER)

/*
 * A state is changed by whoever owns the frame just then, and read by anyone: by frame_of(), and
 * by a free next to it that looks for its buddy.
 */
static inline u8 frame_state(const struct frame *f)
{
	return __atomic_load_n(&f->state, __ATOMIC_RELAXED) & FRAME_STATE_MASK;
}

static inline void frame_set_state(struct frame *f, u8 state)
{
	u8 junked = __atomic_load_n(&f->state, __ATOMIC_RELAXED) & FRAME_JUNKED;

	__atomic_store_n(&f->state, state | junked, __ATOMIC_RELAXED);
}

static inline bool frame_is_junked(const struct frame *f)
{
	return __atomic_load_n(&f->state, __ATOMIC_RELAXED) & FRAME_JUNKED;
}

static inline void frame_set_junked(struct frame *f, bool junked)
{
	u8 state = frame_state(f);

	__atomic_store_n(&f->state, junked ? state | FRAME_JUNKED : state, __ATOMIC_RELAXED);
}

/* The struct of any pfn of a section that has an array, RAM or hole; NULL outside. */
struct frame *frame_slot(u64 pfn);

/* --- What frames are in use for: mem/frame_use.c. Any context. ------------------------------- */

/* A CPU counts on its own line; frames come back on any, so that only the sum over all counts. */
struct frame_uses {
	u64 frames[FRAME_USE_COUNT]; /* atomic */
} __aligned(64);
extern struct frame_uses frame_uses[CPU_MAX];

static inline void frame_use_count(enum frame_use use, u64 frames)
{
	__atomic_fetch_add(&frame_uses[cpu_id()].frames[use], frames, __ATOMIC_RELAXED);
}

/* The block is in use for what flags say; or is no more. */
static inline void frame_use_begin(struct frame *f, u32 order, u32 flags)
{
	f->use = (u8)(flags >> FRAME_USE_SHIFT);
	frame_use_count(f->use, 1ull << order);
}

static inline void frame_use_end(const struct frame *f, u32 order)
{
	frame_use_count(f->use, -(1ull << order));
}

void frame_use_reset(void); /* nothing is in use; boot CPU */

/* Empties the allocator. Boot CPU. */
void frame_pool_reset(void);

/* --- mem/frame_node.c. Any context. ----------------------------------------------------------- */

void frame_node_reset(void); /* there is one; boot CPU */

/* The node that is the i-th, from 0, by how far it is from this one: which is itself for 0. */
u32 frame_node_near(u32 node, u32 i);

/* All of [pfn, the result) is of one node; no more than end. */
u64 frame_node_end(u64 pfn, u64 end);

/* --- The buddy. Each takes LOCK_ZONE; exit and thread context. -------------------------------- */

void frame_zone_reset(void); /* nothing is free; boot CPU */

/* Gives [start, end), frames that are FRAME_BODY, to the free lists. */
void frame_pool_add(u64 start_pfn, u64 end_pfn);

/* Takes up to count blocks of 2^order, which are FRAME_USED then. Returns how many. */
u32 frame_zone_take(u32 order, struct frame **blocks, u32 count);
void frame_zone_put(u32 order, struct frame **blocks, u32 count);

/* Behind frame_alloc_apart, frame_alloc_at and frame_reserve. f: the frame of pfn. */
int frame_zone_take_apart(u32 number, struct frame **out);
int frame_zone_take_at(struct frame *f, u64 pfn);
bool frame_zone_reserve(u64 pages, u64 align, u64 *start);

/* These frames are in use from now on that were not the allocator's. */
void frame_zone_adopted(u64 start_pfn, u64 end_pfn);
/* So many of those that node 0 was said to have are this one's. */
void frame_zone_move_total(u32 node, u64 frames);
void frame_zone_count(u64 *total, u64 *free);

#endif
