/* SPDX-License-Identifier: MIT */
/*
 * What the first 4 KiB of a disk or partition must say, and the 4 KiB after them once more, before Weir
 * writes anything to it: others leave the first 4 KiB as they are and begin there (Linux's md, bcache).
 * Weir writes to neither. `make swap-image` (tests/tools/swap_image.py) does. All numbers are
 * little-endian. Pure.
 */
#ifndef KERNEL_DISK_SWAP_HEADER_H
#define KERNEL_DISK_SWAP_HEADER_H

#include "kernel/base/types.h"

#define SWAP_MAGIC	"WEIRSWAP"
#define SWAP_VERSION	2  /* 1 had no copy */
#define SWAP_BLOCKS_MIN 16 /* this one and its copy, too */
#define SWAP_HEADERS	2
#define SWAP_BLOCKS_MAX BIT(32) /* 16 TiB */

struct swap_header {
	u8 magic[8];
	u32 version;
	u32 block_size; /* 4096 */
	u64 blocks;	/* from this one on; the medium may have more */
	u8 uuid[16];
	u32 crc; /* of all 4096 bytes, with 0 here */
	u8 zero[4096 - 44];
} __packed;
static_assert(sizeof(struct swap_header) == 4096, "one block");

/* NULL: the area of so many sectors may be used. Else what is wrong with it, and the remedy. */
const char *swap_header_fault(const struct swap_header *h, const struct swap_header *copy,
			      u64 sectors);

#endif
