/* SPDX-License-Identifier: MIT */
/* How many shadow pages a VM may have, which of them make room for others, and a vCPU's caches. */
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mem/watermark.h"
#include "mmu/shadow_private.h"

#define LIMIT_THOUSANDTHS 20u /* of a VM's memory */
/* What makes room makes some more: who comes next finds it. */
#define ROOM_STEP 16u
/* So many that were used are kept each time: it does not come round to them again. */
#define SHRINK_LOOKS 64u
static_assert(SHRINK_LOOKS + SHADOW_ZAP_STEP < SHADOW_LEAST, "others are left to go");
/* Of the entries that lead to a page so many are looked at. */
#define PARENTS_LOOKED_AT 4u

u32 shadow_limit_of(struct mmu_vm *vm)
{
	const struct memslots *slots = memslots_get(vm);
	u64 pages = 0;

	for (u32 i = 0; i < slots->count; i++)
		pages += slots->slots[i].pages;
	return (u32)max(min(pages, (u64)~0u) * LIMIT_THOUSANDTHS / 1000, (u64)SHADOW_LEAST);
}

/*
 * Since the last look: by a fault, or by a CPU that went this way. Which marks the entry that it
 * goes by, but not while it has it cached; most pages have one, and a few will do.
 */
static bool was_used(struct shadow_page *sp)
{
	bool used = sp->used;
	u64 *spte;

	sp->used = false;
	for (u32 n = 0; n < PARENTS_LOOKED_AT && (spte = rmap_spte(&sp->parents, n)); n++)
		used |= __atomic_fetch_and(spte, ~SPTE_ACCESSED, __ATOMIC_RELAXED) & SPTE_ACCESSED;
	return used;
}

/* What comes free with it. */
static u64 bytes_of(const struct shadow_page *sp)
{
	return (sp->words ? 2 : 1) * PAGE_SIZE + sizeof(*sp);
}

/*
 * Until so many pages are left, or so many bytes come free; returns how many do. The pages that
 * were made or loaded longest ago go first, but those that were used since are kept once more.
 * Roots that vCPUs have do not go.
 */
static u64 shrink(struct mmu_vm *vm, u32 to, u64 bytes, struct shadow_gone *gone)
{
	struct list *at = vm->shadow->active.prev;
	u32 pages = vm->shadow->pages, looks = SHRINK_LOOKS;
	u64 freed = 0;

	to = max(to, pages - min(pages, SHADOW_ZAP_STEP));
	while (pages > to && freed < bytes && at != &vm->shadow->active) {
		struct shadow_page *sp = container_of(at, struct shadow_page, link);

		at = at->prev;
		if (sp->roots)
			continue;
		if (looks && was_used(sp)) {
			looks--;
			list_del(&sp->link);
			list_add(&sp->link, &vm->shadow->active);
			continue;
		}
		freed += bytes_of(sp);
		shadow_zap(vm, sp, gone);
		pages--;
	}
	return freed;
}

/*
 * short_of: what is about to be taken where memory is short. Then the VM's own pages give it: what
 * is left of memory is for making more of it, and what is kept for others is theirs. But every VM
 * has so many as it takes to run at all.
 */
static void make_room(struct mmu_vm *vm, u64 short_of)
{
	struct shadow *sh = vm->shadow;
	struct shadow_gone gone = SHADOW_GONE(gone);
	u32 reader = srcu_read_lock(&vm->srcu), least, limit;
	u64 generation, freed = 0;

	spin_lock(&vm->mmu_lock);
	generation = __atomic_load_n(&vm->slots_generation, __ATOMIC_ACQUIRE);
	least = mmu_shadow_least(__atomic_load_n(&sh->vcpus, __ATOMIC_RELAXED));
	if (sh->limit_generation != generation || !sh->limit) {
		sh->limit = shadow_limit_of(vm);
		sh->limit_generation = generation;
	}
	limit = max(sh->limit, least);
	sh->owed = sh->pages > least ? sh->owed + short_of : 0;
	if (sh->pages + MMU_CACHE_MAX > limit)
		freed = shrink(vm, limit - MMU_CACHE_MAX - ROOM_STEP, ~0ull, &gone);
	else if (short_of && sh->owed >= PAGE_SIZE)
		freed = shrink(vm, least, sh->owed, &gone);
	sh->owed -= min(sh->owed, freed);
	shadow_finish(vm, &gone);
	spin_unlock(&vm->mmu_lock);
	srcu_read_unlock(&vm->srcu, reader);
}

/* What a topup takes, if memory is so short that the VM is to give it itself. */
static u64 short_of(const struct mmu_vcpu *v)
{
	u64 takes = (MMU_CACHE_MAX - v->cache_count) * PAGE_SIZE +
		    (SHADOW_SPARES - v->shadow.spare_count) * sizeof(struct shadow_page) +
		    (RMAP_CACHE_MAX - v->rmaps.count) * sizeof(struct rmap_desc);

	return likely(!takes || watermark_admits_back()) ? 0 : takes;
}

int shadow_topup(struct mmu_vcpu *v)
{
	make_room(v->vm, short_of(v));
	while (v->cache_count < MMU_CACHE_MAX) {
		void *page = frame_alloc_page(FRAME_ZERO | FRAME_FOR(TABLES));

		if (!page)
			return ERR_NOMEM;
		v->cache[v->cache_count++] = page;
	}
	while (v->shadow.spare_count < SHADOW_SPARES) {
		struct shadow_page *sp = kmalloc(sizeof(*sp));

		if (!sp)
			return ERR_NOMEM;
		v->shadow.spare[v->shadow.spare_count++] = sp;
	}
	return rmap_cache_fill(&v->rmaps);
}
