/* SPDX-License-Identifier: MIT */
/* The frame allocator over an arena, and an oracle of who has which frame. */
#ifndef TESTS_UNIT_MEM_FRAME_ARENA_H
#define TESTS_UNIT_MEM_FRAME_ARENA_H

#include "mem/frame_internal.h"

#define ARENA MIB(64)
#define PAGES (ARENA / PAGE_SIZE)

extern struct memmap map;

/* map has these ranges, and no others. */
void map_of(const struct mem_range *free, u32 count);

/* An allocator that has all of an arena of so many bytes but the first MiB. */
void start(u64 arena);
u64 free_now(void);

/* What a test knows of each frame of ARENA; mark changes it for 2^order of them, which must be `from`. */
extern u8 taken[PAGES];
void mark(pfn_t pfn, u32 order, u8 from, u8 to);

/* The largest order that can be had: it is lower where freed memory does not merge. */
u32 largest_order(void);

#endif
