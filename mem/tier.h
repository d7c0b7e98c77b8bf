/* SPDX-License-Identifier: MIT */
/*
 * Where a page's contents go when its frame is taken, cheapest first: nowhere when they are all
 * zero, into the entry itself when they are one word all over, else packed into the pool. An entry
 * says which, and finds them again.
 */
#ifndef MEM_TIER_H
#define MEM_TIER_H

#include "mem/gmem.h"

/*
 * Puts the contents of `page`, which is the object's page at index, away: *entry is what slot_phys[]
 * is to hold, without flags. The caller holds the entry BUSY. Thread context. ERR_NOSPC: they would
 * take nearly as much as they do; ERR_NOMEM. Nothing is put away then.
 */
int tier_put(struct gmem *g, u64 index, const void *page, u64 *entry);

/* Copies them back to a page, and leaves them where they are. Panics if they are damaged. */
void tier_get(u64 entry, void *page);

/* They are not needed any more. */
void tier_free(u64 entry);

/* A state that tier_put makes and the others take. */
static inline bool tier_has(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_PACKED || gmem_entry_state(entry) == GMEM_FILLED;
}

/* Moves what is packed to another place in the pool, the entry being BUSY. ERR_NOMEM. */
int tier_move(struct gmem *g, u64 index, u64 *entry);

#endif
