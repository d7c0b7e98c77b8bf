/* SPDX-License-Identifier: MIT */
/*
 * What the files of the MMU façade share and nobody else uses. Contexts and locks are stated at
 * each function.
 */
#ifndef MMU_MMU_PRIVATE_H
#define MMU_MMU_PRIVATE_H

#include "mmu/mmu.h"

extern struct mmu_hw mmu_hw; /* set once */

/* The first gfn that no slot may reach. Any context. */
u64 mmu_gfn_end(void);

/* Statistics are counted from many CPUs. Any context. */
static inline void mmu_count(u64 *counter, u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* --- map.c: the tables, under mmu_lock --- */

/*
 * Maps gfn to pfn with this access, if since `seq` was read (mmu_invalidate_seq) no invalidation
 * has ended or is on its way: else ERR_AGAIN. Tables come from v's cache: ERR_TOO_HARD when it is
 * empty. Exit and thread context; takes mmu_lock.
 */
int mmu_map(struct mmu_vcpu *v, gfn_t gfn, pfn_t pfn, u32 access, u64 seq);

/* To be read before the page is looked up (R08). */
u64 mmu_invalidate_seq(const struct mmu_vm *vm);

/*
 * As mmu_unmap, between begin and end of its own, and takes the tables out that hold nothing more:
 * into `tables`, for mmu_free_tables once a grace period has passed. Thread context.
 */
void mmu_unmap_slot(struct mmu_vm *vm, gfn_t base, u64 pages, struct list *tables);
void mmu_free_tables(struct list *tables);

/* --- tlb.c --- */

/* No CPU holds a translation that was taken out of the tables before. mmu_lock is held (R13). */
void mmu_flush(struct mmu_vm *vm);

#endif
