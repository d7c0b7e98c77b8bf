/* SPDX-License-Identifier: MIT */
/*
 * A guest with shadow paging, on the machine of fixture.h and the CPU of shadow_cpu.h: its memory, the
 * tables in it, and what it reaches through them.
 */
#ifndef TESTS_UNIT_MMU_SHADOW_GUEST_H
#define TESTS_UNIT_MMU_SHADOW_GUEST_H

#include "mmu/shadow.h"
#include "tests/unit/mmu/fixture.h"

/* Of a guest's entry (SDM 3A 4.5). */
#define P      1ull
#define W      2ull
#define U      4ull
#define A      0x20ull
#define D      0x40ull
#define PS     0x80ull
#define XD     BIT(63)
#define MARKED (P | W | U | A | D)

#define EFLAGS_AC BIT(18)

extern struct gmem *ram;	   /* slot 1, from gfn 0 on */
extern struct guest_paging paging; /* of vcpu */

/*
 * Has ram_pages on a machine with this much memory, and 4-level paging: tables 1, 2 and 3 lead to
 * table 4, which is empty. Nothing is loaded.
 */
void shadow_guest_start(u64 memory, u64 ram_pages);
/* A test's teardown; the audit has nothing to say. */
int shadow_guest_end(void **state);

/* What the guest writes: any bytes; and an entry of 8, by its table's gfn, its place and where it leads. */
void put(u64 gpa, u64 value, u32 width);
void entry(u64 table, u32 i, u64 to, u64 bits);

/* MOV to CR3. */
void load(void);

/*
 * An access as the CPU and vmx/ do it, until it is through (0) or the answer is another. *at is the
 * address in memory; at may be NULL.
 */
int shadow_access(u64 gva, u32 access, u64 *at);

/* The frame that has this page of ram. */
u64 frame_of_page(u64 index);

/* Shadow pages of the guest's table. */
u32 shadow_pages_of(u64 gfn);
/* One of them; there has to be one. */
struct shadow_page *shadow_page_for_table(u64 gfn);

#endif
