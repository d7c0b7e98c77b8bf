/* SPDX-License-Identifier: MIT */
/* Guest memory objects: finding pages that are resident, and making them so. */
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/share.h"
#include "mem/swap.h"
#include "mem/tier.h"

static bool fit_for(u64 entry, bool write)
{
	enum gmem_state state = gmem_entry_state(entry);

	return state == GMEM_GOT_PAGE || (state == GMEM_SHARED && !write);
}

/* Dirty before the caller can write: reclaim never sees a written page that looks clean. */
static bool mark_dirty(u64 *e, u64 entry)
{
	return (entry & GMEM_DIRTY) || gmem_entry_exchange(e, &entry, entry | GMEM_DIRTY);
}

int gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;
	u64 entry = e ? gmem_entry_load(e) : GMEM_ABSENT;

	if (!fit_for(entry, write) || (write && !mark_dirty(e, entry)))
		return ERR_TOO_HARD;
	*out = gmem_page_pfn(g, index, entry);
	return 0;
}

int gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out)
{
	u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;
	u64 entry = e ? gmem_entry_load(e) : GMEM_ABSENT;

	if (likely(may_write && gmem_entry_state(entry) == GMEM_GOT_PAGE) &&
	    (likely(entry & GMEM_DIRTY) ||
	     ((write || !(entry & GMEM_HARD)) && mark_dirty(e, entry)))) {
		*out = gmem_page_pfn(g, index, entry);
		return 1;
	}
	return write ? ERR_TOO_HARD : gmem_lookup(g, index, false, out);
}

/* At order 0 a chunk of entries is just the 2 MiB that are asked for. */
static_assert(GMEM_CHUNK_ENTRIES == GMEM_LARGE_PAGES, "a chunk is 2 MiB of order-0 pages");

/*
 * Whether 512 entries are one large page, which most are not: the chunk remembers that until one
 * of them leaves. It may remember what has just changed, and then the next page that leaves
 * corrects it: a large page that is not used costs time alone.
 */
static bool is_large(struct gmem_chunk *chunk, u64 *e, u64 first)
{
	const u64 age = GMEM_GEN_MASK | GMEM_COLD;
	u64 mostly = first << GMEM_PFN_SHIFT | GMEM_DIRTY | GMEM_GOT_PAGE;

	for (u64 i = 0; i < GMEM_LARGE_PAGES; i++, mostly += BIT(GMEM_PFN_SHIFT)) {
		u64 entry = gmem_entry_load(&e[i]);

		if (likely((entry & ~age) == mostly))
			continue;
		/* A page that does not pack stays known for it as long as nobody can write to it. */
		if (!gmem_entry_resident(entry) || gmem_entry_hard(entry))
			return false;
		if (gmem_entry_state(entry) != GMEM_GOT_PAGE ||
		    gmem_entry_pfn(entry).v != first + i) {
			__atomic_store_n(&chunk->scattered, 1, __ATOMIC_RELAXED);
			return false;
		}
		if (!mark_dirty(&e[i], entry))
			return false;
	}
	return true;
}

bool gmem_large(struct gmem *g, u64 index, pfn_t *out)
{
	struct gmem_chunk *chunk;
	u64 *e, entry;

	index = align_down(index, GMEM_LARGE_PAGES);
	if (index >= g->pages || !gmem_looks_large(g, index))
		return false;
	if (g->order == GMEM_LARGE_ORDER)
		return gmem_lookup(g, index, true, out) == 0;
	chunk = gmem_chunk_of(g, index);
	e = gmem_entry_find(g, index);
	entry = gmem_entry_load(e);
	*out = gmem_entry_pfn(entry);
	if (gmem_entry_resident(entry) && !is_aligned(out->v, GMEM_LARGE_PAGES)) {
		__atomic_store_n(&chunk->scattered, 1, __ATOMIC_RELAXED);
		return false;
	}
	return is_large(chunk, e, out->v);
}

/* --- First touch ---------------------------------------------------------------------------- */

static_assert(FRAME_LARGE_ORDER == GMEM_LARGE_ORDER, "a place is what a large page needs");

static pfn_t in_place(u32 place, u64 index)
{
	return PFN(place * GMEM_LARGE_PAGES + index % GMEM_LARGE_PAGES);
}

/*
 * The first of 2 MiB: wherever 2 MiB are free the others will find theirs beside it, if nobody
 * needed the memory meanwhile. Of two who choose at once one begins again. ERR_BUSY: no place.
 */
