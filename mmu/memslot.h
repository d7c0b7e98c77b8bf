/* SPDX-License-Identifier: MIT */
/*
 * Memslots: windows from gfns onto guest memory objects. Readers are in the VM's SRCU (or hold
 * slots_lock); writers hold slots_lock, build a new array and publish it. Deleting takes two steps:
 * publish the slot INVALID, wait a grace period, unmap and flush, then publish without it.
 */
#ifndef MMU_MEMSLOT_H
#define MMU_MEMSLOT_H

#include "kernel/base/addr.h"
#include "mem/gmem.h"
#include "mmu/rmap.h"

#define MEMSLOTS_MAX 512

enum memslot_flags {
	/* guest writes go to device emulation (ROM) */
	MEMSLOT_READONLY = BIT(0),
	/* on its way out: a fault retries, outside the reader (R23, R24) */
	MEMSLOT_INVALID = BIT(1),
	/* Weir's own (APIC-access page), not the VM's RAM */
	MEMSLOT_PRIVATE = BIT(2),
	/* written pages are noted, for mmu_dirty_get_and_clear */
	MEMSLOT_LOG_DIRTY = BIT(3),
	/* never mapped by 2 MiB entries */
	MEMSLOT_NO_LARGE = BIT(4),
};

struct memslot {
	gfn_t base;
	u64 pages;
	u64 first; /* index in the object of the page at base */
	struct gmem *object;
	u32 id; /* the caller's name for it */
	u32 flags;
	struct slot_maps *maps;
	u64 *dirty; /* atomic words, a bit for each page; NULL unless MEMSLOT_LOG_DIRTY */
};

/* Immutable once published; sorted by base. */
struct memslots {
	u64 generation; /* odd while a change is on its way (R30) */
	u32 count;
	struct memslot slots[];
};

struct mmu_vm;

/*
 * Errors: ERR_EXIST (id or overlap), ERR_RANGE (wraps, zero size, beyond the object or MAXPHYADDR),
 * ERR_ALIGN (the object has 2 MiB pages, and base and first are not equal modulo 512), ERR_NOSPC
 * (MEMSLOTS_MAX), ERR_INVAL (flags), ERR_NOMEM, ERR_NOENT. Nothing is changed on error.
 * A slot holds a reference on its object. Deleting and moving wait for a grace period and take
 * away what the slot had mapped; deleting gives back the pins that were made through it and marks
 * their pages dirty (R37). What they free is freed after another grace period.
 * Thread context; takes slots_lock; may sleep; not inside a reader of the VM's SRCU.
 */
int memslot_create(struct mmu_vm *vm, u32 id, gfn_t base, u64 pages, struct gmem *object, u64 first,
		   u32 flags);
int memslot_delete(struct mmu_vm *vm, u32 id);
int memslot_move(struct mmu_vm *vm, u32 id, gfn_t new_base);
/*
 * MEMSLOT_READONLY, MEMSLOT_LOG_DIRTY and MEMSLOT_NO_LARGE as they are in `flags`. When it returns
 * no mapping has more rights than the new flags allow; a log that begins is empty.
 */
int memslot_set_flags(struct mmu_vm *vm, u32 id, u32 flags);

/* The slot that covers gfn, or NULL. Pure search; the caller is in the SRCU reader. */
const struct memslot *memslot_find(const struct memslots *slots, gfn_t gfn);

/* The array, for a reader of the VM's SRCU or a holder of slots_lock: asserted (R27). */
const struct memslots *memslots_get(struct mmu_vm *vm);

/*
 * What the array says of gfn: 0, ERR_NOSLOT, or ERR_AGAIN: the slot is on its way out, *generation
 * is its array's. *out may be set in any case. For a reader of the VM's SRCU or a holder of slots_lock.
 */
int memslot_look_up(struct mmu_vm *vm, gfn_t gfn, bool write, const struct memslot **out,
		    u64 *generation);

/* The same, looking first at slot number *last, which it leaves at the one it found. */
int memslot_look_up_cached(struct mmu_vm *vm, gfn_t gfn, bool write, u32 *last,
			   const struct memslot **out, u64 *generation);

/*
 * For who met an INVALID slot in an array of this generation: sleeps until another array is
 * published. Thread context, outside the reader (R24); may be under LOCK_DEVICE.
 */
void memslots_wait_change(struct mmu_vm *vm, u64 generation);

/*
 * Who wants to know when gfns stop showing what they showed, for the slot is deleted or moved away:
 * gone is called with slots_lock held, when nobody finds the slot any more and nothing of it is
 * mapped. Thread context; both take slots_lock. After unwatch it is not called again.
 */
struct memslot_watcher {
	struct list link; /* slots_lock */
	void (*gone)(struct memslot_watcher *w, gfn_t base, u64 pages);
};
void memslot_watch(struct mmu_vm *vm, struct memslot_watcher *w);
void memslot_unwatch(struct mmu_vm *vm, struct memslot_watcher *w);

/* Deletes all, for the VM's end. Thread context; takes slots_lock. Nobody faults any more. */
void memslots_destroy(struct mmu_vm *vm);

#endif
