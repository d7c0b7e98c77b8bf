/* SPDX-License-Identifier: MIT */
/*
 * The fake machine's second-level page tables, in place of mmu/ept.c: a test that does not link
 * that file gets this format. Each level's entries are laid out differently and bear a signature
 * of their level, and every function insists on it: an entry that is read as one of another level,
 * a guest's page or a freed frame that is read as a table, panics.
 */
#ifndef TESTS_HOSTED_MACHINE_FAKE_FORMAT_H
#define TESTS_HOSTED_MACHINE_FAKE_FORMAT_H

#include "kernel/base/addr.h"

#define FAKE_LEVELS 4 /* of 9 bits each, as EPT's; level 0 is the root's */

static inline u32 fake_shift(u32 level)
{
	return PAGE_SHIFT + 9 * (FAKE_LEVELS - 1 - level);
}

/* An entry as the CPU reads it; what would be a misconfiguration panics. */
struct fake_entry {
	bool present; /* else nothing of the rest counts */
	bool leaf;
	pfn_t pfn;
	u32 access; /* MMU_READ, MMU_WRITE, MMU_EXEC */
	bool accessed, dirty;
};
struct fake_entry fake_decode(u32 level, u64 entry);

/* What the CPU sets in an entry. */
u64 fake_accessed_bit(u32 level);
u64 fake_dirty_bit(u32 level);

/* What an EPT pointer says. */
struct fake_root {
	pfn_t table;
	bool accessed_dirty;
};
struct fake_root fake_root(u64 eptp);

#endif
