/* SPDX-License-Identifier: MIT */
/*
 * Object allocator over frames: size classes up to 2 KiB, larger requests straight from the
 * buddy. Objects come zeroed. Exit and thread context; LOCK_SLAB; never sleeps.
 */
#ifndef MEM_SLAB_H
#define MEM_SLAB_H

#include "kernel/base/types.h"

void slab_init(void); /* once, after frame_init */

/* Zeroed, aligned to at least 16 (64 for sizes of 64 and more). NULL: no memory. */
void *kmalloc(size_t size);
void kfree(void *p); /* NULL is fine */

#endif
