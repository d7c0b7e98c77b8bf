/* SPDX-License-Identifier: MIT */
/*
 * One walker for page tables of any format. A format is a constant table with one row of functions
 * for each level: EPT (ept.h), and those of shadow paging (shadow_format.c).
 *
 *	root                                 level 0: widest entries
 *	[ index ] -> table                   level 1
 *	             [ index ] -> table      ...
 *	                          [ leaf ]   level levels-1: 4 KiB
 *
 * An entry of 0 is not present in every format. Entries are single 64-bit loads (R03), and every
 * change is an exchange or a compare-and-exchange: other CPUs link beside us, and hardware may set
 * A and D at any time (R18). So any number of CPUs walk and link at once without a lock:
 *
 * - A table is installed by compare-and-exchange; the loser keeps its page and uses the winner's.
 * - A table that is taken out has the format's frozen entry everywhere first, so that whoever is
 *   on the way to it links nothing in it any more. It is freed by RCU (R32): walkers are in an RCU
 *   reader.
 *
 * Taking tables out (page_table_prune) is done by one at a time: mmu_lock. Nothing here flushes,
 * sleeps or allocates. Exit and thread context.
 */
#ifndef MMU_PAGE_TABLE_H
#define MMU_PAGE_TABLE_H

#include "kernel/base/addr.h"
#include "kernel/base/list.h"

/* What a leaf says besides its address: MMU_READ, MMU_WRITE, MMU_EXEC (mmu.h), and these. */
#define PAGE_TABLE_ACCESSED BIT(8)
#define PAGE_TABLE_DIRTY    BIT(9)

/* In every table of every format: a page of entries. */
#define PAGE_TABLE_ENTRIES (PAGE_SIZE / sizeof(u64))

struct page_table_level {
	u8 shift; /* an entry covers 2^shift bytes */
	bool (*present)(u64 entry);
	bool (*leaf)(u64 entry);     /* of a present entry: maps a page, leads to no table */
	hpa_t (*address)(u64 entry); /* of the page or the table */
	u64 (*make_table)(hpa_t table);
	u64 (*make_leaf)(hpa_t page, u32 access); /* NULL: this level maps no pages */
	u32 (*access)(u64 entry);		  /* of a leaf */
	u64 (*with_access)(u64 entry, u32 access);
};

#define PAGE_TABLE_LEVELS_MAX 5

struct page_table_format {
	const char *name;
	u64 frozen; /* not present, not 0, the same at every level */
	u32 levels;
	struct page_table_level level[PAGE_TABLE_LEVELS_MAX];
};

/* Zeroed pages for new tables: a vCPU's cache. */
struct page_table_cache {
	void **pages;
	u32 *count;
};

static inline u64 page_table_read(const u64 *entry)
{
	return __atomic_load_n(entry, __ATOMIC_ACQUIRE);
}

/* false: the entry is not `old` any more but what *old is now. */
static inline bool page_table_change(u64 *entry, u64 *old, u64 new)
{
	return __atomic_compare_exchange_n(entry, old, new, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/*
 * The entry at which the way to addr ends: a leaf, or one that is not present. *level is its level,
 * *value what it held. Never NULL. In an RCU reader, and the entry is good until its end (R32).
 */
u64 *page_table_find(const struct page_table_format *f, void *root, u64 addr, u32 *level,
		     u64 *value);

/*
 * The entry for addr at `level`. Tables that are missing on the way come out of the cache, whose count
 * tells how many. ERR_TOO_HARD: the cache is empty (what is linked already stays). ERR_EXIST: a larger
 * page is mapped there. ERR_AGAIN: a table on the way is being taken out. In an RCU reader, as above.
 */
int page_table_reach(const struct page_table_format *f, void *root, u64 addr, u32 level,
		     struct page_table_cache *cache, u64 **entry);

/*
 * Takes out the tables on the way to [addr, end) that hold nothing, and adds the struct frame of
 * each to `out` by its link. Not the root. Returns how many. The caller flushes, then frees after
 * a grace period. mmu_lock is held.
 */
u32 page_table_prune(const struct page_table_format *f, void *root, u64 addr, u64 end,
		     struct list *out);

/*
 * Calls fn for every present leaf from *addr on, looks at no more than `most` entries, and moves
 * *addr to behind the last; false: there are no more. The tables do not go away meanwhile: mmu_lock, or RCU.
 */
bool page_table_for_each_leaf(const struct page_table_format *f, void *root, u64 *addr, u32 most,
			      void (*fn)(void *arg, u64 addr, u32 level, u64 *entry), void *arg);

#endif
