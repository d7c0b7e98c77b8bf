/* SPDX-License-Identifier: MIT */
/*
 * A guest with shadow paging that has its table of the last level at a window of its own, and
 * writes it there as a CPU does.
 */
#ifndef TESTS_UNIT_MMU_SHADOW_LIVE_H
#define TESTS_UNIT_MMU_SHADOW_LIVE_H

#include "mmu/mmu.h"

#define RAM_PAGES 2048u
#define TABLE	  4u		 /* under test; 1 to 3 lead to it */
#define WINDOWS	  5u		 /* the table that shows the tables */
#define WINDOW	  (511ull << 21) /* where that is */
#define DATA	  100u

int shadow_live_start(void **state); /* a cmocka setup: shadow_guest_end is its teardown */
const struct memslot *ram_slot(void);
bool is_let_go(u64 table);
u64 gva_of(u32 i);

/* The guest's own write of an entry. Whether it did it itself. */
bool write_live(u64 table, u32 i, u64 to, u64 bits);
/* Which page of ram the guest reads there; 0: the fault is its own. */
u64 led_to(u64 gva);
/* Its first entries are in use, and it is the guest's to write: entry 7 has been written. */
void let_go(u64 table);
void drop_address(u64 gva); /* INVLPG */

#endif
