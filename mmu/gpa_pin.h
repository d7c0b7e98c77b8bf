/* SPDX-License-Identifier: MIT */
/*
 * A page of guest memory that Weir keeps at hand: it stays in its frame, where Weir may read and write
 * it in any context, until it is unpinned. It counts to the VM's bound on pins, as the guest's own do.
 *
 * For words that Weir and a running guest tell each other. What is written so is in no dirty log and no
 * shadow table follows it. Where the slot goes away the page stays the object's until it is unpinned,
 * and no guest sees it.
 */
#ifndef MMU_GPA_PIN_H
#define MMU_GPA_PIN_H

#include "mmu/mmu.h"

struct gpa_pin {
	struct gmem *object; /* referenced; NULL: nothing is pinned */
	u64 index;
	pfn_t pfn;
	void *at; /* the byte that was asked for */
};

/*
 * The page that gpa is in, which no pin is in yet. Thread context, may sleep, may be under
 * LOCK_DEVICE; not inside a reader of the VM's SRCU. ERR_NOSLOT: no RAM that the VM may write is
 * there; ERR_PERM: the guest protected the page; ERR_NOSPC: the bound on pins; ERR_NOMEM; others of
 * gmem_pin. Nothing is pinned on error.
 */
int gpa_pin(struct mmu_vm *vm, gpa_t gpa, struct gpa_pin *out);
/* Thread context. Of one that pins nothing: nothing. */
void gpa_unpin(struct gpa_pin *p);

#endif
