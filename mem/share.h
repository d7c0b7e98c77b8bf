/* SPDX-License-Identifier: MIT */
/*
 * Contents that several pages have, kept once. A page that went cold is looked for among those that
 * did before it: by a hash, and then byte for byte. Pages of one group only: what a guest can see
 * of sharing (a first write that takes longer) tells it what others of its group have.
 *
 * Contents are known in one of two forms, each with a count of the entries that lead to it:
 *
 *	an object in the pool		PACKED entries. The first that is read by a guest, others
 *					having it too, brings a frame that all readers show;
 *	a frame, read-only		SHARED entries. Of an object, which then counts the frame; or
 *					alone, where the contents do not pack (HARD).
 *
 * Two buckets of ten places are looked at in the table by which they are found (mem/share_table.h).
 * Who finds both full takes the place of contents that nobody has found yet: they are found no more,
 * and stay with whoever has them. So a look costs two buckets and one comparison, whatever guests do.
 *
 * The caller holds the entry that it comes with BUSY, or another reference. Thread context.
 * LOCK_SHARE; what frees also LOCK_POOL, LOCK_SLAB, LOCK_ZONE.
 */
#ifndef MEM_SHARE_H
#define MEM_SHARE_H

#include "kernel/base/addr.h"
#include "kernel/base/stat.h"
#include "mem/frame.h"

struct gmem;

/* Once, after frames and pool are there. ERR_NOMEM: nothing is shared. */
int share_init(void);

/* What contents are looked for by; 0: not at all, as for group 0. */
u64 share_key(u32 group, const void *page);

/*
 * Looks for contents like those of the page, one of g: true, *entry (state and place, and HARD where
 * they do not pack) leads to them and is counted. *key is 0 then where others have the same one: to be
 * looked for by it no more.
 */
bool share_find(struct gmem *g, u64 *key, const void *page, u64 *entry);

/* --- In the pool: handles of mem/pool.h ----------------------------------------------------- */

/* An object that was just written may be found. */
void share_offer(u64 handle, u64 key);
/* Has several entries. */
bool share_has_many(u64 handle);
/* A frame shows it, which others may have had for themselves until an entry more came to lead here. */
bool share_is_shown(u64 handle);
/* An entry leads to it no more. The last one frees it. */
void share_free_packed(u64 handle);
/* The frame that shows it, counted for the entry, of g, in the place of the object. False: there is none. */
bool share_shown(const struct gmem *g, u64 handle, pfn_t *out);
/*
 * The frame at *pfn holds its contents: it is shown to all from now on, counted for the entry, of g, in
 * the place of the object; or, where another came first, that one, and this is freed. False: nobody
 * else has them.
 */
bool share_show(const struct gmem *g, u64 handle, pfn_t *pfn);

/* --- Frames --------------------------------------------------------------------------------- */

/*
 * Who has a shared frame alone: as long as one entry leads to it, nobody holds it, and none to the object
 * that it shows, it counts in `alone` of that entry's gmem.
 *
 * A frame of contents that do not pack is a shared one, that of one entry of g, and may be found.
 */
void share_keep(struct gmem *g, pfn_t pfn, u64 key);
/* Whether a frame that the caller has a reference to is a shared one. */
bool share_is_frame(pfn_t pfn);
/* Whoever holds it for a moment, without an entry of its own. ERR_NOSPC: too many. */
int share_ref(pfn_t pfn);
/*
 * An entry of g leads to it no more; or, with NULL, share_ref's reference ends. True: it was the last,
 * and the frame is free.
 */
bool share_put(const struct gmem *g, pfn_t pfn);
/* True: nobody else has the frame, and it is the caller's alone, an entry of g's; no longer shared. */
bool share_own(const struct gmem *g, pfn_t pfn);
/* After share_own said no, and the page has a frame of its own. */
void share_left(const struct gmem *g, pfn_t pfn);
/*
 * An entry of g leads to the object of the frame in the place of the frame: true, *handle is that.
 * *last: the frame was shown to nobody else, and is the caller's to free. False: it has no object.
 */
bool share_cool(const struct gmem *g, pfn_t pfn, u64 *handle, bool *last);

/*
 * Frames that those who show them in this group would have beside: so many more are needed, if all
 * of them write. Without a lock, any context; groups that are equal modulo SHARE_GROUPS count
 * together.
 */
#define SHARE_GROUPS 64u
u64 share_saved(u32 group);

#define SHARE_STATS(X)                                                                             \
	X(frames, "frames", "Frames that are shared, or may come to be, read-only.", STAT_LEVEL)   \
	X(frames_saved, "frames", "Frames that those who show them would have beside.",            \
	  STAT_LEVEL)                                                                              \
	X(packed_saved, "pages", "Packed pages that have their contents with others.", STAT_LEVEL) \
	X(found, "pages", "Cold pages whose contents were there already.")                         \
	X(shown, "pages", "Frames that were made for all readers of packed contents.")             \
	X(copied, "pages", "Pages that were written and got a frame of their own.")                \
	X(owned, "pages",                                                                          \
	  "Frames that went back to the one page that had them, to be written, sent to the disk "  \
	  "or dropped.")                                                                           \
	X(collisions, "count", "Contents that differed and had the same hash.")                    \
	X(evicted, "count", "Contents that others took the place of in the table.")                \
	X(table, "bytes", "Memory of the table.", STAT_LEVEL)

struct share_stats {
	SHARE_STATS(STAT_FIELD)
};
void share_get_stats(struct share_stats *out);
extern struct stat_group share_stat_group;

#ifdef WEIR_HOSTED
extern u64 share_hash_mask; /* tests make hashes collide */
#endif

#endif
