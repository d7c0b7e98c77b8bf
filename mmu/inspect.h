/* SPDX-License-Identifier: MIT */
/*
 * Looks inside a VM's MMU, for an operator: copies what it finds, under the locks that guard it, so
 * that nothing is shown of what is gone. Changes nothing. Thread context; not inside a reader of
 * the VM's SRCU.
 */
#ifndef MMU_INSPECT_H
#define MMU_INSPECT_H

#include "mmu/mmu.h"

struct mmu_slot_look {
	u32 id, flags;
	gfn_t base;
	u64 pages, first;
	u64 chunks, chunks_there; /* of words of its reverse map */
	u64 pinned, protected;	  /* words that say so */
};

/* Copies at most max; returns how many slots there are. generation: of the array. */
u32 mmu_look_at_slots(struct mmu_vm *vm, struct mmu_slot_look *out, u32 max, u64 *generation);

#define MMU_LOOK_SPTES 6

/* One word of a reverse map, as it was while it was locked. */
struct mmu_word_look {
	bool there; /* its chunk is */
	u64 word;
	u32 count; /* sptes of its chain, up to a bound; the first MMU_LOOK_SPTES of them: */
	hpa_t at[MMU_LOOK_SPTES];
	u64 value[MMU_LOOK_SPTES];
};

struct mmu_gfn_look {
	u32 slot;
	u64 index; /* in the slot's object */
	u64 entry; /* of slot_phys[] */
	struct mmu_word_look small, large;
};

/* ERR_NOSLOT; ERR_AGAIN: its slot is on its way out. */
int mmu_look_at_gfn(struct mmu_vm *vm, gfn_t gfn, struct mmu_gfn_look *out);

#endif
