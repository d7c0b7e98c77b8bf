/* SPDX-License-Identifier: MIT */
/*
 * What mem/share.c and mem/share_refs.c know of each other: places, where contents are; who has how
 * many references to what is there; and who has a frame alone.
 *
 * Under the lock of the key (mem/share_table.h), but for what only reads who has a reference.
 */
#ifndef MEM_SHARE_REFS_H
#define MEM_SHARE_REFS_H

#include "mem/gmem.h"
#include "mem/pool.h"
#include "mem/share.h"

struct share_state {
	u64 seed[2]; /* set once */
	/* atomic */
	struct share_stats stats; /* but for frames_saved, which is the sum of: */
	u64 saved[SHARE_GROUPS];
};
extern struct share_state share;

#define SHARE_COUNT(field, n) __atomic_fetch_add(&share.stats.field, (u64)(n), __ATOMIC_RELAXED)

/* A place: 0, or where contents are. */
#define PLACE_FRAME BIT(0) /* else an object of the pool */
#define PLACE_SHIFT 1
static_assert(POOL_HANDLE_BITS + PLACE_SHIFT <= 64, "a place holds a handle");

static inline u64 share_place_of_frame(pfn_t pfn)
{
	return pfn.v << PLACE_SHIFT | PLACE_FRAME;
}

static inline u64 share_place_of_object(u64 handle)
{
	return handle << PLACE_SHIFT;
}

static inline struct frame *share_frame_at(u64 place)
{
	return frame_of(PFN(place >> PLACE_SHIFT));
}

/*
 * Of a shared frame: `origin` is the key of its contents; with SHOWS the object of which it is, and that
 * has the key. `owners` are the gmems whose entries lead to it, one xor the other, so that when one entry
 * is left its gmem is known.
 */
#define SHARE_SHOWS BIT(0) /* in owners; for as long as it is shared */
static_assert(_Alignof(struct gmem) > SHARE_SHOWS, "a gmem leaves a bit");

/* The object that it shows; 0: none. Who has a reference, or the lock. */
static inline u64 share_handle_shown(const struct frame *f)
{
	u64 owners = __atomic_load_n(&f->share.owners, __ATOMIC_RELAXED);

	return owners & SHARE_SHOWS ? f->share.origin : 0;
}

/* Likewise. */
static inline u64 share_key_of(const struct frame *f)
{
	u64 handle = share_handle_shown(f);

	return handle ? pool_share(handle)->key : f->share.origin;
}

/* Whose the entry is, if one leads to it; NULL: none does, but somebody holds it for a moment. */
static inline struct gmem *share_owner_of(const struct frame *f)
{
	return (struct gmem *)(uintptr_t)(f->share.owners & ~SHARE_SHOWS);
}

/* One more for what is there. False: there are too many. */
bool share_ref_place(u64 key, u64 place);
/* True: it was the last, and nobody finds it any more; what it was is the caller's to free. */
bool share_unref_place(u64 key, u64 place);

/* A reference to the frame, counted already, is that of an entry of g from now on; */
void share_enter(struct frame *f, const struct gmem *g);
/* or no more, and is about to go, others being left. */
void share_exit(struct frame *f, const struct gmem *g);

#endif
