/* SPDX-License-Identifier: MIT */
/* How many pages of a guest memory object are in which state. Any context; no lock. */
#ifndef MEM_GMEM_STAT_H
#define MEM_GMEM_STAT_H

#include "kernel/base/stat.h"
#include "mem/gmem.h"

/* The first are the states of an entry, in their order. */
#define GMEM_STATS(X)                                                                              \
	X(absent, "pages", "Pages that were never touched, or are known to be zero.", STAT_LEVEL)  \
	X(got_page, "pages", "Pages that are resident in frames of their own.", STAT_LEVEL)        \
	X(shared, "pages", "Pages that are resident in frames that others may show.", STAT_LEVEL)  \
	X(packed, "pages", "Pages that are in the compressed pool.", STAT_LEVEL)                   \
	X(swapped, "pages", "Pages that are on the swap disk.", STAT_LEVEL)                        \
	X(busy, "pages", "Pages that a thread is changing from one state to another.", STAT_LEVEL) \
	X(filled, "pages", "Pages that are one word all over, which their entry tells.",           \
	  STAT_LEVEL)                                                                              \
	X(peak, "pages", "The most pages that were resident at any time.", STAT_LEVEL)             \
	X(pins, "count", "Pins that keep pages where they are: under emulation, in queues.",       \
	  STAT_LEVEL)                                                                              \
	X(given_back, "pages", "Pages that the guest gave back and has not touched since.",        \
	  STAT_LEVEL)                                                                              \
	X(removed, "pages", "Pages that held something when the guest gave them back.")

struct gmem_stats {
	GMEM_STATS(STAT_FIELD)
};
extern const struct stat_desc gmem_stat_descs[];
#define GMEM_STAT_COUNT (sizeof(struct gmem_stats) / sizeof(u64))

/* Of a struct gmem. Approximate while pages change. */
u64 gmem_stat_read(const void *g, u32 i);

#endif
