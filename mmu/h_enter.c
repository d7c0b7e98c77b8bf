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
#include "mem/tier.h"
#include "mmu/mmu_private.h"

/*
 * What is linked, and where. The way of each fault is counted in instructions: that of enter_at is handed
 * by address to none but functions that are inlined, so that the compiler may keep each member where it
 * likes. Others get a copy, or what they need of it.
 */
struct link {
	const struct memslot *slot;
	gfn_t gfn;
	u64 *word;
	u64 index; /* in the object */
	u64 seq;   /* sampled before the page was looked up */
	pfn_t pfn;
	u32 wanted; /* by the guest; 0: nothing, this is a neighbour of what it wanted */
	u32 access; /* what the page may be used for */
	u64 *entry; /* in the tables, once it has been reached */
};

static inline u32 level_of(const struct mmu_vm *vm, bool large)
{
	return large ? large_level(vm) : small_level(vm);
}

/*
 * What the rmap word and the dirty log leave of the access (word locked). A page of a slot that is
 * logged is either in the log or may not be written (R21), or the CPU logs it (PML).
 */
static __always_inline int allowed(struct mmu_vcpu *v, const struct link *l, u32 *access)
{
	bool writes = l->wanted & MMU_WRITE;

	*access = l->access | (l->wanted ? PAGE_TABLE_ACCESSED : 0);
	if (unlikely(__atomic_load_n(l->word, __ATOMIC_RELAXED) & RMAP_PROTECTED)) {
		if (writes)
			return ERR_PERM;
		*access &= ~(u32)MMU_WRITE;
	}
	if (unlikely(l->slot->flags & MEMSLOT_LOG_DIRTY)) {
		if (writes)
			mmu_dirty_note(v->vm, l->slot, l->gfn);
		else if (!mmu_uses_pml(v->vm))
			*access &= ~(u32)MMU_WRITE;
	}
	if (writes && mmu_hw.ept_ad)
		*access |= PAGE_TABLE_DIRTY;
	return 0;
}

static __always_inline int make_leaf(struct mmu_vcpu *v, const struct link *l, bool large,
				     u32 access)
{
	const struct page_table_level *level = &v->vm->format->level[level_of(v->vm, large)];
	u64 nothing = 0;
	int err;

	/* First in the chain: taking it from there needs no memory, if the entry cannot be had. */
	err = rmap_add(l->word, l->entry, &v->rmaps);
	if (unlikely(err))
		return err;
	if (unlikely(!page_table_change(l->entry, &nothing,
					level->make_leaf(pfn_to_hpa(l->pfn), access)))) {
		rmap_remove(l->word, l->entry);
		return ERR_AGAIN; /* its table is being taken out, or has come */
	}
	mmu_count_own(&v->stats.mapped, large ? LARGE_PAGES : 1);
	if (large)
		mmu_count_own(&v->stats.mapped_large, 1);
	return 0;
}

/* The page is there, but perhaps not with all rights: who holds the old entry faults once more. */
static int __noinline widen_leaf(struct mmu_vcpu *v, bool large, u64 *entry, u64 e, pfn_t pfn,
				 u32 access)
{
	const struct page_table_level *level = &v->vm->format->level[level_of(v->vm, large)];

	do {
		if (!level->present(e))
			return ERR_AGAIN; /* frozen, its table being taken out (R32); or gone meanwhile */
		if (!level->leaf(e))
			return ERR_EXIST;
		/* Another page would have been taken away under this lock before. */
		BUG_ON(level->address(e).v != pfn_to_hpa(pfn).v);
		if ((level->access(e) & access) == access) {
			mmu_count_own(&v->stats.faults_spurious, 1);
			return 0;
		}
	} while (!page_table_change(entry, &e, level->with_access(e, level->access(e) | access)));
	return 0;
}

/* The word is locked. ERR_EXIST: a large page was to be linked, and smaller ones are there. */
static __always_inline int link_locked(struct mmu_vcpu *v, const struct link *l, bool large)
{
	u32 access;
	u64 e;
	int err;

	if (unlikely(!gmem_seq_unchanged(l->slot->object, l->index, l->seq)))
		return ERR_AGAIN;
	/* What makes a region small counts first, and looks under this lock second. */
	if (large && !memslot_may_be_large(l->slot, l->gfn))
		return ERR_EXIST;
	err = allowed(v, l, &access);
	if (unlikely(err))
		return err;
	e = page_table_read(l->entry);
	if (unlikely(e))
		return widen_leaf(v, large, l->entry, e, l->pfn, access);
	return make_leaf(v, l, large, access);
}

static __always_inline int reach(struct mmu_vcpu *v, struct link *l, bool large)
{
	struct page_table_cache cache = {v->cache, &v->cache_count};
	u32 before = v->cache_count;
	u64 *entry;
	int err;

	err = page_table_reach(v->vm->format, v->vm->root, gfn_to_gpa(l->gfn).v,
			       level_of(v->vm, large), &cache, &entry);
	if (unlikely(v->cache_count != before))
		mmu_count_own(&v->stats.tables, before - v->cache_count);
	if (!err)
		l->entry = entry;
	return err;
}

static __always_inline int link_reached(struct mmu_vcpu *v, const struct link *l, bool large)
{
	int err;

	rmap_lock(l->word);
	err = link_locked(v, l, large);
	rmap_unlock(l->word);
	return err;
}

static __always_inline int link(struct mmu_vcpu *v, struct link *l, bool large)
{
	int err = reach(v, l, large);

	return err ? err : link_reached(v, l, large);
}

/*
 * Another vCPU may have been here first: then all is done, and the 512 pages need no look. ERR_EXIST:
 * it is not mapped large, or not with all that it may be.
 */
