/* SPDX-License-Identifier: MIT */
/*
 * Where a page's contents go when its frame is taken, cheapest first: nowhere when they are all
 * zero, into the entry itself when they are one word all over, else packed into the pool, else to the
 * swap disk, which mem/swap.h does by itself. An entry says which, and finds them again.
 *
 * Thread context. The caller holds the entry BUSY, or it is nobody's any more. Nothing here sleeps;
 * LOCK_SHARE, LOCK_POOL, LOCK_SWAP, LOCK_SLAB, LOCK_ZONE.
 */
#ifndef MEM_TIER_H
#define MEM_TIER_H

#include "mem/gmem.h"

/*
 * Puts the contents of `page`, which is one of the object's, away: *entry is what slot_phys[]
 * is to hold. ERR_NOSPC: they would take nearly as much as they do, and stay in the frame, with
 * *entry as it is to be from now on, but for its age; ERR_NOMEM: nothing is put away. With 0 the
 * frame is not needed, unless it is that of *entry.
 */
int tier_put(struct gmem *g, const void *page, u64 *entry);

/*
 * The page is read, and others that have its contents have a frame for them: true, *resident is
 * the entry with that. False: bring.
 */
bool tier_show(struct gmem *g, u64 entry, u64 *resident);
/*
 * Brings them back in this frame; the entry that the page gets is returned. For reading the frame
 * may become that of all who have these contents, or have become that of another.
 */
u64 tier_bring(struct gmem *g, u64 entry, pfn_t pfn, bool write);

/* Copies what is packed to a page, and leaves it where it is. Panics if it is damaged. */
void tier_get(u64 entry, void *page);

/* They are not needed any more. */
void tier_free(struct gmem *g, u64 entry);

/* The contents are somewhere else than in a frame. */
static inline bool tier_has(u64 entry)
{
	enum gmem_state state = gmem_entry_state(entry);

	return state == GMEM_PACKED || state == GMEM_FILLED || state == GMEM_SWAPPED;
}

/*
 * The entry of a page that is this word all over: ABSENT where it is 0. False: the word has none. Pure;
 * any context.
 */
bool tier_fill(u64 word, u64 *entry);

/*
 * What is in a frame with others, and also packed, is to be packed alone: true, *entry is that.
 * *last: nobody is left in the frame, which is the caller's to free. False: it stays as it is. The
 * entry is unmapped.
 */
bool tier_cool(struct gmem *g, u64 *entry, bool *last);

#endif
