/* SPDX-License-Identifier: MIT */
/*
 * Object allocator over frames: size classes up to 2 KiB, larger requests straight from the
 * buddy. Objects come zeroed. A page goes back to the buddy with its last object. Debug builds
 * notice a write past an object's end, a write after kfree and a second kfree.
 * Exit and thread context; LOCK_SLAB; never sleeps.
 */
#ifndef MEM_SLAB_H
#define MEM_SLAB_H

#include "kernel/base/stat.h"

void slab_init(void); /* once, after frame_init */

/*
 * Zeroed, aligned to at least 16 (64 for sizes of 64 and more; 8 for those of 17 to 24, which is what
 * is in such a type). NULL: no memory, or size 0.
 */
void *kmalloc(size_t size);
void kfree(void *p); /* NULL is fine */

/* What they are cut to; larger ones are whole frames. */
#define SLAB_SIZES(X) \
	X(16)         \
	X(24) X(32) X(64) X(128) X(192) X(256) X(384) X(512) X(640) X(768) X(1024) X(1344) X(2048)

extern struct stat_group slab_stat_group;

#define SLAB_JUNK_FREE 0x5b /* debug: contents of a free object */
#define SLAB_REDZONE   0xbd /* debug: between an object's end and its trailer */

#endif
