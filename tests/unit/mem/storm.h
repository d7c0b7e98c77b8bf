/* SPDX-License-Identifier: MIT */
/*
 * One object, two who map its pages, and threads that fault, use what is mapped, pin, drop, move
 * pages to other frames, and make a mapper leave and come back, all at random. Each page holds zero
 * or its own stamp; frames are filled with something else when they are freed, so a mapping that
 * outlived its page (R08, R09, R10) shows in what is read through it, and as a race to
 * ThreadSanitizer besides. The seed gives what each thread does, and in a serial run the order too.
 */
#ifndef TESTS_UNIT_MEM_STORM_H
#define TESTS_UNIT_MEM_STORM_H

#include "tests/hosted/schedule.h"

struct storm_counts {
	u64 linked, refused, used, unmapped, dropped, moved, pinned, left;
};

/* So many steps of each thread; all that was taken is given back, or an assertion fails. */
void storm_small(const struct hosted_way *way, u32 steps, struct storm_counts *out);

/* Pages of 2 MiB: made, pinned and dropped by all at once (R34, R37). */
void storm_large(const struct hosted_way *way, u32 steps, struct storm_counts *out);

#endif
