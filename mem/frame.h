/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator: a buddy over all free RAM, orders 0 (4 KiB) to 18 (1 GiB), with a small
 * per-CPU cache of order-0 frames. Debug builds fill frames with FRAME_JUNK_FREE when freed and
 * FRAME_JUNK_ALLOC when handed out (unless zeroed), and catch double frees.
 * Exit and thread context (not interrupt). Takes LOCK_ZONE. Never sleeps.
 */
#ifndef MEM_FRAME_H
#define MEM_FRAME_H

#include "kernel/base/addr.h"
#include "kernel/base/list.h"
#include "mem/memmap.h"

#define FRAME_ORDER_MAX 18

enum frame_flags {
	FRAME_ZERO = 1, /* contents zeroed */
};

/* One for each 4 KiB of RAM. */
struct frame {
	struct list link; /* free lists, caches, or the owner's use */
	u32 refs;	  /* atomic; users of an allocated frame */
	u16 pins;	  /* atomic; > 0: never reclaimed */
	u8 order;
	u8 state;
};

static_assert(sizeof(struct frame) <= 32, "the frame array costs at most 1/128 of RAM");

/* Once, boot CPU, direct map up: builds the frame array inside free RAM. ERR_NOMEM. */
int frame_init(const struct memmap *map);

/* 2^order contiguous frames, aligned to their size. ERR_NOMEM. */
int frame_alloc(u32 order, u32 flags, pfn_t *out);
void frame_free(pfn_t pfn, u32 order);

/* order-0 convenience: a direct-map pointer, or NULL. */
void *frame_alloc_page(u32 flags);
void frame_free_page(void *page);

struct frame *frame_of(pfn_t pfn); /* NULL where there is no RAM of ours */

struct frame_stats {
	u64 total; /* frames managed */
	u64 free;  /* including per-CPU caches */
};
void frame_get_stats(struct frame_stats *out);

/* Gives a range (page-aligned, was reserved at init) to the allocator. Boot CPU, thread context. */
void frame_release_range(u64 start, u64 end);

#endif
