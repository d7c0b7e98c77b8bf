/* SPDX-License-Identifier: MIT */
/* The walker over all page-table formats. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mmu/page_table.h"

static u64 read_entry(const u64 *entry)
{
	return __atomic_load_n(entry, __ATOMIC_ACQUIRE);
}

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

u64 *page_table_find(const struct page_table_format *f, void *root, u64 addr, u32 *level)
{
	void *table = root;

	for (u32 i = 0;; i++) {
		const struct page_table_level *l = &f->level[i];
		u64 *entry = entry_of(l, table, addr);
		u64 e = read_entry(entry);

		*level = i;
		if (!l->present(e) || l->leaf(e))
			return entry;
		BUG_ON(i + 1 == f->levels);
		table = table_of(l, e);
	}
}

/* The page is there: is more access wanted, or another page? */
static enum page_table_change remap(const struct page_table_level *l, u64 *entry, u64 e, hpa_t page,
				    u32 access)
{
	u64 wider;

	if (l->address(e).v != page.v) {
		__atomic_exchange_n(entry, l->make_leaf(page, access), __ATOMIC_SEQ_CST);
		return PAGE_TABLE_REPLACED;
	}
	if ((l->access(e) & access) == access)
		return PAGE_TABLE_SAME;
	do {
		wider = l->widen(e, access);
	} while (!__atomic_compare_exchange_n(entry, &e, wider, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	return PAGE_TABLE_WIDENED;
}

int page_table_map(const struct page_table_format *f, void *root, u64 addr, u32 level, hpa_t page,
		   u32 access, struct page_table_cache *cache, enum page_table_change *change,
		   u32 *tables)
{
	for (;;) {
		u32 at;
		u64 *entry = page_table_find(f, root, addr, &at);
		const struct page_table_level *l = &f->level[at];
		u64 e = read_entry(entry);

		if (at > level)
			return ERR_EXIST;
		if (at == level) {
			*change = PAGE_TABLE_MAPPED;
			if (l->present(e))
				*change = remap(l, entry, e, page, access);
			else
				__atomic_store_n(entry, l->make_leaf(page, access),
						 __ATOMIC_RELEASE);
			return 0;
		}
		if (l->present(e)) /* mapped already, by a larger page */
			return ERR_EXIST;
		if (*cache->count == 0)
			return ERR_TOO_HARD;
		/* The new table's zeroes are visible before the entry that leads to them. */
		__atomic_store_n(entry, l->make_table(virt_to_phys(cache->pages[--*cache->count])),
				 __ATOMIC_RELEASE);
		(*tables)++;
	}
}

u64 page_table_clear(const struct page_table_format *f, void *root, u64 *addr, u64 end, u32 most)
{
	u64 pages = 0;
	u32 cleared = 0;

	while (*addr < end && cleared < most) {
		u32 at;
		u64 *entry = page_table_find(f, root, *addr, &at);
		const struct page_table_level *l = &f->level[at];
		u64 next = align_down(*addr, entry_size(l)) + entry_size(l);

		if (l->present(read_entry(entry))) {
			__atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST);
			pages += entry_size(l) >> PAGE_SHIFT;
			cleared++;
		}
		*addr = next;
	}
	return pages;
}

static bool table_is_empty(const u64 *table, const struct page_table_level *l)
{
	for (u32 i = 0; i < BIT(l->bits); i++) {
		if (read_entry(&table[i]) != 0)
			return false;
	}
	return true;
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
		u64 e = read_entry(entry);
		void *child;

		next = align_down(addr, entry_size(l)) + entry_size(l);
		if (!l->present(e) || l->leaf(e))
			continue;
		child = table_of(l, e);
		if (at + 2 < f->levels)
			pruned += prune(f, at + 1, child, addr, min(next, end), out);
		if (!table_is_empty(child, &f->level[at + 1]))
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
