/* SPDX-License-Identifier: MIT */
/*
 * The buddy: the free lists under all frames, a zone of them for each memory node, without a cache over
 * them. No block that is free lies in two zones; one that was handed out before nodes were known may.
 */
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

struct zone {
	struct spinlock lock;
	/* lock */
	struct pool pools[POOLS];
	struct frame_node_free *free; /* changed under it, and read without, too */
	u64 whole_frames;	      /* frames of it that are in blocks of 2 MiB or more */
	u64 total_frames;
	u64 kept; /* atomic: frame_node_keep's */
} __aligned(64);

static struct zone zones[FRAME_NODES_MAX]; /* by node */

struct frame_node_free frame_node_frees[FRAME_NODES_MAX];

static struct zone *zone_of(u64 pfn)
{
	return &zones[frame_node_of(PFN(pfn))];
}

static bool is_of(const struct zone *z, u64 pfn)
{
	return zone_of(pfn) == z;
}

/* --- The zone's lock held -------------------------------------------------------------------- */

static void count_free(struct zone *z, s64 frames)
{
	__atomic_store_n(&z->free->frames, z->free->frames + (u64)frames, __ATOMIC_RELAXED);
}

static void list_block(struct zone *z, struct frame *f, u32 order, u32 pool)
{
	f->order = order;
	frame_set_state(f, FRAME_FREE);
	list_add(&f->link, &z->pools[pool].free[order]);
	z->pools[pool].nonempty |= 1u << order;
	if (order >= FRAME_LARGE_ORDER)
		z->whole_frames += 1ull << order;
}

