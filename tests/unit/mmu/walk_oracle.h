/* SPDX-License-Identifier: MIT */
/*
 * A second reading of SDM 3A chapter 4, written apart from mmu/walk.c and in another way: one
 * function for each paging mode, reading the test's memory directly, without A and D updates of
 * its own.
 */
#ifndef TESTS_UNIT_MMU_WALK_ORACLE_H
#define TESTS_UNIT_MMU_WALK_ORACLE_H

#include "mmu/walk.h"

struct oracle_answer {
	int err;
	u64 gpa, page_size;
	u32 code;
	/* Entries that were used, by address, and their width; set of A and D to expect. */
	u32 used;
	u64 where[4];
	u32 width;
	bool dirty_last;
};

/* 8 or 4 bytes of guest memory; false: there is none. The test provides it. */
bool oracle_load(u64 gpa, u32 width, u64 *value);

struct oracle_answer oracle_walk(const struct guest_paging *p, u64 gva, u32 access);

#endif
