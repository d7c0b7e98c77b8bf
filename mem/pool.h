/* SPDX-License-Identifier: MIT */
/*
 * The pool that packed pages are in. An object is 1 to POOL_OBJECT_MAX bytes and belongs to a page
 * of a guest memory object. Objects of like size share a span of one to four frames, which need not
 * be neighbours; an object may go on from one frame in the next.
 *
 * A handle names an object until it is freed, by whoever holds the page's entry BUSY: nobody else
 * frees or moves it meanwhile. Thread context. LOCK_POOL; what takes memory also LOCK_SLAB and
 * LOCK_ZONE.
 */
#ifndef MEM_POOL_H
#define MEM_POOL_H

#include "kernel/base/stat.h"
#include "kernel/base/types.h"

struct gmem;

/* A page that shrinks to no less than this is not worth its place. */
#define POOL_OBJECT_MAX	 2990
#define POOL_HANDLE_BITS 52

struct pool_owner {
	struct gmem *object;
	u64 index;
};

void pool_init(void); /* once, after slab_init */

/*
 * A place for so many bytes; what is to be in it is copied by pool_write. ERR_NOMEM; ERR_RANGE: size.
 */
int pool_alloc(u32 size, const struct pool_owner *owner, u64 *handle);
void pool_write(u64 handle, const void *bytes);
void pool_free(u64 handle);

/* Beside an object, for mem/share.c: no key, one reference and no frame when it is allocated. */
struct pool_share {
	u64 key;
	u32 refs;
	u32 frame; /* pfn; 0: none */
};
struct pool_share *pool_share(u64 handle);

/* An object's bytes, in one piece or two: those of second are 0 then. */
struct pool_bytes {
	const void *first, *second;
	u32 first_size, second_size;
};
struct pool_bytes pool_read(u64 handle);

/*
 * Empties up to so many spans of which others have room for all that is in them, and goes on the
 * next time with the class at which it stopped: `move` is told of an object and its owner, and moves
 * it by pool_alloc and pool_free, or returns false. A span that something stays in, such as an object
 * that has several references and so no one owner, is tried again when something of it was freed.
 * Returns the frames that came free. One caller at a time.
 */
typedef bool (*pool_move_fn)(const struct pool_owner *owner, u64 handle, void *arg);
u64 pool_compact(pool_move_fn move, void *arg, u32 spans);

#define POOL_STATS(X)                                                      \
	X(objects, "count", "Packed pages in the pool.")                   \
	X(bytes, "bytes", "What they have been packed to.")                \
	X(frames, "frames", "Frames that the pool has for them.")          \
	X(moved, "count", "Packed pages that were moved to empty a span.") \
	X(emptied, "count", "Spans that were emptied by moving what they held.")

struct pool_stats {
	POOL_STATS(STAT_FIELD)
};
void pool_get_stats(struct pool_stats *out);
extern struct stat_group pool_stat_group;

#endif
