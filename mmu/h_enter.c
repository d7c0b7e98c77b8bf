/* SPDX-License-Identifier: MIT */
/*
 * Linking a page, after KVM on PowerPC's H_ENTER: the real-mode half, which neither sleeps nor
 * allocates and leaves what is too hard to mmu_fault_slow (fault.c). No lock is taken but
 * the lock bit of the gfn's rmap word, so vCPUs link beside each other.
 *
 *	fault                                   reclaim (mem/gmem.h)
 *	sample the object's sequence (R08)      begin: count up
 *	look the page up                        claim the page
 *	lock the gfn's rmap word                for each gfn that shows it:
 *	  count 0, sequence as sampled?           lock the rmap word
 *	  link, add to the chain                  drop, flush, take from the chain
 *	unlock                                    unlock
 *	                                        end: sequence up, count down
 *
 * Either the fault has the lock first, and reclaim finds what it linked; or reclaim had it, and the
 * fault sees the count or a new sequence.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/mmu_private.h"

/* What is linked, and where. */
struct link {
	const struct memslot *slot;
	gfn_t gfn;
	u32 level;
	u64 *word;
	u64 index; /* in the object */
	u64 seq;   /* sampled before the page was looked up */
	pfn_t pfn;
	u32 wanted; /* by the guest; 0: nothing, this is a neighbour of what it wanted */
	u32 access; /* what the page may be used for */
	u64 *entry; /* in the tables, once it has been reached */
};

/*
 * What the rmap word and the dirty log leave of the access (word locked). A page of a slot that is
 * logged is either in the log or may not be written (R21), or the CPU logs it (PML).
 */
static inline int allowed(struct mmu_vcpu *v, const struct link *l, u32 *access)
{
	bool writes = l->wanted & MMU_WRITE;

	*access = l->access | (l->wanted ? PAGE_TABLE_ACCESSED : 0);
	if (__atomic_load_n(l->word, __ATOMIC_RELAXED) & RMAP_PROTECTED) {
		if (writes)
			return ERR_PERM;
		*access &= ~(u32)MMU_WRITE;
	}
	if (l->slot->flags & MEMSLOT_LOG_DIRTY) {
		if (writes)
			mmu_dirty_note(v->vm, l->slot, l->gfn);
		else if (!mmu_uses_pml(v->vm))
			*access &= ~(u32)MMU_WRITE;
	}
	if (writes && mmu_hw.ept_ad)
		*access |= PAGE_TABLE_DIRTY;
	return 0;
}

static u64 link_pages(const struct mmu_vm *vm, const struct link *l)
{
	return l->level == small_level(vm) ? 1 : LARGE_PAGES;
}

static int make_leaf(struct mmu_vcpu *v, const struct link *l, u32 access)
{
	const struct page_table_level *level = &v->vm->format->level[l->level];
	u64 nothing = 0;
	int err;

	/* First in the chain: taking it from there needs no memory, if the entry cannot be had. */
	err = rmap_add(l->word, l->entry, &v->rmaps);
	if (err)
		return err;
	if (!page_table_change(l->entry, &nothing, level->make_leaf(pfn_to_hpa(l->pfn), access))) {
		rmap_remove(l->word, l->entry);
		return ERR_AGAIN; /* its table is being taken out, or has come */
	}
	mmu_count_own(&v->stats.mapped, link_pages(v->vm, l));
	if (l->level != small_level(v->vm))
		mmu_count_own(&v->stats.mapped_large, 1);
	return 0;
}

/* The page is there, but perhaps not with all rights: who holds the old entry faults once more. */
static int widen_leaf(struct mmu_vcpu *v, const struct link *l, u64 e, u32 access)
{
	const struct page_table_level *level = &v->vm->format->level[l->level];

	do {
		if (!level->present(e))
			return ERR_AGAIN; /* frozen, its table being taken out (R32); or gone meanwhile */
		if (!level->leaf(e))
			return ERR_EXIST;
		/* Another page would have been taken away under this lock before. */
		BUG_ON(level->address(e).v != pfn_to_hpa(l->pfn).v);
		if ((level->access(e) & access) == access) {
			mmu_count_own(&v->stats.faults_spurious, 1);
			return 0;
		}
	} while (
		!page_table_change(l->entry, &e, level->with_access(e, level->access(e) | access)));
	return 0;
}

