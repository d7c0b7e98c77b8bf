/* SPDX-License-Identifier: MIT */
/*
 * What the files of mem/gmem*.c know of each other: how an entry is found, changed and counted.
 * Not for anyone else. Pure but for gmem_entry_make; any context.
 */
#ifndef MEM_GMEM_PRIVATE_H
#define MEM_GMEM_PRIVATE_H

#include "mem/gmem.h"
#include "mem/share.h"
#include "mem/watermark.h"

/* How many 4 KiB pages an entry stands for. */
static inline u64 gmem_entry_pages(const struct gmem *g)
{
	return 1ull << g->order;
}

static inline struct gmem_chunk *gmem_chunk_of(const struct gmem *g, u64 index)
{
	return &g->slot_phys[(index >> g->order) / GMEM_CHUNK_ENTRIES];
}

/* Where the entry is, or NULL while its chunk is not there. index < pages. */
static inline u64 *gmem_entry_find(const struct gmem *g, u64 index)
{
	u64 at = index >> g->order;
	u64 *entries = __atomic_load_n(&g->slot_phys[at / GMEM_CHUNK_ENTRIES].entries,
				       __ATOMIC_ACQUIRE);

	return entries ? &entries[at % GMEM_CHUNK_ENTRIES] : NULL;
}

/* As gmem_entry_find, making the chunk. Thread context; LOCK_ZONE. NULL: no memory. */
u64 *gmem_entry_make(struct gmem *g, u64 index);

static inline u64 gmem_entry_load(const u64 *e)
{
	return __atomic_load_n(e, __ATOMIC_ACQUIRE);
}

