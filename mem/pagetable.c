/* SPDX-License-Identifier: MIT */
#include "mem/pagetable.h"
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"

/* What lies above a leaf allows everything; the leaf decides. Preset: Weir does not look at A. */
#define TABLE_FLAGS (PTE_PRESENT | PTE_WRITE | PTE_ACCESSED)
#define LEAF_FLAGS  (PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY)

static u64 *table_at(u64 entry)
{
	return phys_to_virt(HPA(entry & PTE_ADDR_MASK));
}

static u64 *entry_of(u64 *table, u64 va, u32 level)
{
	return &table[(va >> (PAGE_SHIFT + 9 * (level - 1))) % PT_ENTRIES];
}

static bool is_leaf(u64 entry, u32 level)
{
	return level == 1 || (entry & PTE_LARGE);
}

int pagetable_init(struct pagetable *pt, u32 max_leaf_level)
{
	pfn_t pfn;
	int err = frame_alloc(0, FRAME_ZERO | FRAME_FOR(OWN_TABLES), &pfn);

	if (err)
		return err;
	pt->root = pfn_to_hpa(pfn);
	pt->max_leaf_level = max_leaf_level;
	return 0;
}

/* The entry for va at a level, making the tables above it where they are missing. */
static int entry_make(struct pagetable *pt, u64 va, u32 level, u64 **out)
{
	u64 *table = phys_to_virt(pt->root);

	for (u32 l = PT_LEVELS; l > level; l--) {
		u64 *e = entry_of(table, va, l);
		pfn_t pfn;

		if (!(*e & PTE_PRESENT)) {
			if (frame_alloc(0, FRAME_ZERO | FRAME_FOR(OWN_TABLES), &pfn))
				return ERR_NOMEM;
			WRITE_ONCE(*e, pfn_to_hpa(pfn).v | TABLE_FLAGS);
		} else if (is_leaf(*e, l)) {
			return ERR_EXIST;
		}
		table = table_at(*e);
	}
	*out = entry_of(table, va, level);
	return 0;
}

int pagetable_map(struct pagetable *pt, u64 va, hpa_t hpa, u64 size, u64 flags)
{
	BUG_ON(!is_aligned(va | hpa.v | size, PAGE_SIZE));
	while (size) {
		u32 level = pt->max_leaf_level;
		u64 *e;
		int err;

		while (!is_aligned(va | hpa.v, pt_page_size(level)) || size < pt_page_size(level))
			level--;
		err = entry_make(pt, va, level, &e);
		if (err)
			return err;
		/* A present entry above level 1 may be a table: not to be lost either. */
		if (*e & PTE_PRESENT)
			return ERR_EXIST;
		WRITE_ONCE(*e, hpa.v | flags | LEAF_FLAGS | (level > 1 ? PTE_LARGE : 0));
		va += pt_page_size(level);
		hpa.v += pt_page_size(level);
		size -= pt_page_size(level);
	}
	return 0;
}

/* The entry that maps va or says that nothing does, and its level. */
static u64 *entry_find(const struct pagetable *pt, u64 va, u32 *level)
{
	u64 *e = entry_of(phys_to_virt(pt->root), va, PT_LEVELS);

	for (*level = PT_LEVELS; (*e & PTE_PRESENT) && !is_leaf(*e, *level);) {
		(*level)--;
		e = entry_of(table_at(*e), va, *level);
	}
	return e;
}

u64 pagetable_lookup(const struct pagetable *pt, u64 va, u32 *level)
{
	u64 e = *entry_find(pt, va, level);

	return e & PTE_PRESENT ? e : 0;
}

static void collect(u64 entry, struct list *to)
{
	struct frame *f = frame_of(hpa_to_pfn(HPA(entry & PTE_ADDR_MASK)));

	BUG_ON(!f);
	list_add(&f->link, to);
}

/* Detaches the last-level table of va if nothing is left in it. */
static void drop_empty_table(struct pagetable *pt, u64 va, struct list *tables)
{
	u64 *e = entry_of(phys_to_virt(pt->root), va, PT_LEVELS), *table;

	for (u32 level = PT_LEVELS; level > 2; level--) {
		if (!(*e & PTE_PRESENT) || is_leaf(*e, level))
			return;
		e = entry_of(table_at(*e), va, level - 1);
	}
	if (!(*e & PTE_PRESENT) || is_leaf(*e, 2))
		return;
	table = table_at(*e);
	for (u32 i = 0; i < PT_ENTRIES; i++) {
		if (table[i])
			return;
	}
	collect(*e, tables);
	WRITE_ONCE(*e, 0);
}

void pagetable_unmap(struct pagetable *pt, u64 va, u64 size, struct list *tables,
		     struct list *frames)
{
	u64 end = va + size;

	BUG_ON(!is_aligned(va | size, PAGE_SIZE));
	while (va < end) {
		u32 level;
		u64 *e = entry_find(pt, va, &level);
		u64 next = align_down(va, pt_page_size(level)) + pt_page_size(level);

		if (*e & PTE_PRESENT) {
			BUG_ON(!is_aligned(va, pt_page_size(level)) || next > end);
			if (level == 1 && frames)
				collect(*e, frames);
			WRITE_ONCE(*e, 0);
		}
		if (level == 1 && (is_aligned(next, pt_page_size(2)) || next >= end))
			drop_empty_table(pt, va, tables);
		va = next;
	}
}

struct walk {
	void (*fn)(const struct pt_leaf *leaf, void *arg);
	void *arg;
};

static void walk_table(const struct walk *w, u64 *table, u32 level, struct pt_leaf above)
{
	for (u32 i = 0; i < PT_ENTRIES; i++) {
		u64 e = READ_ONCE(table[i]);
		struct pt_leaf leaf = above;

		if (!(e & PTE_PRESENT))
			continue;
		leaf.va += i * pt_page_size(level);
		if (level == PT_LEVELS && i >= PT_ENTRIES / 2)
			leaf.va |= 0xffff000000000000ull;
		leaf.writable &= !!(e & PTE_WRITE);
		leaf.executable &= !(e & PTE_NX);
		leaf.user &= !!(e & PTE_USER);
		if (!is_leaf(e, level)) {
			walk_table(w, table_at(e), level - 1, leaf);
			continue;
		}
		leaf.size = pt_page_size(level);
		leaf.hpa = e & PTE_ADDR_MASK & ~(leaf.size - 1);
		w->fn(&leaf, w->arg);
	}
}

void pagetable_walk(hpa_t root, void (*fn)(const struct pt_leaf *leaf, void *arg), void *arg)
{
	struct walk w = {fn, arg};
	struct pt_leaf all = {.writable = true, .executable = true, .user = true};

	walk_table(&w, phys_to_virt(root), PT_LEVELS, all);
}