static int __noinline is_there(struct mmu_vcpu *v, const struct link *l)
{
	const struct page_table_level *level = &v->vm->format->level[large_level(v->vm)];
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

/* What looks large, with the fault's index and sample. ERR_EXIST: not as a large page. */
static int __noinline enter_large(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn, u64 index,
				  u64 seq, u32 access)
{
	const struct page_table_level *level = &v->vm->format->level[large_level(v->vm)];
	struct link l = {
		.slot = s,
		.gfn = region_base(gfn),
		.word = rmap_large_word(s, gfn),
		.index = index,
		.seq = seq,
		.wanted = access,
	};
	int err;
	u64 e;

	if (!mmu_hw.ept_2m || !memslot_may_be_large(s, gfn))
		return ERR_EXIST;
	/* What is executed is mapped by 4 KiB, and takes a large mapping that is there away. */
	if (mmu_hw.large_nx && (access & MMU_EXEC))
		return ERR_EXIST;
	l.access = MMU_READ | (mmu_hw.large_nx ? 0 : MMU_EXEC) |
		   (s->flags & MEMSLOT_READONLY ? 0 : MMU_WRITE);
	err = reach(v, &l, true);
	if (err)
		return err;
	e = page_table_read(l.entry);
	if (level->present(e)) {
		err = level->leaf(e) ? is_there(v, &l) : ERR_EXIST;
		if (err != ERR_EXIST || !level->leaf(e))
			return err;
	}
	return gmem_large(s->object, index, &l.pfn) ? link_reached(v, &l, true) : ERR_EXIST;
}

/* Who writes may be about to overwrite all of it, and then need not have it brought back. */
static int __noinline not_there(const struct gmem *g, u64 index, u32 wanted)
{
	return wanted == MMU_WRITE && tier_has(gmem_entry(g, index)) ? ERR_STORED : ERR_TOO_HARD;
}

/*
 * The page and the access to map it with. A page that may be written is mapped so at once, mostly,
 * whatever the guest wanted of it first: the write that often follows then costs no second fault.
 */
static __always_inline int look_up(struct link *l)
{
	bool may_write = !(l->slot->flags & MEMSLOT_READONLY);
	pfn_t pfn;
	int found;

	found = gmem_lookup_to_map(l->slot->object, l->index, l->wanted & MMU_WRITE, may_write,
				   &pfn);
	if (unlikely(found < 0))
		return not_there(l->slot->object, l->index, l->wanted);
	l->access = MMU_READ | MMU_EXEC | (found ? MMU_WRITE : 0);
	l->pfn = pfn;
	return 0;
}

/* A large mapping that has not what is wanted is in the way: else it would be for ever (R07). */
static int __noinline make_way_and_link(struct mmu_vcpu *v, struct link *l)
{
	int err;

	mmu_drop_large(v->vm, l->slot, l->gfn);
	err = link(v, l, false);
	return err == ERR_EXIST ? ERR_AGAIN : err; /* another vCPU has put one there again */
}

static __always_inline int enter_small(struct mmu_vcpu *v, struct link *l)
{
	struct link again;
	int err;

	l->word = rmap_word(l->slot, l->gfn);
	if (unlikely(!l->word))
		return ERR_TOO_HARD;
	err = look_up(l);
	if (!err)
		err = link(v, l, false);
	if (likely(err != ERR_EXIST))
		return err;
	again = *l;
	err = make_way_and_link(v, &again);
	l->entry = again.entry;
	return err;
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
	if (!page_table_read(l->entry) && link_locked(v, l, false) == 0)
		mmu_count_own(&v->stats.mapped_around, 1);
	rmap_unlock_tried(l->word);
}

static void __noinline enter_neighbours(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn,
					u64 *entry)
{
	u64 around = v->vm->fault_around;
	u64 first = max(align_down(gfn.v, around), s->base.v);
	u64 end = min(align_down(gfn.v, around) + around, s->base.v + s->pages);
	struct link l = {.slot = s};

	for (u64 n = first; n < end; n++) {
		l.entry = entry + (s64)(n - gfn.v);
		l.gfn = GFN(n);
		if (!page_table_read(l.entry))
			enter_neighbour(v, &l);
	}
}

/*
 * Maps what lies around gfn in the same table, `entry` being gfn's: a guest that was unmapped, or
 * another that shows the same pages, gets on without a fault for each. Nothing here is a failure.
 * Where all is mapped already, the slot's or not, that is seen first, two by two: the number is a
 * power of two; of any other the last would be passed over rather than read beyond.
 */
static __always_inline void enter_around(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn,
					 u64 *entry)
{
	u64 size = v->vm->fault_around * sizeof(*entry);
	const u64 *at = (const u64 *)align_down((u64)entry, size);
	const u64 *last = at + size / sizeof(*at) - 1;

	for (; at < last; at += 2) {
		if (unlikely(!page_table_read(at)) || unlikely(!page_table_read(at + 1))) {
			enter_neighbours(v, s, gfn, entry);
			return;
		}
	}
}

static __always_inline int enter(struct mmu_vcpu *v, struct link *l, u32 try)
{
	int err = ERR_EXIST;

	if ((try & H_ENTER_LARGE) && unlikely(gmem_looks_large(l->slot->object, l->index)))
		err = enter_large(v, l->slot, l->gfn, l->index, l->seq, l->wanted);
	if (err != ERR_EXIST)
		return err;
	err = enter_small(v, l);
	if (!err && (try & H_ENTER_AROUND) && v->vm->fault_around > 1)
		enter_around(v, l->slot, l->gfn, l->entry);
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
	err = enter(v, &l, try);
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
