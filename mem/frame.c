/* SPDX-License-Identifier: MIT */
/* The buddy's free lists and the per-CPU caches over them. */
#include "mem/frame_internal.h"
#include "mem/fail.h"
#include "mem/junk.h"
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "smp/cpu.h"
#include "smp/spinlock.h"

#define ORDERS (FRAME_ORDER_MAX + 1)

struct zone {
	struct spinlock lock;
	/* lock */
	struct list free[ORDERS];
	u32 nonempty; /* bit n: free[n] has a block */
	u64 free_frames;
	u64 total_frames;
};

/*
 * Order-0 frames at hand. A CPU uses its own; when memory runs out the others' are emptied too,
 * which is what the lock is for. At the zone's level: a cache's and the zone's are never nested.
 */
#define CACHE_SIZE  64
#define CACHE_BATCH 16 /* moved between cache and zone at a time */

struct cache {
	struct spinlock lock;
	/* lock */
	u32 count;
	struct frame *frames[CACHE_SIZE];
} __aligned(64);

static struct zone zone = {.lock = SPINLOCK_INIT("frame zone", LOCK_ZONE)};
static struct cache caches[CPU_MAX];

void frame_pool_reset(void)
{
	zone.nonempty = 0;
	zone.free_frames = 0;
	zone.total_frames = 0;
	for (u32 i = 0; i < ORDERS; i++)
		list_init(&zone.free[i]);
	for (u32 i = 0; i < CPU_MAX; i++) {
		spin_init(&caches[i].lock, "frame cache", LOCK_ZONE);
		caches[i].count = 0;
	}
}

/* --- Junk ---------------------------------------------------------------------------------- */

/* Larger blocks are too rare and too long to be worth filling. */
#define JUNK_ORDER_MAX 9

static void junk_check_frame(struct frame *f)
{
	void *p = pfn_to_virt(frame_pfn(f));
	const u8 *bad;

	if (!frame_is_junked(f))
		return;
	bad = junk_find_damage(p, FRAME_JUNK_FREE, PAGE_SIZE);
	if (bad)
		panic("frame %llx was written to after it was freed: %#x at offset %#llx",
		      (unsigned long long)frame_pfn(f).v, *bad,
		      (unsigned long long)(bad - (const u8 *)p));
	frame_set_junked(f, false);
}

static void junk_on_alloc(struct frame *f, u32 order, u32 flags)
{
	/* A merged block may hold junked frames whatever its order. */
	for (u64 i = 0; JUNK_ON && i < 1ull << order; i++) {
		junk_check_frame(f + i);
		if (!(flags & FRAME_ZERO) && order <= JUNK_ORDER_MAX)
			junk_fill(pfn_to_virt(frame_pfn(f + i)), FRAME_JUNK_ALLOC, PAGE_SIZE);
	}
}

static void junk_on_free(struct frame *f, u32 order)
{
	if (!JUNK_ON || order > JUNK_ORDER_MAX)
		return;
	for (u64 i = 0; i < 1ull << order; i++) {
		junk_fill(pfn_to_virt(frame_pfn(f + i)), FRAME_JUNK_FREE, PAGE_SIZE);
		frame_set_junked(f + i, true);
	}
}

/* --- Buddy (zone.lock held) ---------------------------------------------------------------- */

static void list_block(struct frame *f, u32 order)
{
	f->order = order;
	frame_set_state(f, FRAME_FREE);
	list_add(&f->link, &zone.free[order]);
	zone.nonempty |= 1u << order;
}

static void unlist_block(struct frame *f)
{
	list_del(&f->link);
	if (list_empty(&zone.free[f->order]))
		zone.nonempty &= ~(1u << f->order);
}

/* A block with a lower half that is wanted gives up its upper halves. NULL: nothing that large. */
static struct frame *zone_take(u32 order)
{
	u32 fitting = zone.nonempty & ~((1u << order) - 1);
	struct frame *f;
	u32 have;

