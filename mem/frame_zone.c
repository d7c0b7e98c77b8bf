/* SPDX-License-Identifier: MIT */
/* The buddy: the free lists under all frames, without a cache over them. */
#include "mem/fail.h"
#include "mem/frame_internal.h"
#include "kernel/base/error.h"
#include "smp/spinlock.h"

#define ORDERS (FRAME_ORDER_MAX + 1)

struct pool {
	struct list free[ORDERS];
	u32 nonempty; /* bit n: free[n] has a block */
};

/*
 * What is left of a block from which frame_alloc_apart took one is taken last, so that
 * frame_alloc_at finds it: that keeps nothing from anybody who has no other choice.
 */
enum {
	POOL_USUAL,
	POOL_APART,
	POOLS
};

static struct zone {
	struct spinlock lock;
	/* lock */
	struct pool pools[POOLS];
	u64 free_frames;  /* read without, too */
	u64 whole_frames; /* those of them that are in blocks of 2 MiB or more */
	u64 total_frames;
} zone = {.lock = SPINLOCK_INIT("frame zone", LOCK_ZONE)};

/* --- zone.lock held -------------------------------------------------------------------------- */

static void count_free(s64 frames)
{
	__atomic_store_n(&zone.free_frames, zone.free_frames + (u64)frames, __ATOMIC_RELAXED);
}

static void list_block(struct frame *f, u32 order, struct pool *pool)
{
	f->order = order;
	frame_set_state(f, FRAME_FREE);
	list_add(&f->link, &pool->free[order]);
	pool->nonempty |= 1u << order;
	if (order >= FRAME_LARGE_ORDER)
		zone.whole_frames += 1ull << order;
}

static void unlist_block(struct frame *f)
{
	struct list *head = f->link.next;
	u32 order = f->order;
	bool alone = head == f->link.prev; /* only the list's head is beside it */

	list_del(&f->link);
	if (order >= FRAME_LARGE_ORDER)
		zone.whole_frames -= 1ull << order;
	if (alone)
		zone.pools[head != &zone.pools[POOL_USUAL].free[order]].nonempty &= ~(1u << order);
}

/* The smallest block of at least that order, or NULL. */
static struct frame *pool_find(const struct pool *pool, u32 order)
{
	u32 fitting = pool->nonempty & ~((1u << order) - 1);

	if (!fitting)
		return NULL;
	return list_first(&pool->free[__builtin_ctz(fitting)], struct frame, link);
}

/* A block with a lower half that is wanted gives up its upper halves. NULL: nothing that large. */
static struct frame *zone_take(u32 order)
{
	struct pool *pool = &zone.pools[POOL_USUAL];
	struct frame *f = pool_find(pool, order);
	u32 have;

	if (!f) {
		pool = &zone.pools[POOL_APART];
		f = pool_find(pool, order);
	}
	if (!f)
		return NULL;
	have = f->order;
	unlist_block(f);
	while (have > order) {
		have--;
		list_block(f + (1ull << have), have, pool);
	}
	f->order = order;
	count_free(-(1ll << order));
	return f;
}

/* Takes one frame out of a free block. */
static void zone_take_at(struct frame *block, struct frame *f)
{
	u32 have = block->order;

	unlist_block(block);
	while (have > 0) {
		struct frame *half = block + (1ull << --have), *rest = half;

		if (f >= half) {
			rest = block;
			block = half;
		}
		list_block(rest, have,
			   &zone.pools[have < FRAME_LARGE_ORDER ? POOL_APART : POOL_USUAL]);
	}
	f->order = 0;
	frame_set_state(f, FRAME_USED);
	count_free(-1);
}

/* The free block that the frame of pfn is in, or NULL. It is mostly the first of one. */
static struct frame *zone_find(struct frame *f, u64 pfn)
{
	for (u32 order = 0; order < ORDERS; order++) {
		if (order)
			f = frame_slot(align_down(pfn, 1ull << order));
		if (f && frame_state(f) == FRAME_FREE && f->order >= order)
			return f;
	}
	return NULL;
}

static void zone_put(struct frame *f, u32 order)
{
	u64 pfn = frame_pfn(f).v;

	count_free(1ll << order);
	frame_set_state(f, FRAME_BODY);
	while (order < FRAME_ORDER_MAX) {
		struct frame *buddy = frame_slot(pfn ^ (1ull << order));

		if (!buddy || frame_state(buddy) != FRAME_FREE || buddy->order != order)
			break;
		unlist_block(buddy);
		frame_set_state(buddy, FRAME_BODY);
		pfn &= ~(1ull << order);
		order++;
	}
	list_block(frame_slot(pfn), order, &zone.pools[POOL_USUAL]);
}

/* Any range, as the largest blocks that it holds. */
static void zone_put_range(u64 start_pfn, u64 end_pfn)
{
	while (start_pfn < end_pfn) {
		u32 order = FRAME_ORDER_MAX;

		while (!is_aligned(start_pfn, 1ull << order) || end_pfn - start_pfn < 1ull << order)
			order--;
		zone_put(frame_slot(start_pfn), order);
		start_pfn += 1ull << order;
	}
}

/*
 * The first free run that holds so many frames from a multiple of align: where they begin, and where
 * the run does, which is the beginning of a block.
 */
