/* SPDX-License-Identifier: MIT */
/*
 * What others do in the moment between a fault's look at the page and its linking. Threads hit that
 * moment too seldom, so the linker puts this there: gmem_lookup and gmem_lookup_to_map go through it.
 * The test needs -Wl,--wrap= for both.
 */
#ifndef TESTS_UNIT_MMU_AFTER_LOOKUP_H
#define TESTS_UNIT_MMU_AFTER_LOOKUP_H

#include "mem/gmem.h"

/* Done once, on another CPU, after the next lookup that finds page after_index; NULL when it was. */
extern void (*after_lookup)(void);
extern u64 after_index;
extern u64 after_frame; /* the frame that lookup found */

/* Returns when it has run, as another CPU. */
void run_on_another_cpu(void (*what)(void));

/* The page's contents move to another frame, and the old one is free. */
void take_page(struct gmem *g, u64 index);

#endif
