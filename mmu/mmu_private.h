/* SPDX-License-Identifier: MIT */
/*
 * What the files of the MMU façade share and nobody else uses. Contexts and locks are stated at
 * each function.
 */
#ifndef MMU_MMU_PRIVATE_H
#define MMU_MMU_PRIVATE_H

#include "mmu/mmu.h"
#include "mmu/page_table.h"

extern struct mmu_hw mmu_hw; /* set once */

/* Tables that one fault may need: all levels but the root. */
#define TABLES_PER_FAULT (PAGE_TABLE_LEVELS_MAX - 1)
static_assert(TABLES_PER_FAULT <= MMU_CACHE_MAX, "a full cache serves any fault");

/* The first gfn that no slot may reach. Any context. */
u64 mmu_gfn_end(void);

/* Counted from many CPUs: what no vCPU counts for itself. Any context. */
static inline void mmu_count(u64 *counter, u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* A vCPU's own counter: nobody else writes it. */
static inline void mmu_count_own(u64 *counter, u64 n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The CPU marks in sptes what it used. */
static inline bool mmu_marks_accessed(const struct mmu_vm *vm)
{
	return vm->shadow || mmu_hw.ept_ad;
}

/* The levels that map pages of 4 KiB and of 2 MiB. */
static inline u32 small_level(const struct mmu_vm *vm)
{
	return vm->format->levels - 1;
}

static inline u32 large_level(const struct mmu_vm *vm)
{
	return vm->format->levels - 2;
}

static inline u64 memslot_index(const struct memslot *s, gfn_t gfn)
{
	return s->first + (gfn.v - s->base.v);
}

static inline gfn_t region_base(gfn_t gfn)
{
	return GFN(align_down(gfn.v, LARGE_PAGES));
}

/* gfn's region is all the slot's: at its edges none is, and nothing is mapped large there. */
static inline bool memslot_has_region(const struct memslot *s, gfn_t gfn)
{
	u64 first = region_base(gfn).v;

	return first >= s->base.v && first + LARGE_PAGES <= s->base.v + s->pages;
}

/* --- h_enter.c --- */

/*
 * The real-mode half of a fault: links the page that the slot shows at gfn, if it is resident and
 * fit for the access. Exit context (or thread context with interrupts off), in a reader of the VM's
 * SRCU. 0; ERR_TOO_HARD; ERR_AGAIN: lost a race; ERR_PERM: a write to a page that is protected.
 */
enum h_enter_try {
	H_ENTER_LARGE = BIT(0),	 /* 2 MiB at once, where that can be */
	H_ENTER_AROUND = BIT(1), /* its neighbours too, those that are resident and not mapped */
	H_ENTER_GOT = BIT(2),	 /* the caller has just made it resident: no need to ask first */
};
int h_enter(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn, u32 access, u32 try);

/* May gfn be part of a large mapping, the object's side and the CPU's left aside? Any context. */
static inline bool memslot_may_be_large(const struct memslot *s, gfn_t gfn)
{
	return !(s->flags & (MEMSLOT_NO_LARGE | MEMSLOT_LOG_DIRTY)) && memslot_has_region(s, gfn) &&
	       s->first % LARGE_PAGES == s->base.v % LARGE_PAGES &&
	       __atomic_load_n(rmap_small_count(s, gfn), __ATOMIC_SEQ_CST) == 0;
}

/* --- memslot.c --- */

/* The number of slots whose base is at or below gfn. Any context. */
u32 memslots_up_to(const struct memslots *slots, gfn_t gfn);

/* --- sweep.c: what is done to the sptes of many gfns --- */

enum sweep {
	SWEEP_UNMAP,
	SWEEP_PROTECT,	  /* takes the right to write */
	SWEEP_GUARD,	  /* the same, and marks the gfns RMAP_PROTECTED */
	SWEEP_UNGUARD,	  /* undoes the mark; the right comes back with the next fault */
	SWEEP_CLEAN,	  /* forgets that they were written, where the CPU logs that (PML) */
	SWEEP_AGE,	  /* counts those used since the last look, and forgets it */
	SWEEP_TEST_YOUNG, /* only counts them */
	SWEEP_SPLIT,	  /* large mappings become small ones, which are left alone */
};

/*
 * Does it to [gfn, gfn + pages) of the slot, all within it. What is partly in a large mapping that
 * has to change is split before. When it returns no CPU uses what was taken. Returns the 4 KiB
 * pages that were changed (UNMAP: unmapped; AGE, TEST_YOUNG: young; GUARD, UNGUARD: marks). Thread
 * context; the slot does not go away meanwhile (a reader of the VM's SRCU, or slots_lock).
 */
u64 mmu_sweep(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 pages, enum sweep what);
/* AGE, and *young gets a bit for each young page: bit 0 is the object's page young_first. */
u64 mmu_sweep_age(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 pages, u64 *young,
		  u64 young_first);

/*
 * The same for those pages of the slot that have a bit in `marked`, which covers the slot. Large
 * mappings are dealt with whatever is marked in them: a slot with a dirty log has none.
 */
u64 mmu_sweep_marked(struct mmu_vm *vm, const struct memslot *s, const u64 *marked,
		     enum sweep what);

/* Takes large mapping of gfn's region away. Any context but interrupt. Whether there was one. */
bool mmu_drop_large(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn);

/* --- large.c --- */

/*
 * Splits the large mapping of gfn's region, or drops it where memory for a table is short. With
 * shadow paging it drops all there are, and marks the region RMAP_SMALL. Returns whether it dropped
 * any. Thread context; takes mmu_lock with shadow paging.
 */
bool mmu_split(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn);

/*
 * Clears the way for a large mapping, if one fits at gfn by now: the next fault makes it. false:
 * none fits, or the way stays as it is. Thread context, interrupts on; takes mmu_lock.
 */
bool mmu_collapse(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn);

/*
 * Takes the tables for the slot's gfns out that hold nothing, flushes, and frees them after a grace
 * period. With shadow paging the pages that stand for tables in it go. Thread context; slots_lock is
 * held, takes mmu_lock.
 */
void mmu_prune(struct mmu_vm *vm, const struct memslot *s);

/* The VM has a slot more. slots_lock is held. Thread context; with shadow paging takes mmu_lock. */
void mmu_slots_grew(struct mmu_vm *vm);

/* --- notify.c: mem/'s announcements; slots_lock is held --- */

/* The VM hears of what becomes of the object from now on; it counts how many slots want that.
 * Sleeps: LOCK_NOTIFY. ERR_NOMEM. */
int mmu_object_get(struct mmu_vm *vm, struct gmem *object);
void mmu_object_put(struct mmu_vm *vm, struct gmem *object);

/* --- dirty.c --- */

/* A page of the slot was or may now be written. In a reader, or slots_lock. Any context. */
void mmu_dirty_note(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn);

/* --- gpa_pin.c --- */

void mmu_pins_init(struct mmu_vm *vm);
/* How many pages there are from gfn on, `pages` at most, before one that a pin is in. pins_lock. */
u64 mmu_pins_before(struct mmu_vm *vm, gfn_t gfn, u64 pages);
/*
 * Sets the bits of the slot's pages that a pin is in, which may be written at any time (R21).
 * Thread context; slots_lock is held, takes pins_lock.
 */
void mmu_pins_mark(struct mmu_vm *vm, const struct memslot *s, u64 *bitmap);

/* --- range.c --- */

/* Gives back the pins that were made through the slot, which nobody uses any more (R37). */
void mmu_unpin_slot(struct mmu_vm *vm, const struct memslot *s);

/* --- for the audits --- */

/*
 * No page is there, and nobody is about to change that: who has it BUSY may have found it resident, and
 * takes away what shows it only after that, if at all (the page that leaves a shared frame). Any
 * context.
 */
static inline bool mmu_page_is_away(const struct gmem *object, u64 index)
{
	enum gmem_state state = gmem_entry_state(gmem_entry(object, index));

	return state != GMEM_BUSY && state != GMEM_GOT_PAGE && state != GMEM_SHARED;
}

/* --- tlb.c --- */

/* No CPU holds a translation that was taken out of the tables before. Any context; never sleeps. */
void mmu_flush(struct mmu_vm *vm);

/*
 * With shadow paging, under mmu_lock: what was taken out, or lost rights, may stay in use by other
 * vCPUs until these flush by themselves. Who takes what is not in the tables for what no CPU has
 * pays first.
 */
void mmu_owe_flush(struct mmu_vm *vm);
void mmu_pay_flush(struct mmu_vm *vm);
static inline bool mmu_flush_is_owed(const struct mmu_vm *vm)
{
	return __atomic_load_n(&vm->flush_owed, __ATOMIC_ACQUIRE);
}

#endif
