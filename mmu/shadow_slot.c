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
 * Slots that come, move and go while the guest runs are part of the MMU's interface, with whatever
 * memory and tables are in them (memslot.h). Of the slots that Weir makes only the local APIC's page
 * goes before its VM does (kernel/apic_page.c), and none moves. So most of this has no user in the
 * product yet but the VM's end: mmu/test_shadow_slots and mmu/test_machine_shadow have slots that go
 * and move beneath a guest that runs.
 *
 * The slot is INVALID, and a grace period is over: nobody links through it, nor makes pages of it.
 */
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

/*
 * Where another slot is part of the region vCPUs may make such pages again meanwhile, and show by
 * them what is in that slot: they go with it. So one look along the whole chain is enough.
 */
static void zap_region(struct mmu_vm *vm, gfn_t base)
{
	u32 zapped;

	do {
		spin_lock(&vm->mmu_lock);
		zapped = shadow_zap_direct(vm, base);
		spin_unlock(&vm->mmu_lock);
	} while (zapped == SHADOW_ZAP_STEP);
}

static u64 next_table(const u64 *words, u64 i, u64 pages)
{
	while (i < pages && !(__atomic_load_n(&words[i], __ATOMIC_ACQUIRE) & RMAP_TABLE))
		i++;
	return i;
}

/* Some of the tables from i on, with one flush; where to go on. */
static u64 zap_tables(struct mmu_vm *vm, gfn_t gfn, const u64 *words, u64 i, u64 pages)
{
	struct shadow_gone gone = SHADOW_GONE(gone);
	u32 left = SHADOW_ZAP_STEP;

	spin_lock(&vm->mmu_lock);
	for (; i < pages; i = next_table(words, i + 1, pages)) {
		left -= shadow_zap_table(vm, GFN(gfn.v + i), left, &gone);
		/* It may have had more. */
		if (!left)
			break;
	}
	shadow_finish(vm, &gone);
	spin_unlock(&vm->mmu_lock);
	return next_table(words, i, pages);
}

/* Pages that have their words in one chunk. */
static void zap_chunk(struct mmu_vm *vm, gfn_t gfn, const u64 *words, u64 pages)
{
	gfn_t first = region_base(gfn), last = region_base(GFN(gfn.v + pages - 1));
	u64 i = next_table(words, 0, pages);

	zap_region(vm, first);
	/* Two regions where the slot does not begin at one. */
	if (last.v != first.v)
		zap_region(vm, last);
	while (i < pages)
		i = zap_tables(vm, gfn, words, i, pages);
}

void shadow_slots_grew(struct mmu_vm *vm)
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

void shadow_check_no_slot(struct mmu_vm *vm)
{
	struct shadow_page *sp;

	list_for_each_entry (sp, &vm->shadow->active, link) {
		BUG_ON(sp->word);
		for (u32 i = 0; sp->words && i < SPTE_ENTRIES; i++)
			BUG_ON(sp->words[i]);
	}
}