	if (!fitting)
		return NULL;
	have = (u32)__builtin_ctz(fitting);
	f = list_first(&zone.free[have], struct frame, link);
	unlist_block(f);
	while (have > order) {
		have--;
		list_block(f + (1ull << have), have);
	}
	f->order = order;
	zone.free_frames -= 1ull << order;
	return f;
}

static void zone_put(struct frame *f, u32 order)
{
	u64 pfn = frame_pfn(f).v;

	zone.free_frames += 1ull << order;
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
	list_block(frame_slot(pfn), order);
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

void frame_pool_add(u64 start_pfn, u64 end_pfn)
{
	bool on = spin_lock_irqsave(&zone.lock);

	zone.total_frames += end_pfn - start_pfn;
	zone_put_range(start_pfn, end_pfn);
	spin_unlock_irqrestore(&zone.lock, on);
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

		junk_check_frame(f);
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
			zone.free_frames -= next - at;
			reserve_frames(at, min(next, end));
			zone_put_range(min(next, end), next);
		}
		at = next;
	}
}

/* --- Per-CPU caches ------------------------------------------------------------------------ */

static struct frame *cache_take(struct cache *c)
{
	bool on = spin_lock_irqsave(&c->lock);
	struct frame *f = c->count ? c->frames[--c->count] : NULL;

	if (f)
		frame_set_state(f, FRAME_USED);
	spin_unlock_irqrestore(&c->lock, on);
	return f;
}

/* What does not fit stays in frames[]; returns how many. */
static u32 cache_put(struct cache *c, struct frame **frames, u32 count)
{
	bool on = spin_lock_irqsave(&c->lock);

	while (count && c->count < CACHE_SIZE) {
		frame_set_state(frames[--count], FRAME_CACHED);
		c->frames[c->count++] = frames[count];
	}
	spin_unlock_irqrestore(&c->lock, on);
	return count;
}

static void zone_put_frames(struct frame **frames, u32 count)
{
	bool on = spin_lock_irqsave(&zone.lock);

	for (u32 i = 0; i < count; i++)
		zone_put(frames[i], 0);
	spin_unlock_irqrestore(&zone.lock, on);
}

/* Moves up to count frames, oldest first, from the cache to the zone, where they may merge. */
static void cache_drain(struct cache *c, u32 count)
{
	struct frame *out[CACHE_SIZE];
	u32 n;
	bool on = spin_lock_irqsave(&c->lock);

	n = min(count, c->count);
	for (u32 i = 0; i < n; i++)
		out[i] = c->frames[i];
	for (u32 i = n; i < c->count; i++)
		c->frames[i - n] = c->frames[i];
	c->count -= n;
	spin_unlock_irqrestore(&c->lock, on);
	if (n)
		zone_put_frames(out, n);
}

static struct frame *zone_alloc(u32 order)
{
	bool on = spin_lock_irqsave(&zone.lock);
	struct frame *f = zone_take(order);

	if (f)
		frame_set_state(f, FRAME_USED);
	spin_unlock_irqrestore(&zone.lock, on);
	return f;
}

static struct frame *alloc_one(void)
{
	struct cache *c = &caches[cpu_id()];
	struct frame *batch[CACHE_BATCH], *f = cache_take(c);
	u32 n = 0;
	bool on;

	if (f)
		return f;
	on = spin_lock_irqsave(&zone.lock);
	while (n < CACHE_BATCH && (batch[n] = zone_take(0)))
		frame_set_state(batch[n++], FRAME_USED);
	spin_unlock_irqrestore(&zone.lock, on);
	if (!n)
		return NULL;
	f = batch[0];
	/* Someone else may have filled the cache meanwhile. */
	for (u32 i = 1, left = cache_put(c, batch + 1, n - 1); i <= left; i++)
		zone_put_frames(&batch[i], 1);
	return f;
}

static void free_one(struct frame *f)
{
	struct cache *c = &caches[cpu_id()];

	if (!cache_put(c, &f, 1))
		return;
	cache_drain(c, CACHE_BATCH);
	if (cache_put(c, &f, 1))
		zone_put_frames(&f, 1);
}