/* On failure *old is what was found. */
static inline bool gmem_entry_exchange(u64 *e, u64 *old, u64 new)
{
	return __atomic_compare_exchange_n(e, old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* How many entries are in a state: +1 before it comes to one, -1 after it has left it. */
static inline void gmem_count_state(struct gmem *g, u64 entry, u64 n)
{
	enum gmem_state state = gmem_entry_state(entry);

	if (state != GMEM_GOT_PAGE && state != GMEM_ABSENT)
		__atomic_fetch_add(&g->in_state[state], n, __ATOMIC_RELAXED);
}

/* Makes the entry BUSY; on failure *entry is what was found. It leads to gmem_settle_entry. */
static inline bool gmem_entry_take(struct gmem *g, u64 *e, u64 *entry)
{
	if (!gmem_entry_exchange(e, entry, (*entry & ~GMEM_STATE_MASK) | GMEM_BUSY))
		return false;
	gmem_count_state(g, GMEM_BUSY, 1);
	gmem_count_state(g, *entry, -1ull);
	return true;
}

static inline bool gmem_entry_resident(u64 entry)
{
	enum gmem_state state = gmem_entry_state(entry);

	return state == GMEM_GOT_PAGE || state == GMEM_SHARED;
}

/* Of a resident entry: the frame of the 4 KiB page at index. */
static inline pfn_t gmem_page_pfn(const struct gmem *g, u64 index, u64 entry)
{
	return PFN(gmem_entry_pfn(entry).v + (index & (gmem_entry_pages(g) - 1)));
}

/* [first, first + pages) is inside the object. */
static inline bool gmem_range_ok(const struct gmem *g, u64 first, u64 pages)
{
	return pages <= g->pages && first <= g->pages - pages;
}

/* Whole pages of the object. */
static inline bool gmem_range_aligned(const struct gmem *g, u64 first, u64 pages)
{
	return is_aligned(first | pages, gmem_entry_pages(g));
}

/*
 * An entry is counted before it becomes resident, and until after it was taken away: else the
 * taking could be counted first. undo is for who did not store it after all, and is told what
 * resident was.
 */
void gmem_count_in(struct gmem *g, u64 index);
u64 gmem_count_undo(struct gmem *g, u64 index);
void gmem_count_out(struct gmem *g, u64 index);

/* As far as the object itself goes. Any context. */
static inline bool gmem_may_grow(const struct gmem *g, u64 pages)
{
	return __atomic_load_n(&g->resident, __ATOMIC_RELAXED) + pages <=
	       __atomic_load_n(&g->resident_max, __ATOMIC_RELAXED);
}

/* Less is resident than it was promised. */
static inline bool gmem_is_owed(const struct gmem *g)
{
	return __atomic_load_n(&g->resident, __ATOMIC_RELAXED) <
	       __atomic_load_n(&g->resident_min, __ATOMIC_RELAXED);
}

/*
 * Resident pages in frames that others pay for: each needs one of its own when it is written. Which
 * they are is not known, but there are no more than are shared, and not known to be alone in their
 * frames, nor than sharing saves in the group.
 */
static inline u64 gmem_borrowed(const struct gmem *g)
{
	u64 alone = __atomic_load_n(&g->alone, __ATOMIC_RELAXED);
	u64 shared = __atomic_load_n(&g->in_state[GMEM_SHARED], __ATOMIC_RELAXED);

	shared -= min(shared, alone);
	return min(shared, share_saved(g->share_group));
}

/* How many frames of its own it has less than it was promised. */
static inline u64 gmem_lacks(const struct gmem *g)
{
	u64 promised = __atomic_load_n(&g->resident_min, __ATOMIC_RELAXED);
	u64 resident = __atomic_load_n(&g->resident, __ATOMIC_RELAXED);
	u64 own = resident - min(resident, gmem_borrowed(g));

	return promised - min(promised, own);
}

/*
 * Whether it gets a frame of those that are kept for copies in its group; lacks: it has less of its
 * own than it was promised. That is reckoned too high at times, and grows with what others read: so
 * no more are given than were counted when they were there. Exit and thread context.
 */
bool gmem_takes_kept(const struct gmem *g, bool lacks);

/* So many frames of what is kept for pages that it has not. Exit and thread context. */
static inline bool gmem_admits_absent(const struct gmem *g, u64 pages)
{
	return gmem_is_owed(g) && watermark_admits_owed(pages);
}

/* So many frames of all that is kept for it. Exit and thread context. */
bool gmem_admits_promised(const struct gmem *g, u64 pages);

/*
 * So many of its pages are about to go, and are counted out. What it lacks more by that of what it was
 * promised is kept for it from before their frames are free: else others would have it for good until
 * somebody counts anew. Any context.
 */
void gmem_keep_promised(struct gmem *g, u64 gone);

/* Whether it may have so many frames more (ERR_NOMEM otherwise). Exit and thread context. */
static inline bool gmem_admits(const struct gmem *g, u64 pages)
{
	return likely(gmem_may_grow(g, pages)) &&
	       (likely(watermark_admits(pages)) || gmem_admits_promised(g, pages));
}

/*
 * The same for a page that comes back from where it was put. own: in a frame of its own, and not in
 * one that all who read it show: those are nothing of what it lacks.
 */
static inline bool gmem_admits_back(const struct gmem *g, bool own)
{
	return gmem_may_grow(g, 1) && (watermark_admits_back() || gmem_admits_absent(g, 1) ||
				       (own && gmem_takes_kept(g, gmem_lacks(g))));
}

/*
 * Sleeps until the entry of this index is not BUSY, and says that somebody does; a page that is
 * being written to the swap disk comes back at once. Thread context.
 */
void gmem_wait_settled(struct gmem *g, u64 index, u64 *e);

/*
 * The halves of gmem_claim and gmem_settle, of the entry at e, whatever its order. claim: as
 * gmem_claim, but ERR_AGAIN where somebody else has it BUSY; but for the state it reads as before.
 * settle: the caller wakes those who wait, once for all that it settles.
 */
int gmem_claim_entry(struct gmem *g, u64 index, u64 *e, u64 *entry);
void gmem_settle_entry(struct gmem *g, u64 index, u64 *e, u64 entry);

/* --- Generations: an entry's is the object's of when the page was used last, modulo 8 --- */

static inline u64 gmem_generation_bits(const struct gmem *g)
{
	return (__atomic_load_n(&g->generation, __ATOMIC_RELAXED) << GMEM_GEN_SHIFT) &
	       GMEM_GEN_MASK;
}

/* Of a page that is used now, in a frame of its own. */
static inline u64 gmem_own_entry(const struct gmem *g, pfn_t pfn)
{
	return pfn.v << GMEM_PFN_SHIFT | gmem_generation_bits(g) | GMEM_GOT_PAGE;
}

/* How many generations ago: 0 to 7. */
static inline u32 gmem_entry_age(const struct gmem *g, u64 entry)
{
	u64 behind = gmem_generation_bits(g) - (entry & GMEM_GEN_MASK);

	return (u32)((behind & GMEM_GEN_MASK) >> GMEM_GEN_SHIFT);
}

/*
 * A page that has just come has been used once, as every page that is read through: what makes it
 * young is a second use. Until then it is older than those that were used in the last rounds.
 */
#define GMEM_COLD_AGE 2u

static inline u64 gmem_cold_bits(const struct gmem *g)
{
	u64 behind = (u64)GMEM_COLD_AGE << GMEM_GEN_SHIFT;

	return ((gmem_generation_bits(g) - behind) & GMEM_GEN_MASK) | GMEM_COLD;
}

/*
 * --- Refault distance: how many pages of the object were put away between the taking of one and its
 * coming back. If they are no more than are resident it would have stayed, had the object had twice
 * the memory at most: it belongs to what the guest works with, and comes back young. Stamps count
 * in steps of a 16th of the object, so they wrap when twice the object was put away meanwhile. ---
 */

static inline u64 gmem_stamp_step(const struct gmem *g)
{
	return max(g->pages / (GMEM_STAMPS / 2), 1ull);
}

static inline u64 gmem_stamp_bits(const struct gmem *g)
{
	u64 taken = __atomic_load_n(&g->taken, __ATOMIC_RELAXED);

	return taken / gmem_stamp_step(g) % GMEM_STAMPS << GMEM_STAMP_SHIFT;
}

/* entry: as it was put away. How many steps ago: 0 to 31. */
static inline u64 gmem_stamp_age(const struct gmem *g, u64 entry)
{
	u64 steps = gmem_stamp_bits(g) - (entry & GMEM_STAMP_MASK);

	return (steps & GMEM_STAMP_MASK) >> GMEM_STAMP_SHIFT;
}

static inline bool gmem_refault_is_near(const struct gmem *g, u64 entry)
{
	return gmem_stamp_age(g, entry) * gmem_stamp_step(g) <=
	       __atomic_load_n(&g->resident, __ATOMIC_RELAXED);
}

/* A page that was put away as `entry` is resident again, counted if near: what its entry is to say of its age. */
static inline u64 gmem_come_back(struct gmem *g, u64 entry)
{
	bool near = gmem_refault_is_near(g, entry);

	__atomic_fetch_add(&g->refaults, near, __ATOMIC_RELAXED);
	return near ? gmem_generation_bits(g) : gmem_cold_bits(g);
}

/* Not written since it did not pack. Any context. */
static inline bool gmem_entry_hard(u64 entry)
{
	return (entry & (GMEM_HARD | GMEM_DIRTY)) == GMEM_HARD;
}

/* Not written since it came from the swap disk, where it still is. Any context. */
static inline bool gmem_entry_clean(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_GOT_PAGE &&
	       (entry & (GMEM_KEPT | GMEM_DIRTY)) == GMEM_KEPT;
}

#endif
