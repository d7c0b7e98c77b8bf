/* SPDX-License-Identifier: MIT */
/*
 * Weir's own 4-level page tables (SDM 3A 4.5) as a data structure: map, unmap, protect, walk.
 * Knows nothing of CR3, TLBs or of what stands where; vmap.c does, and its lock guards them.
 * Thread context. Tables are frames, reached through the direct map.
 */
#ifndef MEM_PAGETABLE_H
#define MEM_PAGETABLE_H

#include "kernel/base/addr.h"
#include "kernel/base/list.h"

#define PTE_PRESENT   BIT(0)
#define PTE_WRITE     BIT(1)
#define PTE_USER      BIT(2)
#define PTE_PWT	      BIT(3)
#define PTE_PCD	      BIT(4)
#define PTE_ACCESSED  BIT(5)
#define PTE_DIRTY     BIT(6)
#define PTE_LARGE     BIT(7) /* levels 2 and 3 */
#define PTE_NX	      BIT(63)
#define PTE_ADDR_MASK 0x000ffffffffff000ull

#define PT_LEVELS  4 /* 4: PML4 ... 1: the table of 4 KiB pages */
#define PT_ENTRIES 512

static inline u64 pt_page_size(u32 level)
{
	return PAGE_SIZE << (9 * (level - 1));
}

struct pagetable {
	hpa_t root;
	u32 max_leaf_level; /* 3 where the CPU has 1 GiB pages, else 2 */
};

/* An empty one. ERR_NOMEM. */
int pagetable_init(struct pagetable *pt, u32 max_leaf_level);

/*
 * Maps size bytes at va to hpa (all page-aligned) with flags PTE_WRITE, PTE_NX, PTE_PWT, PTE_PCD,
 * by the largest pages that fit. ERR_NOMEM or ERR_EXIST: part of it may be mapped; unmap all.
 */
int pagetable_map(struct pagetable *pt, u64 va, hpa_t hpa, u64 size, u64 flags);

/*
 * Unmaps what is mapped in the range; a large page must be in it whole. Last-level tables that
 * become empty are put on tables (struct frame.link), to be freed when no TLB knows them; so are
 * the frames that were mapped by 4 KiB pages, on frames, unless that is NULL.
 */
void pagetable_unmap(struct pagetable *pt, u64 va, u64 size, struct list *tables,
		     struct list *frames);

/* The leaf entry that maps va and its level, or 0. */
u64 pagetable_lookup(const struct pagetable *pt, u64 va, u32 *level);

/* One leaf, with the rights that all levels together give. */
struct pt_leaf {
	u64 va; /* canonical */
	u64 hpa;
	u64 size;
	bool writable, executable, user;
};

/* Calls fn on each leaf in ascending order. */
void pagetable_walk(hpa_t root, void (*fn)(const struct pt_leaf *leaf, void *arg), void *arg);

#endif
