/* SPDX-License-Identifier: MIT */
/*
 * Mappings of 2 MiB in shadow tables: an entry of level 2 where the guest has a page of 2 MiB or
 * more, or no paging, and the slot, the region and the object allow it as they do with EPT
 * (h_enter.c). A region that has a table of the guest's in it does not. There may be several of
 * them for one region, and the guest may have mapped its pages one by one elsewhere: the large word
 * of the region has the one, the small words the other, and whoever takes pages away looks at both.
 *
 * Where one has to give way all of its region go, and faults link single pages. The region stays so
 * (RMAP_SMALL): else who wants to know which of its pages are used would learn it of none, and code
 * on CPUs that must not have it in large pages would take them away again and again.
 */
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

/* The region and what stands there now are fit for it. */
static bool fits(const struct shadow_leaf *l, const struct shadow_page *sp, u32 i)
{
	u64 e = page_table_read(&sp->table[i]);

	if (e && !(e & SPTE_PAGE))
		return false;
	return !(__atomic_load_n(rmap_large_word(l->slot, l->gfn), __ATOMIC_RELAXED) & RMAP_SMALL);
}

int shadow_link_large(struct mmu_vcpu *v, struct shadow_leaf *l, struct shadow_page *sp, u32 i,
		      struct shadow_gone *gone)
{
	struct shadow_leaf large = *l;
	int err;

	if (!gmem_looks_large(l->slot->object, l->index) || !memslot_may_be_large(l->slot, l->gfn))
		return ERR_EXIST;
	/* What is executed is mapped by 4 KiB, and takes a large mapping that is there away. */
	if (mmu_hw.large_nx && l->fetch)
		(void)shadow_split(v->vm, l->slot, l->gfn);
	if ((mmu_hw.large_nx && l->fetch) || !fits(l, sp, i) ||
	    !gmem_large(l->slot->object, l->index, &large.pfn))
		return ERR_EXIST;
	if (!sp->words) {
		if (!v->cache_count)
			return ERR_TOO_HARD;
		sp->words = v->cache[--v->cache_count];
	}
	large.large = true;
	large.gfn = region_base(l->gfn);
	large.may_write = !(l->slot->flags & MEMSLOT_READONLY);
	err = shadow_link(v, &large, sp, i, gone);
	l->refused = large.refused;
	return err;
}

bool shadow_split(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn)
{
	u64 *word = rmap_large_word(s, gfn);
	u32 dropped;

	rmap_lock(word);
	dropped = shadow_drop_chain(word);
	if (dropped) {
		rmap_flag(word, RMAP_SMALL, 0);
		mmu_flush(vm);
		mmu_count(&vm->stats.split, 1);
		mmu_count(&vm->stats.unmapped_large, dropped);
		mmu_count(&vm->stats.unmapped, dropped * LARGE_PAGES);
	}
	rmap_unlock(word);
	return dropped;
}

/* Some of them: a guest may have a page for each of the ways in which it uses the region. */
u32 shadow_zap_direct(struct mmu_vm *vm, gfn_t base)
{
	struct shadow_page *sp = *shadow_bucket(vm->shadow, base), *next;
	struct shadow_gone gone = SHADOW_GONE(gone);
	u32 zapped = 0;

	for (; sp && zapped < SHADOW_ZAP_STEP; sp = next) {
		next = sp->next;
		if (sp->gfn.v != base.v || !sp->role.direct || sp->role.level != 1)
			continue;
		shadow_zap(vm, sp, &gone);
		zapped++;
	}
	shadow_finish(vm, &gone);
	return zapped;
}

bool shadow_collapse(struct mmu_vm *vm, const struct memslot *s, gfn_t base)
{
	u64 *word = rmap_large_word(s, base);
	bool was_small;
	u32 zapped;

	spin_lock(&vm->mmu_lock);
	zapped = shadow_zap_direct(vm, base);
	rmap_lock(word);
	was_small = __atomic_load_n(word, __ATOMIC_RELAXED) & RMAP_SMALL;
	rmap_flag(word, 0, RMAP_SMALL);
	rmap_unlock(word);
	spin_unlock(&vm->mmu_lock);
	if (zapped)
		mmu_count(&vm->stats.collapsed, 1);
	return zapped || was_small;
}
