/* SPDX-License-Identifier: MIT */
/*
 * Guest memory objects: contents without addresses. slot_phys[] has one 64-bit entry for each
 * 4 KiB page; entries change by compare-and-exchange, or under the object's lock (LOCK_SLOT_PHYS)
 * where more than one word changes. A memslot (mmu/memslot.h) is a window of gfns onto an object.
 */
#ifndef MEM_GMEM_H
#define MEM_GMEM_H

#include "kernel/base/addr.h"
#include "smp/wait.h"

/* The state is in the low bits of an entry; the rest is a pfn, handle or block number. */
enum gmem_state {
	GMEM_ABSENT = 0, /* never touched, or known to be all zero */
	GMEM_GOT_PAGE,	 /* resident; pfn */
	GMEM_SHARED,	 /* resident, read-only; pfn; a write copies */
	GMEM_PACKED,	 /* compressed pool; handle */
	GMEM_SWAPPED,	 /* swap disk; block */
	GMEM_BUSY,	 /* one thread is changing it; wait on the object */
};
#define GMEM_STATE_BITS 3
#define GMEM_STATE_MASK (BIT(GMEM_STATE_BITS) - 1)
#define GMEM_DIRTY	BIT(3) /* was writable since it was last clean */
#define GMEM_PFN_SHIFT	12

struct gmem {
	u64 pages;
	u64 *slot_phys;
	u64 resident;		/* atomic: pages in GOT_PAGE or SHARED */
	u64 touched_peak;	/* atomic: the most that resident has been */
	struct spinlock lock;	/* slot_phys_lock */
	struct wait_queue busy; /* waiters on BUSY entries */
	u32 refs;		/* atomic: memslots and the VM */
};

/* Thread context. ERR_NOMEM, ERR_RANGE (0 pages or more than 2^36). */
int gmem_create(u64 pages, struct gmem **out);
void gmem_ref(struct gmem *g);
void gmem_unref(struct gmem *g); /* the last one frees every frame */

static inline enum gmem_state gmem_entry_state(u64 e)
{
	return e & GMEM_STATE_MASK;
}

static inline pfn_t gmem_entry_pfn(u64 e)
{
	return PFN(e >> GMEM_PFN_SHIFT);
}

/*
 * The page if it is resident and fit for the access, without sleeping or allocating: 0,
 * ERR_TOO_HARD. Exit context. The caller holds off reclaim by checking the sequence under
 * mmu_lock before it links the pfn (R08).
 */
int gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out);

/*
 * Makes the page resident (a zeroed frame at first touch). Two that come at once: one wins, the
 * other's frame goes back (R34). Thread context, may sleep. 0, ERR_NOMEM, ERR_RANGE.
 */
int gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out);

/* As gmem_get_page, and the frame stays until gmem_unpin. */
int gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out);
void gmem_unpin(struct gmem *g, u64 index, pfn_t pfn, bool dirty);

#endif
