/* SPDX-License-Identifier: MIT */
/*
 * Between one mapping of 2 MiB and 512 of 4 KiB, and taking out tables that hold nothing.
 *
 * Splitting makes the table first, whole and unseen, with the reverse maps of its sptes, and then
 * puts it in the place of the large entry by compare-and-exchange: the CPU may set A and D in that
 * until then. All of it under the lock bit of the large word. Who means to change single pages looks
 * at the large word first, and has seen to it before that no large mapping is made after: by the
 * object's sequence, the count of small pages, the slot's flags or its being INVALID. Only
 * mmu_unmap promises nothing of what comes later; it may clear entries of a table that is not yet
 * seen, and they stay so.
 */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mmu/shadow_private.h"

/* So many bytes of addresses have their tables looked at before mmu_lock gets a pause. */
#define PRUNE_STEP MIB(16)

/* So many tables may wait to be freed before regions stay as they are, in 4 KiB pages. */
#define TABLES_WAITING_MAX 256

static void fill_table(struct mmu_vm *vm, u64 *table, u64 large)
{
	const struct page_table_level *l = &vm->format->level[large_level(vm)];
	const struct page_table_level *s = &vm->format->level[small_level(vm)];
	/* What large pages lack because they are large small ones need not. */
	u32 access = l->access(large) | (mmu_hw.large_nx ? MMU_EXEC : 0);
	hpa_t page = l->address(large);

	for (u32 i = 0; i < LARGE_PAGES; i++)
		table[i] = s->make_leaf(HPA(page.v + i * PAGE_SIZE), access);
}

/* The CPU has used the large page meanwhile. Entries that a sweep has cleared stay so. */
static void add_marks(const struct page_table_level *l, u64 *table, u32 marks)
{
	for (u32 i = 0; i < LARGE_PAGES; i++) {
		u64 e = page_table_read(&table[i]);

		while (l->present(e) &&
		       !page_table_change(&table[i], &e, l->with_access(e, l->access(e) | marks)))
			;
	}
}

/* A large mapping was alone: no spte of 4 KiB is left in the words but one that is on its way out. */
static void add_words(const struct memslot *s, gfn_t gfn, u64 *table)
{
	for (u32 i = 0; i < LARGE_PAGES; i++) {
		u64 *word = rmap_word(s, GFN(gfn.v + i));

		while (!rmap_trylock(word))
			cpu_relax();
		BUG_ON(rmap_add(word, &table[i], NULL));
		rmap_unlock_tried(word);
	}
}

/* The large word is locked. false: nothing is mapped large. */
static bool split_locked(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 *word,
			 u64 *table)
{
	const struct page_table_level *large = &vm->format->level[large_level(vm)];
	u64 *spte = rmap_spte(word, 0);
	u64 e;

	if (!spte)
		return false;
	e = page_table_read(spte);
	fill_table(vm, table, e);
	add_words(s, gfn, table);
	while (!page_table_change(spte, &e, large->make_table(virt_to_phys(table))))
		add_marks(&vm->format->level[small_level(vm)], table,
			  large->access(e) & (PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY));
	rmap_remove(word, spte);
	mmu_flush(vm);
	mmu_count(&vm->stats.tables, 1);
	mmu_count(&vm->stats.split, 1);
	mmu_count(&vm->stats.unmapped_large, 1);
	return true;
}

static int prepare_words(const struct memslot *s, gfn_t gfn)
{
	int err = rmap_prepare(s, gfn);

	/* Two chunks where the slot does not begin at a region. */
	return err ? err : rmap_prepare(s, GFN(gfn.v + LARGE_PAGES - 1));
}

