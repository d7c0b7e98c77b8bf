/* SPDX-License-Identifier: MIT */
/*
 * One walker for page tables of any format. A format is a constant table with one row of functions
 * for each level; EPT (ept.h) is one, shadow page tables will be others.
 *
 *	root                                 level 0: widest entries
 *	[ index ] -> table                   level 1
 *	             [ index ] -> table      ...
 *	                          [ leaf ]   level levels-1: 4 KiB
 *
 * An entry of 0 is not present in every format. Entries are single 64-bit loads and stores (R03);
 * a present one is replaced by exchange or compare-and-exchange only, for the CPU may set A and D
 * in it at any time (R18). mmu_lock guards every function that changes tables; the functions
 * neither flush nor sleep nor allocate. Exit and thread context.
 */
#ifndef MMU_PAGE_TABLE_H
#define MMU_PAGE_TABLE_H

#include "kernel/base/addr.h"
#include "kernel/base/list.h"

struct page_table_level {
	u8 shift; /* an entry covers 2^shift bytes */
	u8 bits;  /* of the address select the entry */
	bool (*present)(u64 entry);
	bool (*leaf)(u64 entry);     /* of a present entry: maps a page, leads to no table */
	hpa_t (*address)(u64 entry); /* of the page or the table */
	u32 (*access)(u64 entry);    /* MMU_READ, MMU_WRITE, MMU_EXEC */
	u64 (*make_table)(hpa_t table);
	u64 (*make_leaf)(hpa_t page, u32 access); /* NULL: this level maps no pages */
	u64 (*widen)(u64 entry, u32 access);	  /* a leaf with more access; A and D are kept */
};

#define PAGE_TABLE_LEVELS_MAX 5

struct page_table_format {
	const char *name;
	u32 levels;
	struct page_table_level level[PAGE_TABLE_LEVELS_MAX];
};

/* Zeroed pages for new tables: a vCPU's cache. */
struct page_table_cache {
	void **pages;
	u32 *count;
};

enum page_table_change {
	PAGE_TABLE_SAME,     /* was mapped so already */
	PAGE_TABLE_MAPPED,   /* was not present: no CPU can hold it */
	PAGE_TABLE_WIDENED,  /* has got more access: who holds the old entry faults once more */
	PAGE_TABLE_REPLACED, /* was another page: flush before the lock is released */
};

/*
 * The entry at which the way to addr ends: a leaf, or one that is not present. *level is its level.
 * Never NULL.
 */
u64 *page_table_find(const struct page_table_format *f, void *root, u64 addr, u32 *level);

/*
 * Maps the page at `page`, of the size that `level` maps, at addr. Tables that are missing come out
 * of the cache, *tables counts them. ERR_TOO_HARD: the cache is empty (those already linked stay).
 * ERR_EXIST: smaller pages are mapped there.
 */
int page_table_map(const struct page_table_format *f, void *root, u64 addr, u32 level, hpa_t page,
		   u32 access, struct page_table_cache *cache, enum page_table_change *change,
		   u32 *tables);

/*
 * Clears the leaves in [*addr, end), at most `most`, and moves *addr to where it stopped. A larger
 * page that lies in the range in part goes as a whole. Returns the 4 KiB pages that were mapped.
 */
u64 page_table_clear(const struct page_table_format *f, void *root, u64 *addr, u64 end, u32 most);

/*
 * Takes out the tables on the way to [addr, end) that hold nothing, and adds the struct frame of
 * each to `out` by its link. Not the root. Returns how many. The caller flushes, then frees.
 */
u32 page_table_prune(const struct page_table_format *f, void *root, u64 addr, u64 end,
		     struct list *out);

#endif