static int choose_place(const struct gmem *g, struct gmem_chunk *chunk, u64 index, pfn_t *out)
{
	u32 open = GMEM_PLACE_OPEN, place = GMEM_PLACE_NONE;
	int err = ERR_BUSY;

	if (align_down(index, GMEM_LARGE_PAGES) + GMEM_LARGE_PAGES <= g->pages)
		err = frame_alloc_apart(index % GMEM_LARGE_PAGES, FRAME_ZERO | FRAME_FOR(GUEST),
					out);
	if (!err)
		place = out->v / GMEM_LARGE_PAGES;
	if (err == ERR_NOMEM || __atomic_compare_exchange_n(&chunk->place, &open, place, false,
							    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return err;
	if (!err)
		frame_free(*out, 0);
	return ERR_AGAIN;
}

/*
 * A frame that makes the 2 MiB around the page one piece, if it can be had; or any, and once that
 * is used the effort is vain for the others.
 */
static int frame_for(const struct gmem *g, struct gmem_chunk *chunk, u64 index, pfn_t *out,
		     bool *vain)
{
	u32 place = __atomic_load_n(&chunk->place, __ATOMIC_RELAXED);
	int err = ERR_BUSY;

	*vain = false;
	while (place == GMEM_PLACE_OPEN) {
		err = choose_place(g, chunk, index, out);
		if (err != ERR_AGAIN)
			break;
		place = __atomic_load_n(&chunk->place, __ATOMIC_RELAXED);
	}
	if (place != GMEM_PLACE_OPEN && place != GMEM_PLACE_NONE) {
		*out = in_place(place, index);
		err = frame_alloc_at(*out, FRAME_ZERO | FRAME_FOR(GUEST));
		*vain = err != 0;
	}
	return err == ERR_BUSY || err == ERR_AGAIN
		       ? frame_alloc(0, FRAME_ZERO | FRAME_FOR(GUEST), out)
		       : err;
}

/* absent is the entry. ERR_AGAIN: somebody else was first; what it is now tells what to do. */
static int fill_absent(struct gmem *g, u64 index, u64 *e, u64 absent, bool write, pfn_t *out)
{
	struct gmem_chunk *chunk = gmem_chunk_of(g, index);
	bool vain;
	int err = gmem_admits(g, 1) ? frame_for(g, chunk, index, out, &vain) : ERR_NOMEM;

	if (err)
		return gmem_entry_load(e) == absent ? err : ERR_AGAIN;
	gmem_count_in(g, index);
	if (!gmem_entry_exchange(e, &absent,
				 out->v << GMEM_PFN_SHIFT | gmem_cold_bits(g) |
					 (write ? GMEM_DIRTY : 0) | GMEM_GOT_PAGE)) {
		gmem_count_undo(g, index);
		frame_free(*out, 0);
		return ERR_AGAIN;
	}
	if (vain)
		__atomic_store_n(&chunk->place, GMEM_PLACE_NONE, __ATOMIC_RELAXED);
	return 0;
}

/* 2 MiB are too much to be got and zeroed twice: one does, the others wait. As fill_absent. */
static int fill_large(struct gmem *g, u64 index, u64 *e, u64 absent)
{
	pfn_t pfn;
	int err;

	if (!gmem_entry_take(g, e, &absent))
		return ERR_AGAIN;
	err = gmem_admits(g, GMEM_LARGE_PAGES)
		      ? frame_alloc(GMEM_LARGE_ORDER, FRAME_ZERO | FRAME_FOR(GUEST), &pfn)
		      : ERR_NOMEM;
	gmem_settle(g, index, err ? absent : pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE);
	return err ? err : ERR_AGAIN;
}

/* Where others have its contents, too, a page that is read comes in a frame that all of them show. */
static bool comes_as_own(u64 entry, bool write)
{
	return write || gmem_entry_state(entry) != GMEM_PACKED ||
	       !share_has_many(entry >> GMEM_PFN_SHIFT);
}

/*
 * The page comes back from where its contents were put. Of those who want it one does that, the
 * others wait. As fill_absent.
 */
static int fetch(struct gmem *g, u64 index, u64 *e, u64 entry, bool write)
{
	u64 resident = 0;
	pfn_t pfn;
	int err;

	if (!gmem_entry_take(g, e, &entry))
		return ERR_AGAIN;
	err = gmem_may_grow(g, 1) ? 0 : ERR_NOMEM;
	if (!err && (write || !tier_show(g, entry, &resident))) {
		err = gmem_admits_back(g, comes_as_own(entry, write))
			      ? frame_alloc(0, FRAME_FOR(GUEST), &pfn)
			      : ERR_NOMEM;
		if (!err)
			resident = tier_bring(g, entry, pfn, write);
	}
	if (!err) {
		entry = resident | gmem_come_back(g, entry);
		__atomic_fetch_add(&g->fetched, 1, __ATOMIC_RELAXED);
	}
	gmem_settle(g, index, entry);
	return err ? err : ERR_AGAIN;
}

bool gmem_takes_kept(const struct gmem *g, bool lacks)
{
	return lacks && watermark_admits_owed(1) && watermark_take_copy(g->share_group);
}

bool gmem_admits_promised(const struct gmem *g, u64 pages)
{
	return gmem_admits_absent(g, pages) || (pages == 1 && gmem_takes_kept(g, gmem_lacks(g)));
}

bool gmem_admits_table(const struct gmem *g)
{
	return watermark_admits(1) || gmem_admits_absent(g, 1);
}

/*
 * What is kept for copies, as long as it has less of its own than it was promised. Not what is kept for
 * pages that it has not: a copy makes it have none more.
 */
static bool admits_copy(const struct gmem *g, bool lacks)
{
	return gmem_may_grow(g, 1) && (watermark_admits(1) || gmem_takes_kept(g, lacks));
}

/*
 * A page that is about to be written leaves the frame that it has with others. No mapping of that may
 * stay: who reads there would not see what is written. What was looked up before is not linked, by
 * the sequence; until the page is settled BUSY keeps everybody off. As fill_absent.
 */
static int leave_shared(struct gmem *g, u64 index, u64 *e)
{
	bool lacks = gmem_lacks(g);
	u64 entry, now;
	pfn_t pfn;
	int err;

	if (gmem_claim_entry(g, index, e, &entry))
		return ERR_AGAIN;
	now = entry;
	if (gmem_entry_state(entry) != GMEM_SHARED) {
		err = ERR_AGAIN;
	} else if (share_own(g, gmem_entry_pfn(entry))) {
		/* What is mapped there may stay, and be widened. */
		now = gmem_own_entry(g, gmem_entry_pfn(entry));
		err = ERR_AGAIN;
	} else {
		err = admits_copy(g, lacks) ? frame_alloc(0, FRAME_FOR(GUEST), &pfn) : ERR_NOMEM;
	}
	if (!err) {
		gmem_invalidate_begin(g, index, 1);
		gmem_unmap(g, index, 1);
		gmem_invalidate_end(g, index, 1);
		memcpy(pfn_to_virt(pfn), pfn_to_virt(gmem_entry_pfn(entry)), PAGE_SIZE);
		now = gmem_own_entry(g, pfn);
	}
	gmem_settle(g, index, now);
	if (!err)
		share_left(g, gmem_entry_pfn(entry));
	return err ? err : ERR_AGAIN;
}

int gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	u64 *e;
	int err;

	if (index >= g->pages)
		return ERR_RANGE;
	e = gmem_entry_find(g, index);
	if (unlikely(!e)) {
		/* Entries are never given back: a guest must not spend the last frames on them. */
		e = gmem_admits(g, 1) ? gmem_entry_make(g, index) : NULL;
		if (!e)
			return ERR_NOMEM;
	}
	do {
		u64 entry = gmem_entry_load(e);

		/* Most calls are first touches. */
		if (gmem_entry_state(entry) == GMEM_ABSENT) {
			err = g->order ? fill_large(g, index, e, entry)
				       : fill_absent(g, index, e, entry, write, out);
			continue;
		}
		err = ERR_AGAIN;
		if (fit_for(entry, write)) {
			if (gmem_lookup(g, index, write, out) == 0)
				return 0;
			continue;
		}
		switch (gmem_entry_state(entry)) {
		case GMEM_BUSY:
			gmem_wait_settled(g, index, e);
			break;
		case GMEM_PACKED:
		case GMEM_FILLED:
			err = fetch(g, index, e, entry, write);
			break;
		case GMEM_SHARED:
			err = leave_shared(g, index, e);
			break;
		case GMEM_SWAPPED:
			err = swap_read(g, index, e, entry, write);
			break;
		default:
			err = ERR_NOTSUP;
		}
	} while (err == ERR_AGAIN);
	return err;
}
