/* SPDX-License-Identifier: MIT */
/*
 * What shadow pages have to do with memslots. A slot that goes, or moves, takes with it
 * - the leaves that show its pages: sweeps find them by its reverse maps, in whatever page they are,
 *   which says then that it has nothing of theirs any more (shadow_leaf_gone);
 * - the pages of the guest's tables in it, and the entries that lead to these: its words say which
 *   gfns are tables;
 * - direct pages of level 1 for regions that it is part of: what is there next may be mapped large.
 * All others stay as they are, roots among them, and what vCPUs have cached of them stays good.
 * Direct pages of level 2 are no slot's: they stand for a gigabyte, and what they lead to is gone.
 *
 * The reverse maps are all that is needed for that, and to take rights from one slot's pages: a set
 * of slots in each shadow page would tell the same less exactly, for it could only grow.
 *
 * The slot is INVALID, and a grace period is over: nobody links through it, nor makes pages of it.
 */
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

static void zap_region(struct mmu_vm *vm, gfn_t base)
{
	u32 zapped;

	do {
		spin_lock(&vm->mmu_lock);
		zapped = shadow_zap_direct(vm, base);
		spin_unlock(&vm->mmu_lock);
	} while (zapped);
}

/* Pages that have their words in one chunk. */
static void zap_chunk(struct mmu_vm *vm, gfn_t gfn, const u64 *words, u64 pages)
{
	gfn_t first = region_base(gfn), last = region_base(GFN(gfn.v + pages - 1));

	zap_region(vm, first);
	/* Two regions where the slot does not begin at one. */
	if (last.v != first.v)
		zap_region(vm, last);
	for (u64 i = 0; i < pages; i++) {
		if (__atomic_load_n(&words[i], __ATOMIC_ACQUIRE) & RMAP_TABLE)
			shadow_forget(vm, GFN(gfn.v + i));
	}
}

void shadow_slots_changed(struct mmu_vm *vm)
{
	shadow_hash_grow(vm, shadow_limit_of(vm));
}

void shadow_zap_slot(struct mmu_vm *vm, const struct memslot *s)
{
	for (u64 i = 0; i < s->pages; i += RMAP_CHUNK_WORDS) {
		gfn_t gfn = GFN(s->base.v + i);
		const u64 *words = rmap_word(s, gfn);

		/* Without one nothing in it was mapped by 4 KiB, and nothing is a table. */
		if (words)
			zap_chunk(vm, gfn, words, min(RMAP_CHUNK_WORDS, s->pages - i));
	}
}
