/* SPDX-License-Identifier: MIT */
/*
 * Guest memory objects: contents without addresses. slot_phys[] has one 64-bit entry for each
 * 4 KiB page; entries change by compare-and-exchange, or under the object's lock (LOCK_SLOT_PHYS)
 * where more than one word changes. A memslot (mmu/memslot.h) is a window of gfns onto an object.
 *
 * slot_phys[] is kept in chunks of one page each (2 MiB of guest memory), which come when their
 * first page does and stay as long as the object: an untouched guest costs 8 bytes a chunk, and
 * readers follow the pointers without a lock.
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

#define GMEM_PAGES_MAX	   BIT(36)
#define GMEM_CHUNK_ENTRIES (PAGE_SIZE / sizeof(u64))
#define GMEM_PINS_MAX	   1024 /* pins of one object at a time */

struct gmem {
	/* set once */
	u64 pages;
	/* atomic */
	u64 **slot_phys;  /* chunks; NULL: all of it ABSENT. gmem_entry() reads one entry */
	u64 resident;	  /* pages in GOT_PAGE or SHARED */
	u64 touched_peak; /* the most that resident has been */
	u32 refs;	  /* memslots and the VM */
	/* lock */
	struct spinlock lock; /* slot_phys_lock */
	u32 pins;	      /* sum of the pins of its pages */
	/* its own lock */
	struct wait_queue busy; /* waiters on BUSY entries */
};

/* Thread context. ERR_NOMEM, ERR_RANGE (0 pages or more than 2^36). The caller has one reference. */
int gmem_create(u64 pages, struct gmem **out);
void gmem_ref(struct gmem *g);
/* Thread context. The last one frees every frame; none may be pinned or BUSY then. */
void gmem_unref(struct gmem *g);

static inline enum gmem_state gmem_entry_state(u64 e)
{
	return e & GMEM_STATE_MASK;
}

static inline pfn_t gmem_entry_pfn(u64 e)
{
	return PFN(e >> GMEM_PFN_SHIFT);
}

/* The entry as it is now (GMEM_ABSENT beyond the end). Any context. */
u64 gmem_entry(const struct gmem *g, u64 index);

/*
 * The page if it is resident and fit for the access, without sleeping or allocating: 0,
 * ERR_TOO_HARD. Exit context. The caller holds off reclaim by checking the sequence under
 * mmu_lock before it links the pfn (R08).
 */
int gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out);

/*
 * Makes the page resident (a zeroed frame at first touch). Two that come at once: one wins, the
 * other's frame goes back (R34). Thread context, may sleep. 0, ERR_NOMEM, ERR_RANGE; ERR_NOTSUP:
 * in a state that nothing here leads out of.
 */
int gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out);

/* As gmem_get_page, and the frame stays until gmem_unpin. ERR_NOSPC: over GMEM_PINS_MAX. */
int gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out);
/* dirty: the page was written to by other means than a guest's mapping. Thread context. */
void gmem_unpin(struct gmem *g, u64 index, pfn_t pfn, bool dirty);

/*
 * For whoever changes what an entry holds and needs time for it: claim makes a page that was
 * touched BUSY and tells what it was; settle stores what it has become and wakes those who wait.
 * The claimer first unmaps the page everywhere (mmu/), and counts resident. Thread context.
 * ERR_BUSY: pinned, or BUSY already. ERR_NOENT: ABSENT. ERR_RANGE.
 */
int gmem_claim(struct gmem *g, u64 index, u64 *entry);
void gmem_settle(struct gmem *g, u64 index, u64 entry);

#endif