/* What the CPUs keep may be what is wanted, or may merge to it. */
static void drain_all(void)
{
	for (u32 i = 0; i < CPU_MAX; i++)
		cache_drain(&caches[i], CACHE_SIZE);
}

/* --- For everyone -------------------------------------------------------------------------- */

int frame_alloc(u32 order, u32 flags, pfn_t *out)
{
	struct frame *f;

	if (order > FRAME_ORDER_MAX)
		return ERR_INVAL;
	if (hosted_should_fail())
		return ERR_NOMEM;
	f = order ? zone_alloc(order) : alloc_one();
	if (!f) {
		drain_all();
		f = zone_alloc(order);
	}
	if (!f)
		return ERR_NOMEM;
	junk_on_alloc(f, order, flags);
	f->refs = 1;
	f->pins = 0;
	f->slab_class = 0;
	*out = frame_pfn(f);
	if (flags & FRAME_ZERO)
		memset(pfn_to_virt(*out), 0, PAGE_SIZE << order);
	return 0;
}

void frame_free(pfn_t pfn, u32 order)
{
	struct frame *f = frame_slot(pfn.v);
	u8 used = FRAME_USED;

	if (!f || order > FRAME_ORDER_MAX || frame_state(f) != FRAME_USED || f->order != order)
		panic("frame %llx is freed with order %u but is not allocated so (state %d, order "
		      "%d): freed twice?",
		      (unsigned long long)pfn.v, order, f ? frame_state(f) : -1, f ? f->order : -1);
	if (f->pins || f->refs > 1)
		panic("frame %llx is freed with %u pins and %u references",
		      (unsigned long long)pfn.v, f->pins, f->refs);
	/* Of two that free it at once only one gets past here. */
	if (!__atomic_compare_exchange_n(&f->state, &used, FRAME_BODY, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		panic("frame %llx is freed twice at once", (unsigned long long)pfn.v);
	f->refs = 0;
	junk_on_free(f, order);
	if (order == 0) {
		free_one(f);
	} else {
		bool on = spin_lock_irqsave(&zone.lock);

		zone_put(f, order);
		spin_unlock_irqrestore(&zone.lock, on);
	}
}

int frame_reserve(u64 pages, u64 align, pfn_t *out)
{
	u64 start, run;
	bool on, found;

	if (pages == 0)
		return ERR_RANGE;
	if (hosted_should_fail())
		return ERR_NOMEM;
	drain_all();
	on = spin_lock_irqsave(&zone.lock);
	found = find_run(pages, align, &start, &run);
	if (found)
		take_run(run, start, start + pages);
	spin_unlock_irqrestore(&zone.lock, on);
	if (!found)
		return ERR_NOMEM;
	*out = PFN(start);
	return 0;
}

void *frame_alloc_page(u32 flags)
{
	pfn_t pfn;

	return frame_alloc(0, flags, &pfn) ? NULL : pfn_to_virt(pfn);
}

void frame_free_page(void *page)
{
	frame_free(virt_to_pfn(page), 0);
}

void frame_get_stats(struct frame_stats *out)
{
	bool on = spin_lock_irqsave(&zone.lock);

	out->total = zone.total_frames;
	out->free = zone.free_frames;
	spin_unlock_irqrestore(&zone.lock, on);
	for (u32 i = 0; i < CPU_MAX; i++) {
		on = spin_lock_irqsave(&caches[i].lock);
		out->free += caches[i].count;
		spin_unlock_irqrestore(&caches[i].lock, on);
	}
}

static const struct stat_desc stat_descs[] = {FRAME_STATS(STAT_DESC)};
STAT_CHECK(frame_stats, stat_descs);

static u64 read_stat(const void *owner, u32 i)
{
	struct frame_stats s;

	(void)owner;
	frame_get_stats(&s);
	return stat_read_field(&s, i);
}

struct stat_group frame_stat_group = {
	.scope = "",
	.name = "frames",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = read_stat,
};
