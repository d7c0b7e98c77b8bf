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
	return (u64 *)table + (addr >> l->shift) % PAGE_TABLE_ENTRIES;
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

/*
 * A table for an entry that is 0. Of two that come at once the loser keeps its page. Returns what the
 * entry holds now, 0: the cache is empty.
 */
static u64 __noinline install(const struct page_table_level *l, u64 *entry,
			      struct page_table_cache *cache)
{
	u64 e = 0, table;

	if (*cache->count == 0)
		return 0;
	table = l->make_table(virt_to_phys(cache->pages[*cache->count - 1]));
	if (!page_table_change(entry, &e, table))
		return e;
	(*cache->count)--;
	return table;
}

/* Each fault comes this way: what is rare is elsewhere, and nothing is written on the way. */
int page_table_reach(const struct page_table_format *f, void *root, u64 addr, u32 level,
		     struct page_table_cache *cache, u64 **entry)
{
	const struct page_table_level *l = f->level, *last = l + level;
	void *table = root;

	ASSERT(rcu_read_held());
	for (; l != last; l++) {
		u64 *at = entry_of(l, table, addr);
		u64 e = page_table_read(at);

		if (unlikely(e == 0))
			e = install(l, at, cache);
		if (unlikely(e == 0))
			return ERR_TOO_HARD;
		if (unlikely(e == f->frozen))
			return ERR_AGAIN;
		if (unlikely(l->leaf(e)))
			return ERR_EXIST;
		table = table_of(l, e);
	}
	*entry = entry_of(l, table, addr);
	return 0;
}

/*
 * Makes sure that nothing is linked in the table any more, entry by entry. false: something is
 * there; it is as it was. Only the holder of mmu_lock freezes and thaws.
 */
static bool freeze(const struct page_table_format *f, u64 *table)
{
	u32 i;

	for (i = 0; i < PAGE_TABLE_ENTRIES; i++) {
		u64 nothing = 0;

		if (!page_table_change(&table[i], &nothing, f->frozen))
			break;
	}
	if (i == PAGE_TABLE_ENTRIES)
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
		if (!freeze(f, child))
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
	u64 end = PAGE_TABLE_ENTRIES << f->level[0].shift;

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
