/* SPDX-License-Identifier: MIT */
/*
 * A change of memslots in steps, for memslot_change.c: new arrays, published one after the other.
 * All memory is taken before anything is published. What a change leaves over is buried after a
 * grace period, many to one (R29). Thread context, slots_lock held throughout.
 */
#ifndef MMU_MEMSLOT_CHANGE_H
#define MMU_MEMSLOT_CHANGE_H

#include "mmu/mmu_private.h"

/* What one change leaves over. Any of it may be NULL. */
struct remains {
	struct rcu_head rcu;
	struct memslots *old, *invalid;
	struct slot_maps *maps;
	bool maps_shared; /* a moved slot goes on with their chunks */
	u64 *dirty;
	struct gmem *object;
};

/* A change: what it needs, taken before it begins. */
struct change {
	struct memslots *invalid, *final; /* copies of the current array, with room for one more */
	struct remains *remains;
};

/* --- Arrays --- */

struct memslots *slots_current(struct mmu_vm *vm);
/* Where its base belongs; there is room. */
void slots_insert(struct memslots *slots, const struct memslot *s);
void slots_remove(struct memslots *slots, u32 at);
struct memslot *slots_find_id(struct memslots *slots, u32 id); /* NULL: there is none */

/* --- Steps --- */

/*
 * Copies the current array, twice where a slot becomes INVALID in between. ERR_NOMEM: nothing is left
 * over. change_end is for a change that does not come to be.
 */
int change_begin(struct mmu_vm *vm, struct change *c, bool two_step);
void change_end(struct change *c);
/*
 * The slot becomes INVALID. After the grace period nobody links through it any more, and what it
 * has mapped goes, under the gfns that it has (R26). Faults wait meanwhile, outside the reader.
 */
void change_retire(struct mmu_vm *vm, struct change *c, u32 index);
/* Publishes what the change comes to. Nobody waits for the grace period that follows. */
void change_finish(struct mmu_vm *vm, struct change *c);

/* Those who watch the VM's slots hear of one that is no more where it was. */
void slots_tell_gone(struct mmu_vm *vm, const struct memslot *s);

#endif
