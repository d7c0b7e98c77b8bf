/* SPDX-License-Identifier: MIT */
/* Guest memory objects: finding pages that are resident, and making them so. */
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"

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

/* At order 0 a chunk of entries is just the 2 MiB that are asked for. */
static_assert(GMEM_CHUNK_ENTRIES == GMEM_LARGE_PAGES, "a chunk is 2 MiB of order-0 pages");

/*
 * Whether 512 entries are one large page, which most are not: the chunk remembers that until one
 * of them leaves. It may remember what has just changed, and then the next page that leaves
 * corrects it: a large page that is not used costs time alone.
 */
static bool is_large(struct gmem_chunk *chunk, u64 *e, u64 first)
{
	for (u64 i = 0; i < GMEM_LARGE_PAGES; i++) {
		u64 entry = gmem_entry_load(&e[i]);

		if (!gmem_entry_resident(entry))
			return false;
		if (gmem_entry_state(entry) != GMEM_GOT_PAGE ||
		    gmem_entry_pfn(entry).v != first + i || !is_aligned(first, GMEM_LARGE_PAGES)) {
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
	u64 *e;

	index = align_down(index, GMEM_LARGE_PAGES);
	if (index >= g->pages)
		return false;
	if (g->order == GMEM_LARGE_ORDER)
		return gmem_lookup(g, index, true, out) == 0;
	chunk = gmem_chunk_of(g, index);
	if (__atomic_load_n(&chunk->resident, __ATOMIC_ACQUIRE) != GMEM_LARGE_PAGES ||
	    __atomic_load_n(&chunk->scattered, __ATOMIC_RELAXED))
		return false;
	e = gmem_entry_find(g, index);
	*out = gmem_entry_pfn(gmem_entry_load(e));
	return is_large(chunk, e, out->v);
}

/* --- First touch ---------------------------------------------------------------------------- */

/* Whoever loses finds out by reading the entry again. */
static int fill_absent(struct gmem *g, u64 index, u64 *e)
{
	u64 absent = GMEM_ABSENT;
	pfn_t pfn;
	int err = frame_alloc(0, FRAME_ZERO, &pfn);

	if (err)
		return gmem_entry_load(e) == GMEM_ABSENT ? err : 0;
	gmem_count_in(g, index);
	if (!gmem_entry_exchange(e, &absent, pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE)) {
		gmem_count_undo(g, index);
		frame_free(pfn, 0);
	}
	return 0;
}

/* 2 MiB are too much to be got and zeroed twice: one does, the others wait. */
static int fill_large(struct gmem *g, u64 index, u64 *e)
{
	u64 absent = GMEM_ABSENT;
	pfn_t pfn;
	int err;

	if (!gmem_entry_exchange(e, &absent, GMEM_BUSY))
		return 0;
	err = frame_alloc(GMEM_LARGE_ORDER, FRAME_ZERO, &pfn);
	gmem_settle(g, index, err ? GMEM_ABSENT : pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE);
	return err;
}

int gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	u64 *e;

	if (index >= g->pages)
		return ERR_RANGE;
	e = gmem_entry_make(g, index);
	if (!e)
		return ERR_NOMEM;
	for (;;) {
		u64 entry = gmem_entry_load(e);
		int err = 0;

		if (fit_for(entry, write)) {
			if (gmem_lookup(g, index, write, out) == 0)
				return 0;
			continue;
		}
		switch (gmem_entry_state(entry)) {
		case GMEM_ABSENT:
			err = g->order ? fill_large(g, index, e) : fill_absent(g, index, e);
			break;
		case GMEM_BUSY:
			gmem_wait_settled(g, e);
			break;
		default:
			err = ERR_NOTSUP;
		}
		if (err)
			return err;
	}
}