/* The word is locked. ERR_EXIST: a large page was to be linked, and smaller ones are there. */
static int link_locked(struct mmu_vcpu *v, const struct link *l)
{
	u32 access;
	u64 e;
	int err;

	if (!gmem_seq_unchanged(l->slot->object, l->index, l->seq))
		return ERR_AGAIN;
	/* What makes a region small counts first, and looks under this lock second. */
	if (l->level != small_level(v->vm) && !memslot_may_be_large(l->slot, l->gfn))
		return ERR_EXIST;
	err = allowed(v, l, &access);
	if (err)
		return err;
	e = page_table_read(l->entry);
	return e ? widen_leaf(v, l, e, access) : make_leaf(v, l, access);
}

static inline int reach(struct mmu_vcpu *v, struct link *l)
{
	struct page_table_cache cache = {v->cache, &v->cache_count};
	u32 tables = 0;
	int err;

	err = page_table_reach(v->vm->format, v->vm->root, gfn_to_gpa(l->gfn).v, l->level, &cache,
			       &l->entry, &tables);
	if (tables)
		mmu_count_own(&v->stats.tables, tables);
	return err;
}

static int link_reached(struct mmu_vcpu *v, const struct link *l)
{
	int err;

	rmap_lock(l->word);
	err = link_locked(v, l);
	rmap_unlock(l->word);
	return err;
}

static int link(struct mmu_vcpu *v, struct link *l)
{
	int err = reach(v, l);

	return err ? err : link_reached(v, l);
}

/*
 * Another vCPU may have been here first: then all is done, and the 512 pages need no look. ERR_EXIST:
 * it is not mapped large, or not with all that it may be.
 */
static int __noinline is_there(struct mmu_vcpu *v, const struct link *l)
{
	const struct page_table_level *level = &v->vm->format->level[l->level];
	int err = ERR_EXIST;
	u32 access;
	u64 e;

	rmap_lock(l->word);
	e = page_table_read(l->entry);
	if (level->present(e) && level->leaf(e))
		err = allowed(v, l, &access);
	if (!err && (level->access(e) & access) != access)
		err = ERR_EXIST;
	rmap_unlock(l->word);
	if (!err)
		mmu_count_own(&v->stats.faults_spurious, 1);
	return err;
}

/* ERR_EXIST: not as a large page. */
static int enter_large(struct mmu_vcpu *v, struct link *l)
{
	const struct page_table_level *level = &v->vm->format->level[large_level(v->vm)];
	int err;
	u64 e;

	if (!gmem_looks_large(l->slot->object, l->index) || !mmu_hw.ept_2m ||
	    !memslot_may_be_large(l->slot, l->gfn))
		return ERR_EXIST;
	/* What is executed is mapped by 4 KiB, and takes a large mapping that is there away. */
	if (mmu_hw.large_nx && (l->wanted & MMU_EXEC))
		return ERR_EXIST;
	l->level = large_level(v->vm);
	l->gfn = region_base(l->gfn);
	l->word = rmap_large_word(l->slot, l->gfn);
	l->access = MMU_READ | (mmu_hw.large_nx ? 0 : MMU_EXEC) |
		    (l->slot->flags & MEMSLOT_READONLY ? 0 : MMU_WRITE);
	err = reach(v, l);
	if (err)
		return err;
	e = page_table_read(l->entry);
	if (level->present(e)) {
		err = level->leaf(e) ? is_there(v, l) : ERR_EXIST;
		if (err != ERR_EXIST || !level->leaf(e))
			return err;
	}
	return gmem_large(l->slot->object, l->index, &l->pfn) ? link_reached(v, l) : ERR_EXIST;
}

/* A page that reclaim would try in vain again once it may have been written waits for the write. */
static bool map_writable(const struct link *l)
{
	if (l->slot->flags & MEMSLOT_READONLY)
		return false;
	return (l->wanted & MMU_WRITE) || !gmem_is_hard(l->slot->object, l->index);
}

/*
 * The page and the access to map it with. A page that may be written is mapped so at once, mostly,
 * whatever the guest wanted of it first: the write that often follows then costs no second fault.
 */
static int look_up(struct link *l)
{
	struct gmem *g = l->slot->object;

	l->access = MMU_READ | MMU_EXEC;
	if (map_writable(l) && gmem_lookup(g, l->index, true, &l->pfn) == 0) {
		l->access |= MMU_WRITE;
		return 0;
	}
	if (l->wanted & MMU_WRITE)
		return ERR_TOO_HARD;
	return gmem_lookup(g, l->index, false, &l->pfn);
}

