/* SPDX-License-Identifier: MIT */
/*
 * For the scenario `shadow`: a slot that comes, moves and goes while guests use what is in it, and what
 * may be found of it meanwhile. Page 0 is a table of the guests', page 1 is one that it shows.
 */
#ifndef TESTS_UNIT_MMU_SPARE_SLOT_H
#define TESTS_UNIT_MMU_SPARE_SLOT_H

#include "tests/hosted/machine/machine.h"

#define SPARE_BASE  0x700u
#define SPARE_TABLE ((u64)SPARE_BASE << PAGE_SHIFT)
#define SPARE_PAGE  ((SPARE_BASE + 1ull) << PAGE_SHIFT)

/* Makes the object, and the slot at SPARE_BASE. */
void spare_slot_start(struct machine_vm *vm);
/* It comes, goes, or moves away or back. By one job. */
void spare_slot_change(struct machine_vm *vm, u64 *random);

/*
 * A read by way of the slot: t leads to where fn finds what `is_right` then says. Where the slot was
 * away all the while nothing is found, and where it was there all the while something is.
 */
void spare_slot_meet(struct machine_vm *vm, struct mmu_vcpu *v, struct machine_touch *t,
		     bool (*is_right)(const void *arg));

#endif
