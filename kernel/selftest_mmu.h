/* SPDX-License-Identifier: MIT */
/*
 * Where things are for the guest of the MMU's self-test (selftest_mmu_guest.S), in guest-physical
 * addresses and bytes. Read by the assembler too.
 */
#ifndef KERNEL_SELFTEST_MMU_H
#define KERNEL_SELFTEST_MMU_H

#define HAMMER_CODE    0x100000
#define HAMMER_PRIVATE 0x180000 /* a page for each vCPU */
#define HAMMER_STEADY  0x200000 /* a whole 2 MiB, of which the guest uses so many pages: */
#define HAMMER_PAGES   48
#define HAMMER_COUNTS  16 /* words at a page's start for the vCPUs' counts; the rest is its stamp */

/* In each word, with the page's number; of a page that comes and goes that is one byte. */
#define HAMMER_STEADY_STAMP   0x5a000000
#define HAMMER_FLEETING_STAMP 0x71000000
/* But for these words, one of each vCPU's, which writes there at what address it sees it. */
#define HAMMER_MARKS	   4 /* at so many words from the page's start; a power of two of them: */
#define HAMMER_MARKS_COUNT 4

/* One slot is at any of these places, or nowhere. Powers of two. */
#define HAMMER_FLEETING	   0x600000
#define HAMMER_PLACES	   4
#define HAMMER_PLACE_PAGES 16

/* In the private page, above the counts. */
#define HAMMER_RANDOM 4080
#define HAMMER_HITS   4084
#define HAMMER_ROUNDS 4088

#ifndef __ASSEMBLY__
#include "kernel/base/types.h"
extern const u8 mmu_guest_page[];
#endif

#endif
