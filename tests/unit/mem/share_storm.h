/* SPDX-License-Identifier: MIT */
/*
 * Objects of one share group whose pages have few contents, half of which pack, and threads that write
 * (also all of a page that is put away), read, take, drop, hold and send them to the disk, empty spans of
 * the pool, and let an object go and make another, all at random. Each page tells its contents, and after
 * it, or after each step of one thread, all that is counted of sharing is counted again (share_recount.h).
 */
#ifndef TESTS_UNIT_MEM_SHARE_STORM_H
#define TESTS_UNIT_MEM_SHARE_STORM_H

#include "tests/hosted/schedule.h"

struct share_storm_counts {
	u64 alone; /* pages that had a frame alone, added up over the looks; and how many of them, */
	u64 alone_shown; /* in frames of packed contents */
	u64 no_memory, on_disk, ended;
	u64 whole; /* pages that were written whole where they were put */
};

/* So many steps of each thread from one look to the next. fail: one allocation in so many fails; 0: none. */
void share_storm(const struct hosted_way *way, u32 steps, u32 fail, bool disk,
		 struct share_storm_counts *out);
/* The same of one thread, with a look after each step. */
void share_steps(u64 seed, u32 steps, u32 fail, bool disk, struct share_storm_counts *out);

#endif
