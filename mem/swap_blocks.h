/* SPDX-License-Identifier: MIT */
/*
 * Which blocks of the swap disk hold pages, and what is in them: of each block a bit says whether it
 * is in use, and 32 bits are a checksum of its page, so that a block which was damaged, or was never
 * written, is noticed when it is read. Both are in RAM: 33 bits for each 4 KiB of disk, about 1 MiB
 * for each GiB. The checksum begins with a number that is another at each boot.
 *
 * Block 0 is the header's and never given out. Thread context; LOCK_SWAP.
 */
#ifndef MEM_SWAP_BLOCKS_H
#define MEM_SWAP_BLOCKS_H

#include "kernel/base/types.h"

/* Once, before the others; blocks counts the header's. ERR_NOMEM; ERR_RANGE: no block for a page. */
int swap_blocks_init(u64 blocks, u64 seed);
void swap_blocks_end(void);	    /* gives the memory back */
u64 swap_blocks_memory(u64 blocks); /* bytes that swap_blocks_init takes */

/*
 * A block near the one that was given out last, so that pages which go together lie together. 0:
 * there is none, or none was found within the bound of one look, and the next goes on behind it.
 */
u64 swap_block_get(void);
void swap_block_put(u64 block);
void swap_block_retire(u64 block); /* it is in use, and never given out again */

/* Of a block that is in use. */
void swap_block_sum(u64 block, const void *page);
bool swap_block_sum_is(u64 block, const void *page);

struct swap_block_counts {
	u64 blocks; /* for pages */
	u64 used;
	u64 bad;
};
void swap_blocks_count(struct swap_block_counts *out);
u64 swap_blocks_free(void); /* approximate, no lock */
/* More than half of them are. As above. */
bool swap_blocks_plenty(void);

#endif
