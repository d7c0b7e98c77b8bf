/* SPDX-License-Identifier: MIT */
/*
 * For tests that look behind the façade of the fixture's VM: its slots, sptes and reverse maps; and
 * objects whose memory is one piece. One thread, no locks.
 */
#ifndef TESTS_UNIT_MMU_PEEK_H
#define TESTS_UNIT_MMU_PEEK_H

#include "mmu/mmu_private.h" /* before the fixture, whose vm its arguments would shadow */
#include "tests/unit/mmu/fixture.h"

/* The slot that is published at gfn. */
const struct memslot *slot_of(u64 gfn);
/* Where the way to gfn ends: a leaf or an entry that is not present. */
u64 *spte_of(u64 gfn);
u64 *word_of(u64 gfn);
u64 *large_word_of(u64 gfn);
u32 chain_length(const u64 *word);
/* Of the region that gfn is in: what stands against a large mapping. */
u32 small_count(u64 gfn);

/* gfn is mapped by a leaf of 2 MiB. */
bool is_large(u64 gfn);
bool is_mapped(u64 gfn);

/*
 * The tables agree with the reverse maps; each region counts its protected pages and guests'
 * tables.
 */
void check_audit(void);
/* The audit complains, and says this. */
void audit_says(const char *what);

/*
 * An object of order 0 whose pages are frames side by side, the first on a multiple of 2 MiB. Of a
 * filled one they are foreign, and are given back with the object; of a lucky one they are its own.
 */
struct gmem *object_filled(u64 pages);
struct gmem *object_lucky(void); /* 512 pages */

#define PAGE(gfn) GPA((u64)(gfn) << 12)

#endif