static void unlist_block(struct zone *z, struct frame *f)
{
	struct list *head = f->link.next;
	u32 order = f->order;
	bool alone = head == f->link.prev; /* only the list's head is beside it */

	list_del(&f->link);
	if (order >= FRAME_LARGE_ORDER)
		z->whole_frames -= 1ull << order;
	if (alone)
		z->pools[head != &z->pools[POOL_USUAL].free[order]].nonempty &= ~(1u << order);
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
static struct frame *zone_take(struct zone *z, u32 order)
{
	u32 pool = POOL_USUAL, have;
	struct frame *f = pool_find(&z->pools[pool], order);

	if (!f) {
		pool = POOL_APART;
		f = pool_find(&z->pools[pool], order);
	}
	if (!f)
		return NULL;
	have = f->order;
	unlist_block(z, f);
	while (have > order) {
		have--;
		list_block(z, f + (1ull << have), have, pool);
	}
	f->order = order;
	count_free(z, -(1ll << order));
	return f;
}

/* Takes one frame out of a free block. */
static void zone_take_at(struct zone *z, struct frame *block, struct frame *f)
{
	u32 have = block->order;

	unlist_block(z, block);
	while (have > 0) {
		struct frame *half = block + (1ull << --have), *rest = half;

		if (f >= half) {
			rest = block;
			block = half;
		}
		list_block(z, rest, have, have < FRAME_LARGE_ORDER ? POOL_APART : POOL_USUAL);
	}
	f->order = 0;
	frame_set_state(f, FRAME_USED);
	count_free(z, -1);
}

/* The first frame of the block of that order that pfn would be in, or NULL: not the zone's. */
static struct frame *block_at(const struct zone *z, u64 pfn, u32 order)
{
	u64 first = align_down(pfn, 1ull << order);

	/* Another zone's is in change under a lock of its own. */
	return is_of(z, first) ? frame_slot(first) : NULL;
}

/* The free block that f, the frame of pfn, is in, or NULL. It is mostly the first of one. */
static struct frame *zone_find(const struct zone *z, struct frame *f, u64 pfn)
{
	for (u32 order = 0; order < ORDERS; order++) {
		if (order)
			f = block_at(z, pfn, order);
		if (f && frame_state(f) == FRAME_FREE && f->order >= order)
			return f;
	}
	return NULL;
}

static void zone_put(struct zone *z, u64 pfn, u32 order)
{
	count_free(z, 1ll << order);
	frame_set_state(frame_slot(pfn), FRAME_BODY);
	while (order < FRAME_ORDER_MAX) {
		struct frame *buddy = block_at(z, pfn ^ (1ull << order), order);

		if (!buddy || frame_state(buddy) != FRAME_FREE || buddy->order != order)
			break;
		unlist_block(z, buddy);
		frame_set_state(buddy, FRAME_BODY);
		pfn &= ~(1ull << order);
		order++;
	}
	list_block(z, frame_slot(pfn), order, POOL_USUAL);
}

/* Any range of the zone's, as the largest blocks that it holds. */
static void zone_put_range(struct zone *z, u64 start_pfn, u64 end_pfn)
{
	while (start_pfn < end_pfn) {
		u32 order = FRAME_ORDER_MAX;

		while (!is_aligned(start_pfn, 1ull << order) || end_pfn - start_pfn < 1ull << order)
			order--;
		zone_put(z, start_pfn, order);
		start_pfn += 1ull << order;
	}
}

/*
 * The zone's first free run that holds so many frames from a multiple of align: where they begin, and
 * where the run does, which is the beginning of a block.
 */
static bool find_run(const struct zone *z, u64 pages, u64 align, u64 *start, u64 *run)
{
	const struct mem_range *ram;
	u32 count;

	ram = frame_ram(&count);
	for (u32 i = 0; i < count; i++) {
		u64 at = ram[i].start >> PAGE_SHIFT, end = ram[i].end >> PAGE_SHIFT;

		*run = at;
		while (at < end) {
			struct frame *f = block_at(z, at, 0);

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

static void reserve_frames(struct zone *z, u64 start_pfn, u64 end_pfn)
{
	for (u64 pfn = start_pfn; pfn < end_pfn; pfn++) {
		struct frame *f = frame_slot(pfn);

		frame_set_state(f, FRAME_RESERVED);
		f->refs = 0;
		f->pins = 0;
	}
	z->total_frames -= end_pfn - start_pfn;
}

/*
 * Takes [start, end) out of the free blocks that it lies in; `at` is the beginning of one. None of
 * them has start inside: whichever is smaller, the block or the alignment of start, both are aligned
 * to it.
 */
static void take_run(struct zone *z, u64 at, u64 start, u64 end)
{
	while (at < end) {
		struct frame *f = frame_slot(at);
		u64 next = at + (1ull << f->order);

		if (at >= start) {
			unlist_block(z, f);
			count_free(z, -(s64)(next - at));
			reserve_frames(z, at, min(next, end));
			zone_put_range(z, min(next, end), next);
		}
		at = next;
	}
}

/*
 * 2 MiB may be broken up for one frame: half of what is free then stays whole. Else a guest that
 * touches one page of each 2 MiB takes the large pages away from all others.
 */
static bool may_break_up(const struct zone *z)
{
	u64 large = 1ull << FRAME_LARGE_ORDER;

	return z->whole_frames >= large && (z->whole_frames - large) * 2 >= z->free->frames;
}

/* A failure is asked for where there is memory: each allocation asks once. */
static int take_from(struct zone *z, struct frame *block, struct frame *f)
{
	if (!block)
		return ERR_BUSY;
	if (hosted_should_fail())
		return ERR_NOMEM;
	zone_take_at(z, block, f);
	return 0;
}

/* --- For frame.c, frame_array.c and frame_node.c ---------------------------------------------- */

void frame_zone_reset(void)
{
	for (u32 node = 0; node < FRAME_NODES_MAX; node++) {
		struct zone *z = &zones[node];

		frame_node_frees[node].frames = 0;
		*z = (struct zone){.free = &frame_node_frees[node]};
		spin_init(&z->lock, "frame zone", LOCK_ZONE);
		for (u32 i = 0; i < POOLS; i++) {
			for (u32 order = 0; order < ORDERS; order++)
				list_init(&z->pools[i].free[order]);
		}
	}
}

/* Of each zone its part of the range. */
static void put_range(u64 start_pfn, u64 end_pfn, bool is_new)
{
	while (start_pfn < end_pfn) {
		u64 next = frame_node_end(start_pfn, end_pfn);
		struct zone *z = zone_of(start_pfn);
		bool on = spin_lock_irqsave(&z->lock);

		if (is_new)
			z->total_frames += next - start_pfn;
		zone_put_range(z, start_pfn, next);
		spin_unlock_irqrestore(&z->lock, on);
		start_pfn = next;
	}
}

void frame_pool_add(u64 start_pfn, u64 end_pfn)
{
	put_range(start_pfn, end_pfn, true);
}

static u32 take_blocks(struct zone *z, u32 order, struct frame **blocks, u32 count, u64 kept)
{
	bool on = spin_lock_irqsave(&z->lock);
	u32 n = 0;

	while (n < count && z->free->frames > kept && (blocks[n] = zone_take(z, order)))
		frame_set_state(blocks[n++], FRAME_USED);
	spin_unlock_irqrestore(&z->lock, on);
	return n;
}

/* The i-th that is asked: all for what they have beyond what is kept there, and then for that, too. */
static struct zone *zone_to_ask(u32 i, u64 *kept)
{
	u32 near = frame_node_of_cpu(cpu_id());
	struct zone *z = &zones[frame_node_near(near, i % frame_node_count)];

	*kept = i < frame_node_count ? __atomic_load_n(&z->kept, __ATOMIC_RELAXED) : 0;
	return z;
}

u32 frame_zone_take(u32 order, struct frame **blocks, u32 count)
{
	u64 kept;
	u32 n = 0;

	if (likely(frame_node_count == 1))
		return take_blocks(&zones[0], order, blocks, count, 0);
	for (u32 i = 0; i < 2 * frame_node_count && !n; i++) {
		struct zone *z = zone_to_ask(i, &kept);

		n = take_blocks(z, order, blocks, count, kept);
	}
	return n;
}

void frame_zone_put(u32 order, struct frame **blocks, u32 count)
{
	struct zone *z = &zones[0];
	bool on;

	if (unlikely(frame_node_count > 1)) {
		for (u32 i = 0; i < count; i++) {
			u64 pfn = frame_pfn(blocks[i]).v;

			frame_set_state(blocks[i], FRAME_BODY);
			put_range(pfn, pfn + (1ull << order), false);
		}
		return;
	}
	on = spin_lock_irqsave(&z->lock);
	for (u32 i = 0; i < count; i++)
		zone_put(z, frame_pfn(blocks[i]).v, order);
	spin_unlock_irqrestore(&z->lock, on);
}

static int take_apart(struct zone *z, u32 number, struct frame **out)
{
	bool on = spin_lock_irqsave(&z->lock);
	struct frame *block = NULL;
	int err;

	if (may_break_up(z))
		block = pool_find(&z->pools[POOL_USUAL], FRAME_LARGE_ORDER);
	*out = block ? block + number : NULL;
	err = take_from(z, block, *out);
	spin_unlock_irqrestore(&z->lock, on);
	return err;
}

/* Of the node that any frame would be of: that others have whole 2 MiB makes them no nearer. */
int frame_zone_take_apart(u32 number, struct frame **out)
{
	for (u32 i = 0; i < 2 * frame_node_count; i++) {
		u64 kept;
		struct zone *z = zone_to_ask(i, &kept);

		if (__atomic_load_n(&z->free->frames, __ATOMIC_RELAXED) > kept)
			return take_apart(z, number, out);
	}
	return ERR_BUSY;
}

int frame_zone_take_at(struct frame *f, u64 pfn)
{
	struct zone *z = zone_of(pfn);
	bool on = spin_lock_irqsave(&z->lock);
	int err = take_from(z, zone_find(z, f, pfn), f);

	spin_unlock_irqrestore(&z->lock, on);
	return err;
}

bool frame_zone_reserve(u64 pages, u64 align, u64 *start)
{
	bool found = false;

	for (u32 i = 0; i < frame_node_count && !found; i++) {
		struct zone *z = &zones[frame_node_near(frame_node_of_cpu(cpu_id()), i)];
		bool on = spin_lock_irqsave(&z->lock);
		u64 run;

		found = find_run(z, pages, align, start, &run);
		if (found)
			take_run(z, run, *start, *start + pages);
		spin_unlock_irqrestore(&z->lock, on);
	}
	return found;
}

static void add_total(struct zone *z, u64 frames)
{
	bool on = spin_lock_irqsave(&z->lock);

	z->total_frames += frames;
	spin_unlock_irqrestore(&z->lock, on);
}

void frame_zone_adopted(u64 start_pfn, u64 end_pfn)
{
	while (start_pfn < end_pfn) {
		u64 next = frame_node_end(start_pfn, end_pfn);

		add_total(zone_of(start_pfn), next - start_pfn);
		start_pfn = next;
	}
}

void frame_zone_move_total(u32 node, u64 frames)
{
	add_total(&zones[0], -frames);
	add_total(&zones[node], frames);
}

static void zone_count(struct zone *z, u64 *total, u64 *free)
{
	bool on = spin_lock_irqsave(&z->lock);

	*total += z->total_frames;
	*free += z->free->frames;
	spin_unlock_irqrestore(&z->lock, on);
}

void frame_zone_count(u64 *total, u64 *free)
{
	*total = *free = 0;
	for (u32 node = 0; node < frame_node_count; node++)
		zone_count(&zones[node], total, free);
}

u64 frame_node_total(u32 node)
{
	u64 total = 0, free = 0;

	zone_count(&zones[node], &total, &free);
	return total;
}

void frame_node_keep(u32 node, u64 frames)
{
	__atomic_store_n(&zones[node].kept, frames, __ATOMIC_RELAXED);
}
