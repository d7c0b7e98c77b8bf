/* SPDX-License-Identifier: MIT */
/*
 * The pool that packed pages are in. An object is 1 to POOL_OBJECT_MAX bytes, which never change.
 * Objects of like size share a span of one to eight frames, which need not be neighbours; an object
 * may go on from one frame in the next.
 *
 * A handle names an object until it is freed, wherever it is: objects move, whoever leads to them,
 * to empty spans that hold little. So the bytes are had as a copy only.
 *
 * Thread context; interrupts are off while a page is packed or unpacked. LOCK_POOL; what takes or gives
 * memory also LOCK_SLAB and LOCK_ZONE.
 */
#ifndef MEM_POOL_H
#define MEM_POOL_H

#include "kernel/base/stat.h"
#include "kernel/base/types.h"

/* A page that shrinks to more than this is not worth its place. */
#define POOL_OBJECT_MAX	 2990
#define POOL_HANDLE_BITS 52

void pool_init(void); /* once, after slab_init */

/* An object of these bytes. ERR_NOMEM; ERR_RANGE: size. */
int pool_store(const void *bytes, u32 size, u64 *handle);
u32 pool_size(u64 handle);
/* In memory that ends there no handle is more than this. */
u64 pool_last_handle(u64 end);
/* Copies its bytes, of which there is room for POOL_OBJECT_MAX; their number. */
u32 pool_copy(u64 handle, void *bytes);
void pool_free(u64 handle);

/* Beside an object, for mem/share.c: no key, one reference and no frame when it is stored. */
struct pool_share {
	u64 key;
	u32 refs;
	u32 frame; /* pfn; 0: none */
};
struct pool_share *pool_share(u64 handle);

/*
 * Empties up to so many spans of which others have room for all that is in them, and goes on the
 * next time with the class at which it stopped. Returns the frames that came free. One caller at a
 * time.
 */
u64 pool_compact(u32 spans);

#define POOL_STATS(X)                                                         \
	X(objects, "count", "Packed pages in the pool.", STAT_LEVEL)          \
	X(bytes, "bytes", "What they have been packed to.", STAT_LEVEL)       \
	X(frames, "frames", "Frames that the pool has for them.", STAT_LEVEL) \
	X(moved, "count", "Packed pages that were moved to empty a span.")    \
	X(emptied, "count", "Spans that were emptied by moving what they held.")

struct pool_stats {
	POOL_STATS(STAT_FIELD)
};
void pool_get_stats(struct pool_stats *out);
extern struct stat_group pool_stat_group;

#endif
