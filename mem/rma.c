/* SPDX-License-Identifier: MIT */
/*
 * Which frames of the pool are free is nowhere written down: it is the gaps between the pieces in
 * use, so a piece needs no memory to go back.
 */
#include "mem/rma.h"
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "smp/spinlock.h"

static struct {
	struct spinlock lock;
	/* set once */
	u64 start, end; /* pfns, multiples of RMA_ALIGN_PAGES */
	/* lock */
	struct list pieces;
	struct rma_stats stats; /* all but longest_free */
} pool = {
	.lock = SPINLOCK_INIT("rma pool", LOCK_RMA_POOL),
	.pieces = LIST_INIT(pool.pieces),
};

static const struct stat_desc rma_stat_descs[] = {RMA_STATS(STAT_DESC)};
STAT_CHECK(rma_stats, rma_stat_descs);

static u64 read_stat(const void *owner, u32 i)
{
	struct rma_stats s;

	(void)owner; /* there is one pool */
	rma_pool_stats(&s);
	return stat_read_field(&s, i);
}

struct stat_group rma_stat_group = {
	.scope = "",
	.name = "rma_pool",
	.descs = rma_stat_descs,
	.count = ARRAY_SIZE(rma_stat_descs),
	.read = read_stat,
};

int rma_pool_init(u64 bytes)
{
	u64 pages = bytes >> PAGE_SHIFT;
	pfn_t pfn = PFN(0);
	int err = 0;

	BUG_ON(!list_empty(&pool.pieces));
	if (!is_aligned(bytes, RMA_ALIGN_PAGES * PAGE_SIZE))
		return ERR_ALIGN;
	if (pages)
		err = frame_reserve(pages, RMA_ALIGN_PAGES, &pfn);
	if (err)
		return err;
	memset(pfn_to_virt(pfn), 0, bytes);
	pool.start = pfn.v;
	pool.end = pfn.v + pages;
	pool.stats = (struct rma_stats){.pages = pages};
	return 0;
}

/* --- pieces --- */

/* What is free before a piece or the pool's end: perhaps nothing. pool.lock is held. */
struct gap {
	u64 start, end;
	struct list *next; /* the piece above; the list itself after the last */
};

static struct gap gap_before(struct list *next, u64 start)
{
	u64 end = next == &pool.pieces ? pool.end : list_entry(next, struct rma_piece, link)->pfn.v;

	return (struct gap){start, end, next};
}

static struct gap gap_first(void)
{
	return gap_before(pool.pieces.next, pool.start);
}

/* False after the last. */
static bool gap_step(struct gap *g)
{
	struct rma_piece *p = list_entry(g->next, struct rma_piece, link);

	if (g->next == &pool.pieces)
		return false;
	*g = gap_before(p->link.next, p->pfn.v + p->pages);
	return true;
}

/* Where a piece would begin in the gap. */
static u64 place_in(const struct gap *g, u64 pages)
{
	return pages < RMA_ALIGN_PAGES ? g->start : align_up(g->start, (u64)RMA_ALIGN_PAGES);
}

static bool fits(const struct gap *g, u64 pages)
{
	u64 at = place_in(g, pages);

	return at <= g->end && pages <= g->end - at;
}

/* In the shortest gap that will do, so that long ones stay long. */
static int place_piece(struct rma_piece *piece)
{
	struct gap best = {.next = NULL}, g = gap_first();

	do {
		if (fits(&g, piece->pages) &&
		    (!best.next || g.end - g.start < best.end - best.start))
			best = g;
	} while (gap_step(&g));
	if (!best.next) {
		pool.stats.refused++;
		return ERR_NOSPC;
	}
	piece->pfn = PFN(place_in(&best, piece->pages));
	list_add_tail(&piece->link, best.next);
	pool.stats.pieces++;
	pool.stats.handed_out++;
	pool.stats.used += piece->pages;
	pool.stats.used_peak = max(pool.stats.used_peak, pool.stats.used);
	return 0;
}

int rma_alloc(u64 pages, struct rma_piece **out)
{
	struct rma_piece *piece;
	int err;

	if (!pages)
		return ERR_RANGE;
	piece = kmalloc(sizeof(*piece));
	if (!piece)
		return ERR_NOMEM;
	piece->pages = pages;
	piece->refs = 1;
	spin_lock(&pool.lock);
	err = place_piece(piece);
	spin_unlock(&pool.lock);
	if (err)
		kfree(piece);
	else
		*out = piece;
	return err;
}

void rma_ref(struct rma_piece *piece)
{
	BUG_ON(__atomic_fetch_add(&piece->refs, 1, __ATOMIC_RELAXED) == 0);
}

void rma_put(struct rma_piece *piece)
{
	u32 before = __atomic_fetch_sub(&piece->refs, 1, __ATOMIC_ACQ_REL);

	BUG_ON(before == 0);
	if (before > 1)
		return;
	for (u64 i = 0; i < piece->pages; i++)
		BUG_ON(__atomic_load_n(&frame_of(PFN(piece->pfn.v + i))->pins, __ATOMIC_ACQUIRE));
	/* While it still counts as in use. */
	memset(pfn_to_virt(piece->pfn), 0, piece->pages << PAGE_SHIFT);
	spin_lock(&pool.lock);
	list_del(&piece->link);
	pool.stats.pieces--;
	pool.stats.used -= piece->pages;
	spin_unlock(&pool.lock);
	kfree(piece);
}

static void put_of_object(void *piece)
{
	rma_put(piece);
}

int rma_fill(struct rma_piece *piece, struct gmem *g, u64 first)
{
	int err;

	if (g->on_free)
		return ERR_EXIST;
	err = gmem_fill(g, first, piece->pfn, piece->pages);
	if (err)
		return err;
	rma_ref(piece);
	return gmem_on_free(g, put_of_object, piece);
}

void rma_pool_stats(struct rma_stats *out)
{
	struct gap g;

	spin_lock(&pool.lock);
	*out = pool.stats;
	g = gap_first();
	do {
		u64 at = place_in(&g, RMA_ALIGN_PAGES);

		if (at < g.end)
			out->longest_free = max(out->longest_free, g.end - at);
	} while (gap_step(&g));
	spin_unlock(&pool.lock);
}
