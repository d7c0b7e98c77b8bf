/* SPDX-License-Identifier: MIT */
/*
 * The guest of shadow_guest.h with a second slot, whose memory it may have in pages of 2 MiB, and
 * what becomes of them in shadow tables.
 */
#ifndef TESTS_UNIT_MMU_SHADOW_BIG_H
#define TESTS_UNIT_MMU_SHADOW_BIG_H

#include "tests/unit/mmu/peek.h" /* first, as it says */
#include "tests/unit/mmu/shadow_guest.h"

#define BIG	  0x1000ull /* gfn of the second slot */
#define BIG_PAGES 1536u

/* Of the guest's entries. */
#define PRESENT	 0x1ull
#define WRITABLE 0x2ull
#define DIRTY	 0x40ull

extern struct gmem *big; /* what slot 2 shows; given back by shadow_big_end */

/* A test's setup and teardown; the audit has nothing to say. */
int shadow_big_start(void **state);
int shadow_big_end(void **state);

struct gmem *large_object(u64 pages);
/* It is `big` from now on, and the guest's tables are loaded. */
void begin_with(struct gmem *object);
void slot_of_big(u64 base, u64 first, u64 pages, u32 flags);
void no_paging(void);

/* A page of 2 MiB at the guest's linear 2 MiB * i, and an address in it. */
void big_entry(u32 i, u64 gfn, u64 bits);
#define AT(i, page) (((u64)(i) << 21) + ((u64)(page) << 12))

/* The guest reaches its page there. */
void reaches(u64 gva, u64 gfn, u32 access);
/* By one fault it reaches all 512 pages of gfn's region. */
void all_in_one(u64 gva, u64 gfn);
/* With paging off it reaches the page, which is mapped alone. */
void small_at(u64 gfn);

bool is_mapped_large(u64 gfn);
u64 large_spte(u64 gfn);

#endif