static int enter_small(struct mmu_vcpu *v, struct link *l)
{
	int err;

	l->level = small_level(v->vm);
	l->word = rmap_word(l->slot, l->gfn);
	if (!l->word)
		return ERR_TOO_HARD;
	err = look_up(l);
	if (!err)
		err = link(v, l);
	if (err != ERR_EXIST)
		return err;
	/* A large mapping that has not what is wanted is in the way: else it would be for ever (R07). */
	mmu_drop_large(v->vm, l->slot, l->gfn);
	err = link(v, l);
	return err == ERR_EXIST ? ERR_AGAIN : err; /* another vCPU has put one there again */
}

/* --- Fault-around --- */

/*
 * A neighbour that is not mapped, l->entry being its place in the table. Its dirty bit says whether
 * it has been writable.
 */
static void enter_neighbour(struct mmu_vcpu *v, struct link *l)
{
	struct gmem *g = l->slot->object;
	u64 e;

	l->index = memslot_index(l->slot, l->gfn);
	l->seq = gmem_seq_sample(g, l->index);
	e = gmem_entry(g, l->index);
	if (gmem_entry_state(e) != GMEM_GOT_PAGE && gmem_entry_state(e) != GMEM_SHARED)
		return;
	l->word = rmap_word(l->slot, l->gfn);
	l->access = MMU_READ | MMU_EXEC;
	if ((e & GMEM_DIRTY) && gmem_entry_state(e) == GMEM_GOT_PAGE &&
	    !(l->slot->flags & MEMSLOT_READONLY))
		l->access |= MMU_WRITE;
	/* Of an entry that stands for 2 MiB the lookup knows which frame is meant. */
	if (!l->word || gmem_lookup(g, l->index, false, &l->pfn) || !rmap_trylock(l->word))
		return;
	if (!page_table_read(l->entry) && link_locked(v, l) == 0)
		mmu_count_own(&v->stats.mapped_around, 1);
	rmap_unlock_tried(l->word);
}

/*
 * Maps what lies around gfn in the same table, `entry` being gfn's: a guest that was unmapped, or
 * another that shows the same pages, gets on without a fault for each. Nothing here is a failure.
 */
static void enter_around(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn, u64 *entry)
{
	u64 around = v->vm->fault_around;
	u64 first = max(align_down(gfn.v, around), s->base.v);
	u64 end = min(align_down(gfn.v, around) + around, s->base.v + s->pages);
	struct link l = {.slot = s, .level = small_level(v->vm)};

	for (u64 n = first; n < end; n++) {
		l.entry = entry + (s64)(n - gfn.v);
		l.gfn = GFN(n);
		if (!page_table_read(l.entry))
			enter_neighbour(v, &l);
	}
}

static int enter(struct mmu_vcpu *v, struct link *l, gfn_t gfn, u32 try)
{
	int err = try & H_ENTER_LARGE ? enter_large(v, l) : ERR_EXIST;

	if (err != ERR_EXIST)
		return err;
	l->gfn = gfn;
	err = enter_small(v, l);
	if (!err && (try & H_ENTER_AROUND) && v->vm->fault_around > 1)
		enter_around(v, l->slot, gfn, l->entry);
	return err;
}

/* Apart from h_enter so that it has nothing to save and restore where the page is not there. */
static int __noinline enter_at(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn, u64 seq,
			       u32 access, u32 try)
{
	struct link l = {
		.slot = s,
		.gfn = gfn,
		.index = memslot_index(s, gfn),
		.seq = seq,
		.wanted = access,
	};
	int err;

	/* The tables on the way stay (R32). */
	rcu_read_lock();
	err = enter(v, &l, gfn, try);
	rcu_read_unlock();
	return err;
}

int h_enter(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn, u32 access, u32 try)
{
	u64 index = memslot_index(s, gfn), seq = gmem_seq_sample(s->object, index);

	/* What is under way may take long: wait for it, in thread context. And a first touch is slow. */
	if (!gmem_seq_idle(seq) || (!(try & H_ENTER_GOT) && gmem_is_absent(s->object, index)))
		return ERR_TOO_HARD;
	return enter_at(v, s, gfn, seq, access, try);
}
