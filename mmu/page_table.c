/* SPDX-License-Identifier: MIT */
/* The walker over all page-table formats. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mmu/page_table.h"
#include "smp/rcu.h"

static u64 entry_size(const struct page_table_level *l)
{
	return BIT(l->shift);
}

static u64 *entry_of(const struct page_table_level *l, void *table, u64 addr)
{
	return (u64 *)table + ((addr >> l->shift) & (BIT(l->bits) - 1));
}

static void *table_of(const struct page_table_level *l, u64 entry)
{
	return phys_to_virt(l->address(entry));
}

static u64 *find(const struct page_table_format *f, void *root, u64 addr, u32 *level, u64 *value)
{
	void *table = root;

	for (u32 i = 0;; i++) {
		const struct page_table_level *l = &f->level[i];
		u64 *entry = entry_of(l, table, addr);
		u64 e = page_table_read(entry);

		*level = i;
		*value = e;
		if (!l->present(e) || l->leaf(e))
			return entry;
		BUG_ON(i + 1 == f->levels);
		table = table_of(l, e);
	}
}

u64 *page_table_find(const struct page_table_format *f, void *root, u64 addr, u32 *level,
		     u64 *value)
{
	ASSERT(rcu_read_held());
	return find(f, root, addr, level, value);
}

/* A table for an entry that is 0. Of two that come at once the loser keeps its page. */
static int install(const struct page_table_level *l, u64 *entry, u64 *e,
		   struct page_table_cache *cache, u32 *tables)
{
	u64 table;

	if (*cache->count == 0)
		return ERR_TOO_HARD;
	table = l->make_table(virt_to_phys(cache->pages[*cache->count - 1]));
	if (page_table_change(entry, e, table)) {
		(*cache->count)--;
		(*tables)++;
		*e = table;
	}
	return 0;
}

int page_table_reach(const struct page_table_format *f, void *root, u64 addr, u32 level,
		     struct page_table_cache *cache, u64 **entry, u32 *tables)
{
	void *table = root;

	ASSERT(rcu_read_held());
	for (u32 i = 0; i < level; i++) {
		const struct page_table_level *l = &f->level[i];
		u64 e;
		int err;

		*entry = entry_of(l, table, addr);
		e = page_table_read(*entry);
		if (e == 0) {
			err = install(l, *entry, &e, cache, tables);
			if (err)
				return err;
		}
		if (e == f->frozen || e == 0)
			return ERR_AGAIN;
		if (l->leaf(e))
			return ERR_EXIST;
		table = table_of(l, e);
	}
	*entry = entry_of(&f->level[level], table, addr);
	return 0;
}

/*
 * Makes sure that nothing is linked in the table any more, entry by entry. false: something is
 * there; it is as it was. Only the holder of mmu_lock freezes and thaws.
 */
static bool freeze(const struct page_table_format *f, u64 *table, const struct page_table_level *l)
{
	u32 count = BIT(l->bits), i;

	for (i = 0; i < count; i++) {
		u64 nothing = 0;

		if (!page_table_change(&table[i], &nothing, f->frozen))
			break;
	}
	if (i == count)
		return true;
	while (i)
		__atomic_store_n(&table[--i], 0, __ATOMIC_SEQ_CST);
	return false;
}

/* The depth of this recursion is the number of levels. */
static u32 prune(const struct page_table_format *f, u32 at, void *table, u64 addr, u64 end,
		 struct list *out)
{
	const struct page_table_level *l = &f->level[at];
	u32 pruned = 0;
	u64 next;

	for (; addr < end; addr = next) {
		u64 *entry = entry_of(l, table, addr);
		u64 e = page_table_read(entry);
		void *child;

		next = align_down(addr, entry_size(l)) + entry_size(l);
		if (!l->present(e) || l->leaf(e))
			continue;
		child = table_of(l, e);
		if (at + 2 < f->levels)
			pruned += prune(f, at + 1, child, addr, min(next, end), out);
		if (!freeze(f, child, &f->level[at + 1]))
			continue;
		__atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST);
		list_add_tail(&frame_of(virt_to_pfn(child))->link, out);
		pruned++;
	}
	return pruned;
}

u32 page_table_prune(const struct page_table_format *f, void *root, u64 addr, u64 end,
		     struct list *out)
{
	return prune(f, 0, root, addr, end, out);
}

bool page_table_for_each_leaf(const struct page_table_format *f, void *root, u64 *addr, u32 most,
			      void (*fn)(void *arg, u64 addr, u32 level, u64 *entry), void *arg)
{
	u64 end = BIT(f->level[0].shift + f->level[0].bits);

	for (; *addr < end && most; most--) {
		u32 level;
		u64 e, *entry = find(f, root, *addr, &level, &e);
		u64 size = entry_size(&f->level[level]), at = align_down(*addr, size);

		*addr = at + size;
		if (f->level[level].present(e))
			fn(arg, at, level, entry);
	}
	return *addr < end;
}