static bool find_run(u64 pages, u64 align, u64 *start, u64 *run)
{
	const struct mem_range *ram;
	u32 count;

	ram = frame_ram(&count);
	for (u32 i = 0; i < count; i++) {
		u64 at = ram[i].start >> PAGE_SHIFT, end = ram[i].end >> PAGE_SHIFT;

		*run = at;
		while (at < end) {
			struct frame *f = frame_slot(at);

			if (!f || frame_state(f) != FRAME_FREE) {
				*run = ++at;
				continue;
			}
			at += 1ull << f->order;
			*start = align_up(*run, align);
			if (at >= *start && at - *start >= pages)
				return true;
		}
	}
	return false;
}

static void reserve_frames(u64 start_pfn, u64 end_pfn)
{
	for (u64 pfn = start_pfn; pfn < end_pfn; pfn++) {
		struct frame *f = frame_slot(pfn);

		frame_set_state(f, FRAME_RESERVED);
		f->refs = 0;
		f->pins = 0;
	}
	zone.total_frames -= end_pfn - start_pfn;
}

/*
 * Takes [start, end) out of the free blocks that it lies in; `at` is the beginning of one. None of
 * them has start inside: whichever is smaller, the block or the alignment of start, both are aligned
 * to it.
 */
static void take_run(u64 at, u64 start, u64 end)
{
	while (at < end) {
		struct frame *f = frame_slot(at);
		u64 next = at + (1ull << f->order);

		if (at >= start) {
			unlist_block(f);
			count_free(-(s64)(next - at));
			reserve_frames(at, min(next, end));
			zone_put_range(min(next, end), next);
		}
		at = next;
	}
}

/* --- For frame.c and frame_array.c ----------------------------------------------------------- */

void frame_zone_reset(void)
{
	__atomic_store_n(&zone.free_frames, 0, __ATOMIC_RELAXED);
	zone.whole_frames = 0;
	zone.total_frames = 0;
	for (u32 i = 0; i < POOLS; i++) {
		zone.pools[i].nonempty = 0;
		for (u32 order = 0; order < ORDERS; order++)
			list_init(&zone.pools[i].free[order]);
	}
}

void frame_pool_add(u64 start_pfn, u64 end_pfn)
{
	bool on = spin_lock_irqsave(&zone.lock);

	zone.total_frames += end_pfn - start_pfn;
	zone_put_range(start_pfn, end_pfn);
	spin_unlock_irqrestore(&zone.lock, on);
}

u32 frame_zone_take(u32 order, struct frame **blocks, u32 count)
{
	bool on = spin_lock_irqsave(&zone.lock);
	u32 n = 0;

	while (n < count && (blocks[n] = zone_take(order)))
		frame_set_state(blocks[n++], FRAME_USED);
	spin_unlock_irqrestore(&zone.lock, on);
	return n;
}

void frame_zone_put(u32 order, struct frame **blocks, u32 count)
{
	bool on = spin_lock_irqsave(&zone.lock);

	for (u32 i = 0; i < count; i++)
		zone_put(blocks[i], order);
	spin_unlock_irqrestore(&zone.lock, on);
}

/* zone.lock held. A failure is asked for where there is memory: each allocation asks once. */
static int take_from(struct frame *block, struct frame *f)
{
	if (!block)
		return ERR_BUSY;
	if (hosted_should_fail())
		return ERR_NOMEM;
	zone_take_at(block, f);
	return 0;
}

/*
 * zone.lock held. 2 MiB may be broken up for one frame: half of what is free then stays whole. Else
 * a guest that touches one page of each 2 MiB takes the large pages away from all others.
 */
static bool may_break_up(void)
{
	u64 large = 1ull << FRAME_LARGE_ORDER;

	return zone.whole_frames >= large && (zone.whole_frames - large) * 2 >= zone.free_frames;
}

int frame_zone_take_apart(u32 number, struct frame **out)
{
	bool on = spin_lock_irqsave(&zone.lock);
	struct frame *block = NULL;
	int err;

	if (may_break_up())
		block = pool_find(&zone.pools[POOL_USUAL], FRAME_LARGE_ORDER);

	*out = block ? block + number : NULL;
	err = take_from(block, *out);
	spin_unlock_irqrestore(&zone.lock, on);
	return err;
}

int frame_zone_take_at(struct frame *f, u64 pfn)
{
	bool on = spin_lock_irqsave(&zone.lock);
	int err = take_from(zone_find(f, pfn), f);

	spin_unlock_irqrestore(&zone.lock, on);
	return err;
}

bool frame_zone_reserve(u64 pages, u64 align, u64 *start)
{
	bool on = spin_lock_irqsave(&zone.lock);
	u64 run;
	bool found = find_run(pages, align, start, &run);

	if (found)
		take_run(run, *start, *start + pages);
	spin_unlock_irqrestore(&zone.lock, on);
	return found;
}

void frame_zone_adopted(u64 count)
{
	bool on = spin_lock_irqsave(&zone.lock);

	zone.total_frames += count;
	spin_unlock_irqrestore(&zone.lock, on);
}

void frame_zone_count(u64 *total, u64 *free)
{
	bool on = spin_lock_irqsave(&zone.lock);

	*total = zone.total_frames;
	*free = zone.free_frames;
	spin_unlock_irqrestore(&zone.lock, on);
}

u64 frame_free_estimate(void)
{
	return __atomic_load_n(&zone.free_frames, __ATOMIC_RELAXED);
}
