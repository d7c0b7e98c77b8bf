/* SPDX-License-Identifier: MIT */
/* Allocation and freeing, and the per-CPU caches of single frames over the buddy. */
#include "mem/frame_internal.h"
#include "mem/fail.h"
#include "mem/junk.h"
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "smp/cpu.h"
#include "smp/spinlock.h"
#include "smp/thread.h"

/*
 * Order-0 frames at hand. A CPU uses its own; when memory runs out the others' are emptied too,
 * which is what the lock is for. At the zone's level: a cache's and the zone's are never nested.
 */
#ifndef FRAME_CACHE
#define FRAME_CACHE 64 /* tests of little memory have less */
#endif
#define CACHE_SIZE  FRAME_CACHE
#define CACHE_BATCH (CACHE_SIZE / 4) /* moved between cache and zone at a time */

struct cache {
	struct spinlock lock;
	/* lock */
	u32 count;
	struct frame *frames[CACHE_SIZE];
} __aligned(64);

static struct cache caches[CPU_MAX];

void frame_pool_reset(void)
{
	frame_node_reset();
	frame_zone_reset();
	frame_leave_to_reclaim(0);
	frame_use_reset();
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

/* A failure is asked for where it is found, as in the zone. ERR_BUSY: another CPU has it. */
static int cache_take_at(struct cache *c, struct frame *f)
{
	bool on = spin_lock_irqsave(&c->lock);
	u32 i = c->count;
	int err = ERR_BUSY;

	while (i && c->frames[i - 1] != f)
		i--;
	if (i)
		err = hosted_should_fail() ? ERR_NOMEM : 0;
	if (!err) {
		c->frames[i - 1] = c->frames[--c->count];
		frame_set_state(f, FRAME_USED);
	}
	spin_unlock_irqrestore(&c->lock, on);
	return err;
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

/*
 * Moves up to count frames, oldest first, from the cache to the zone, where they may merge; how
 * many.
 */
static u32 cache_drain(struct cache *c, u32 count)
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
		frame_zone_put(0, out, n);
	return n;
}

static struct frame *zone_alloc(u32 order)
{
	struct frame *f;

	return frame_zone_take(order, &f, 1) ? f : NULL;
}

static struct frame *alloc_one(void)
{
	struct cache *c = &caches[cpu_id()];
	struct frame *batch[CACHE_BATCH], *f = cache_take(c);
	u32 n;

	if (f)
		return f;
	n = frame_zone_take(0, batch, CACHE_BATCH);
	if (!n)
		return NULL;
	f = batch[0];
	/* Someone else may have filled the cache meanwhile. */
	for (u32 i = 1, left = cache_put(c, batch + 1, n - 1); i <= left; i++)
		frame_zone_put(0, &batch[i], 1);
	return f;
}

/* It is not for who wants one of the CPU's own node. */
static bool is_far(const struct frame *f)
{
	return unlikely(frame_node_count > 1) &&
	       frame_node_of(frame_pfn(f)) != frame_node_of_cpu(cpu_id());
}

static void free_one(struct frame *f)
{
	struct cache *c = &caches[cpu_id()];

	if (is_far(f)) {
		frame_zone_put(0, &f, 1);
		return;
	}
	if (!cache_put(c, &f, 1))
		return;
	(void)cache_drain(c, CACHE_BATCH);
	if (cache_put(c, &f, 1))
		frame_zone_put(0, &f, 1);
}

/* What the CPUs keep may be what is wanted, or may merge to it. */
u32 frame_drain(void)
{
	u32 drained = 0;

	for (u32 i = 0; i < CPU_MAX; i++)
		drained += cache_drain(&caches[i], CACHE_SIZE);
	return drained;
}

/* --- For everyone -------------------------------------------------------------------------- */

static void make_ready(struct frame *f, pfn_t pfn, u32 order, u32 flags)
{
	junk_on_alloc(f, order, flags);
	f->refs = 1;
	f->pins = 0;
	f->slab_class = 0;
	frame_use_begin(f, order, flags);
	if (flags & FRAME_ZERO)
		memset(pfn_to_virt(pfn), 0, PAGE_SIZE << order);
}

static u64 left_to_reclaim; /* atomic */

void frame_leave_to_reclaim(u64 frames)
{
	__atomic_store_n(&left_to_reclaim, frames, __ATOMIC_RELAXED);
}

void frame_reclaim_begin(void)
{
	thread_current()->makes_memory++;
}

void frame_reclaim_end(void)
{
	thread_current()->makes_memory--;
}

/* Nor is what CPUs have at hand kept from who finds no more than is left. */
static bool is_left_to_reclaim(u32 order)
{
	u64 left = __atomic_load_n(&left_to_reclaim, __ATOMIC_RELAXED);
	u64 needs = left + (1ull << order);

	if (likely(frame_free_estimate() >= needs) || !left || thread_current()->makes_memory)
		return false;
	return !frame_drain() || frame_free_estimate() < needs;
}

int frame_alloc(u32 order, u32 flags, pfn_t *out)
{
	struct frame *f;

	if (order > FRAME_ORDER_MAX)
		return ERR_INVAL;
	if (is_left_to_reclaim(order))
		return ERR_NOMEM;
	if (hosted_should_fail())
		return ERR_NOMEM;
	f = order ? zone_alloc(order) : alloc_one();
	if (!f) {
		(void)frame_drain();
		f = zone_alloc(order);
	}
	if (!f)
		return ERR_NOMEM;
	*out = frame_pfn(f);
	make_ready(f, *out, order, flags);
	return 0;
}

int frame_alloc_apart(u32 number, u32 flags, pfn_t *out)
{
	struct frame *f;
	int err;

	if (number >= 1u << FRAME_LARGE_ORDER)
		return ERR_INVAL;
	if (is_left_to_reclaim(0))
		return ERR_NOMEM;
	err = frame_zone_take_apart(number, &f);
	if (err)
		return err;
	*out = frame_pfn(f);
	make_ready(f, *out, 0, flags);
	return 0;
}

int frame_alloc_at(pfn_t pfn, u32 flags)
{
	struct frame *f = frame_slot(pfn.v);
	int err;

	if (!f)
		return ERR_BUSY;
	if (is_left_to_reclaim(0))
		return ERR_NOMEM;
	/* What has just been given back is still at hand. */
	if (unlikely(frame_state(f) == FRAME_CACHED))
		err = cache_take_at(&caches[cpu_id()], f);
	else
		err = frame_zone_take_at(f, pfn.v);
	if (!err)
		make_ready(f, pfn, 0, flags);
	return err;
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
	frame_use_end(f, order);
	junk_on_free(f, order);
	if (order == 0)
		free_one(f);
	else
		frame_zone_put(order, &f, 1);
}

int frame_reserve(u64 pages, u64 align, pfn_t *out)
{
	u64 start;

	if (pages == 0)
		return ERR_RANGE;
	if (hosted_should_fail())
		return ERR_NOMEM;
	(void)frame_drain();
	if (!frame_zone_reserve(pages, align, &start))
		return ERR_NOMEM;
	for (u64 i = 0; i < pages; i++)
		junk_check_frame(frame_slot(start + i));
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
	frame_zone_count(&out->total, &out->free);
	for (u32 i = 0; i < CPU_MAX; i++) {
		bool on = spin_lock_irqsave(&caches[i].lock);
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
