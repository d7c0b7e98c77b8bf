/* SPDX-License-Identifier: MIT */
/*
 * For the scenario `shadow`: a guest writes a word of one of its tables, live, or has Weir do it where
 * the table is write-protected.
 */
#ifndef TESTS_UNIT_MMU_TABLE_WRITE_H
#define TESTS_UNIT_MMU_TABLE_WRITE_H

#include "tests/hosted/machine/machine.h"

enum how {
	STORED,
	NOT_RUN_IN_SOFTWARE, /* a store by an instruction that Weir does not run */
	EXCHANGED,
};

struct table_write {
	u64 gva, gpa; /* of the word: Weir has to find the one by the other */
	u64 value;
	u32 how; /* enum how */
	u64 add; /* LOCK ADD instead */
};

/* On the vCPU's CPU, at CPL 0. True: it is done; else no memory, or no right. */
bool table_write(struct machine_vm *vm, struct mmu_vcpu *v, const struct table_write *w);

#endif
