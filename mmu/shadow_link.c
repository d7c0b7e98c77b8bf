/* SPDX-License-Identifier: MIT */
/*
 * The leaves of shadow tables: what guest and host allow together, and linking it, where a fault
 * asks for it and ahead of one.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

u32 shadow_access_of(union shadow_role role, u64 e, bool maps_page)
{
	u32 access = SHADOW_ALL;

	if (!(e & GUEST_W) || (maps_page && !(e & GUEST_DIRTY)))
		access &= ~SHADOW_WRITE;
	if (!(e & GUEST_U))
		access &= ~SHADOW_USER;
	if (role.nx && (e & GUEST_XD))
		access &= ~SHADOW_EXEC;
	return access;
}

/*
 * With CR0.WP clear the guest's supervisor writes where its entries do not allow it. The CPU always
 * has WP set: such a page is the supervisor's alone then, and a user's access changes that back.
 */
static int supervisor_write(const struct shadow_page *sp, u64 *spte)
{
	*spte |= SPTE_W;
	if (!(*spte & SPTE_U))
		return 0;
	/* The CPU would not keep the supervisor from reading what is the user's. */
	if (sp->role.smap)
		return SHADOW_EMULATE;
	*spte &= ~SPTE_U;
	if (sp->role.smep)
		*spte |= SPTE_NX;
	return 0;
}

/* The word is locked. What host and guest allow together, in *out. */
static int make_spte(struct mmu_vm *vm, const struct shadow_leaf *l, const struct shadow_page *sp,
		     const u64 *word, u64 *out)
{
	u64 flags = __atomic_load_n(word, __ATOMIC_RELAXED), spte;
	bool may_write = l->may_write;

	if (flags & RMAP_PROTECTED) {
		if (l->write)
			return ERR_PERM;
		may_write = false;
	}
	if ((flags & (RMAP_TABLE | RMAP_UNSYNC)) == RMAP_TABLE) {
		if (l->write)
			return SHADOW_EMULATE;
		may_write = false;
	}
	if (l->slot->flags & MEMSLOT_LOG_DIRTY) {
		if (l->write)
			mmu_dirty_note(vm, l->slot, l->gfn);
		else
			may_write = false;
	}
	spte = pfn_to_hpa(l->pfn).v | SPTE_P;
	spte |= l->ahead ? 0 : SPTE_ACCESSED;
	spte |= l->large ? SPTE_PAGE : 0;
	if (l->access & SHADOW_USER)
		spte |= SPTE_U;
	if (!(l->access & SHADOW_EXEC) || (l->large && mmu_hw.large_nx))
		spte |= SPTE_NX;
	*out = spte;
	if (l->access & SHADOW_WRITE)
		*out |= may_write ? SPTE_W : 0;
	else if (l->write)
		return supervisor_write(sp, out);
	return 0;
}

/* Rights that the one has and the other has not. */
static bool loses(u64 old, u64 new)
{
	return (old & ~new &(SPTE_W | SPTE_U)) || (new & ~old &SPTE_NX);
}

static int link_locked(struct mmu_vcpu *v, struct shadow_leaf *l, struct shadow_page *sp, u32 i,
		       u64 *word, struct shadow_gone *gone)
{
	u64 *spte = &sp->table[i], old, new;
	int err;

	if (!gmem_seq_unchanged(l->slot->object, l->index, l->seq))
		return ERR_AGAIN;
	/* What protects a page counts first, and looks whether this lock is taken second. */
	if (l->large && !memslot_may_be_large(l->slot, l->gfn))
		return ERR_EXIST;
	err = make_spte(v->vm, l, sp, word, &new);
	if (err)
		return err;
	old = page_table_read(spte);
	if (!old) {
		gone->flush |= shadow_thin_leaves(word, v->stats.faults);
		/* First in the chain (R22). */
		err = rmap_add(word, spte, &v->rmaps);
		if (err)
			return err;
		sp->words[i] = word;
		__atomic_store_n(spte, new, __ATOMIC_SEQ_CST);
		mmu_count_own(&v->stats.mapped, l->large ? LARGE_PAGES : 1);
		mmu_count_own(&v->stats.mapped_large, l->large);
		return 0;
	}
	/* Another page would have been taken away under this lock before. */
	BUG_ON((old ^ new) & SPTE_ADDRESS);
	if (!loses(new, old) && !(sp->unsync && loses(old, new))) {
		mmu_count_own(&v->stats.faults_spurious, 1);
		l->refused = true;
		return 0;
	}
	/* The CPU may set A and D meanwhile: of neither anything depends that is not set here. */
	(void)__atomic_exchange_n(spte, new, __ATOMIC_SEQ_CST);
	if (loses(old, new))
		mmu_flush(v->vm);
	return 0;
}

int shadow_link(struct mmu_vcpu *v, struct shadow_leaf *l, struct shadow_page *sp, u32 i,
		struct shadow_gone *gone)
{
	u64 *word = l->large ? rmap_large_word(l->slot, l->gfn) : rmap_word(l->slot, l->gfn);
	int err;

	if (!word)
		return ERR_TOO_HARD;
	/* What was there has another gfn. */
	if (sp->words[i] && sp->words[i] != word)
		gone->flush |= shadow_zap_entry(sp, i);
	rmap_lock(word);
	err = link_locked(v, l, sp, i, word, gone);
	rmap_unlock(word);
	return err;
}

/* --- Ahead of a fault --- */