bool mmu_split(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn)
{
	gfn_t base = region_base(gfn);
	u64 *word = rmap_large_word(s, gfn), *table;
	bool done, on;

	/* The word may be in use for an audit, and the region still be one that is never large. */
	if (!memslot_has_region(s, gfn))
		return false;
	if (vm->shadow) {
		/* What is no longer in the word is flushed before this lock is let go of. */
		spin_lock(&vm->mmu_lock);
		done = shadow_split(vm, s, gfn);
		spin_unlock(&vm->mmu_lock);
		return done;
	}
	if (!rmap_in_use(word, 0))
		return false;
	table = frame_alloc_page(FRAME_FOR(TABLES));
	if (!table || prepare_words(s, base)) {
		/* Then the guest maps its pages again one by one. */
		done = mmu_drop_large(vm, s, base);
		if (table)
			frame_free_page(table);
		return done;
	}
	on = irq_save();
	rmap_lock(word);
	done = split_locked(vm, s, base, word, table);
	rmap_unlock(word);
	irq_restore(on);
	if (!done)
		frame_free_page(table);
	return false;
}

/* Tables that wait for their grace period, of all VMs: atomic. */
static u32 tables_waiting;

static void free_table(struct rcu_head *head)
{
	__atomic_fetch_sub(&tables_waiting, 1, __ATOMIC_RELAXED);
	frame_free(frame_pfn(container_of(head, struct frame, rcu)), 0);
}

static u32 prune_step(struct mmu_vm *vm, u64 addr, u64 end)
{
	struct list tables = LIST_INIT(tables);
	struct frame *f, *next;
	bool on = spin_lock_irqsave(&vm->mmu_lock);
	u32 n = page_table_prune(vm->format, vm->root, addr, end, &tables);

	/* The CPUs cache ways to tables, too. */
	if (n)
		mmu_flush(vm);
	spin_unlock_irqrestore(&vm->mmu_lock, on);
	mmu_count(&vm->stats.tables, -(u64)n);
	list_for_each_entry_safe (f, next, &tables, link) {
		list_del(&f->link);
		__atomic_fetch_add(&tables_waiting, 1, __ATOMIC_RELAXED);
		rcu_call(&f->rcu, free_table);
	}
	return n;
}

void mmu_prune(struct mmu_vm *vm, const struct memslot *s)
{
	u64 addr = gfn_to_gpa(s->base).v, end = addr + (s->pages << PAGE_SHIFT);

	if (vm->shadow) {
		shadow_zap_slot(vm, s);
		return;
	}
	while (addr < end) {
		u64 stop = min(end, align_down(addr, PRUNE_STEP) + PRUNE_STEP);

		prune_step(vm, addr, stop);
		addr = stop;
	}
}

/* The region has a table of its own. */
static bool has_table(struct mmu_vm *vm, gfn_t gfn)
{
	bool on = irq_save();
	u32 level;
	u64 e;

	rcu_read_lock();
	(void)page_table_find(vm->format, vm->root, gfn_to_gpa(gfn).v, &level, &e);
	rcu_read_unlock();
	irq_restore(on);
	return level == small_level(vm);
}

bool mmu_collapse(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn)
{
	gfn_t base = region_base(gfn);
	u64 index = memslot_index(s, base);
	pfn_t pfn;

	if (!gmem_looks_large(s->object, memslot_index(s, gfn)) || !memslot_may_be_large(s, gfn) ||
	    (!vm->shadow && !mmu_hw.ept_2m))
		return false;
	/* Who maps it large looks at its pages all the same. */
	if (!vm->shadow && !has_table(vm, gfn))
		return true;
	/* Something there has been executed, perhaps, and soon would be again. */
	if (mmu_hw.large_nx)
		return false;
	if (!gmem_large(s->object, index, &pfn))
		return false;
	if (vm->shadow)
		return shadow_collapse(vm, s, base);
	/* A guest can make it come to this as often as it likes, faster than tables are freed. */
	if (__atomic_load_n(&tables_waiting, __ATOMIC_RELAXED) > TABLES_WAITING_MAX)
		return false;
	/* Nobody links small pages again before the table is out. */
	gmem_invalidate_begin(s->object, index, LARGE_PAGES);
	mmu_sweep(vm, s, base, LARGE_PAGES, SWEEP_UNMAP);
	if (prune_step(vm, gfn_to_gpa(base).v, gfn_to_gpa(base).v + MIB(2)))
		mmu_count(&vm->stats.collapsed, 1);
	gmem_invalidate_end(s->object, index, LARGE_PAGES);
	return true;
}