/* With paging off, or below a large page of the guest's: an entry that would give what the page's key does. */
static u64 entry_of_direct(const struct shadow_page *sp, u32 i)
{
	return (sp->gfn.v + i) << PAGE_SHIFT | GUEST_P | GUEST_ACCESSED;
}

bool shadow_read_entries(struct mmu_vm *vm, const struct shadow_page *sp, u32 i, u32 count, u64 *e)
{
	u64 generation, index, seq;
	const struct memslot *s;
	const void *table;
	pfn_t pfn;

	if (memslot_look_up(vm, sp->gfn, false, &s, &generation))
		return false;
	index = memslot_index(s, sp->gfn);
	seq = gmem_seq_sample(s->object, index);
	if (gmem_lookup(s->object, index, false, &pfn))
		return false;
	table = pfn_to_virt(pfn);
	for (u32 n = 0; n < count; n++) {
		if (sp->role.entry_4)
			e[n] = __atomic_load_n((const u32 *)table +
						       sp->role.quadrant * SPTE_ENTRIES + i + n,
					       __ATOMIC_ACQUIRE);
		else
			e[n] = __atomic_load_n((const u64 *)table + i + n, __ATOMIC_ACQUIRE);
	}
	return gmem_seq_unchanged(s->object, index, seq);
}

u64 shadow_reserved(const struct shadow *sh, union shadow_role role)
{
	u64 bits;

	if (role.entry_4)
		return 0;
	bits = BIT(role.long_mode ? 52 : 63) -
	       BIT(__atomic_load_n(&sh->maxphyaddr, __ATOMIC_RELAXED));
	return role.nx ? bits : bits | GUEST_XD;
}

/* Most lie where the one before did. */
bool shadow_find_slot(struct mmu_vm *vm, struct shadow_leaf *l)
{
	u64 generation;

	if (l->slot && l->gfn.v - l->slot->base.v < l->slot->pages)
		return true;
	if (memslot_look_up(vm, l->gfn, false, &l->slot, &generation) == 0)
		return true;
	l->slot = NULL;
	return false;
}

/* It is resident, and was writable before if it is to be so now. */
static bool look_up_ahead(struct mmu_vm *vm, struct shadow_leaf *l)
{
	struct gmem *g;
	u64 e;

	if (!shadow_find_slot(vm, l))
		return false;
	g = l->slot->object;
	l->index = memslot_index(l->slot, l->gfn);
	l->seq = gmem_seq_sample(g, l->index);
	e = gmem_entry(g, l->index);
	if (gmem_entry_state(e) != GMEM_GOT_PAGE && gmem_entry_state(e) != GMEM_SHARED)
		return false;
	l->may_write = (e & GMEM_DIRTY) && gmem_entry_state(e) == GMEM_GOT_PAGE &&
		       !(l->slot->flags & MEMSLOT_READONLY);
	l->pfn = gmem_entry_pfn(e);
	/* Of an entry that stands for 2 MiB the lookup knows which frame is meant. */
	return !g->order || gmem_lookup(g, l->index, false, &l->pfn) == 0;
}

/* The word is locked. */
static bool link_ahead_locked(struct mmu_vm *vm, struct rmap_cache *rmaps,
			      const struct shadow_leaf *l, struct shadow_page *sp, u32 i, u64 *word)
{
	u64 new;

	if (!gmem_seq_unchanged(l->slot->object, l->index, l->seq) || rmap_is_full(word) ||
	    make_spte(vm, l, sp, word, &new) || rmap_add(word, &sp->table[i], rmaps))
		return false;
	sp->words[i] = word;
	__atomic_store_n(&sp->table[i], new, __ATOMIC_SEQ_CST);
	return true;
}

bool shadow_links_ahead(const struct shadow_page *sp, u64 e, u64 reserved)
{
	return sp->role.direct ||
	       ((e & (GUEST_P | GUEST_ACCESSED)) == (GUEST_P | GUEST_ACCESSED) && !(e & reserved));
}

bool shadow_link_entry(struct mmu_vm *vm, struct rmap_cache *rmaps, struct shadow_leaf *l,
		       struct shadow_page *sp, u32 i, u64 e)
{
	bool linked;
	u64 *word;

	l->access = sp->role.access;
	if (!sp->role.direct)
		l->access &= shadow_access_of(sp->role, e, true);
	l->gfn = GFN((e & SPTE_ADDRESS) >> PAGE_SHIFT);
	if (!look_up_ahead(vm, l))
		return false;
	word = rmap_word(l->slot, l->gfn);
	if (!word || !rmap_trylock(word))
		return false;
	linked = link_ahead_locked(vm, rmaps, l, sp, i, word);
	rmap_unlock_tried(word);
	return linked;
}

void shadow_link_ahead(struct mmu_vm *vm, struct rmap_cache *rmaps, struct shadow_page *sp, u32 i,
		       u32 count)
{
	u64 e[SHADOW_AROUND_MAX], reserved = shadow_reserved(vm->shadow, sp->role), linked = 0;
	struct shadow_leaf l = {.ahead = true};

	if (!sp->role.direct && !shadow_read_entries(vm, sp, i, count, e))
		return;
	for (u32 n = 0; n < count; n++) {
		if (page_table_read(&sp->table[i + n]))
			continue;
		if (sp->role.direct)
			e[n] = entry_of_direct(sp, i + n);
		if (shadow_links_ahead(sp, e[n], reserved))
			linked += shadow_link_entry(vm, rmaps, &l, sp, i + n, e[n]);
	}
	if (!linked)
		return;
	mmu_count(&vm->stats.mapped, linked);
	mmu_count(&vm->stats.mapped_around, linked);
}
