/* SPDX-License-Identifier: MIT */
/*
 * The real-mode area: the bottom of guest memory, which the first vCPU to run makes resident and
 * pins, so that what the CPU itself needs there is there. It is set up once for each VM, by whoever
 * comes first, and before any vCPU enters the guest (R36). Its pages come through the slots like any
 * other: one by one, or from the piece of the pool that fills the object already (mem/rma.h).
 *
 * The pins go when the slot that they were made through does (R37), and with the area.
 */
#ifndef MMU_RMA_SETUP_H
#define MMU_RMA_SETUP_H

#include "mmu/mmu.h"
#include "mmu/real_mode.h"

#define RMA_PAGES	16 /* 64 KiB from gpa 0 */
#define RMA_TABLE_PAGES (REAL_MODE_TSS_PAGES + 1)
#define RMA_PINS_MAX	(RMA_PAGES + RMA_TABLE_PAGES)

struct rma_pin {
	struct gmem *object; /* atomic, exchanged by who undoes the pin; NULL: none. Referenced */
	u64 index;
	pfn_t pfn;
};

/* Where the TSS's three pages go, and the identity map's one (mmu/real_mode.h). */
struct rma_tables {
	gfn_t tss, identity_map;
};

struct rma_area {
	/* set once */
	struct mmu_vm *vm;
	struct mutex *lock;
	bool has_tables;
	struct rma_tables tables;
	struct memslot_watcher watcher;
	/* atomic; published after what it stands for */
	bool done;
	/* written by who sets the area up, in a reader of the VM's SRCU */
	struct rma_pin pins[RMA_PINS_MAX];
};

/*
 * lock: the VM's, of level LOCK_VM. tables: for a CPU without unrestricted guest, else NULL. Thread
 * context; take slots_lock. Destroy before mmu_vm_destroy, when no vCPU runs any more.
 */
void rma_area_init(struct rma_area *a, struct mmu_vm *vm, struct mutex *lock,
		   const struct rma_tables *tables);
void rma_area_destroy(struct rma_area *a);

/* What was done before it was set up is seen by who finds it so. Any context. */
static inline bool rma_is_set_up(const struct rma_area *a)
{
	return __atomic_load_n(&a->done, __ATOMIC_ACQUIRE);
}

/*
 * Before the vCPU's first entry; cheap when it is done. Thread context on the vCPU's thread; takes
 * the lock; may sleep, but waits for no grace period under the lock.
 * 0. Else nothing was done, and it may be tried again; *where is the page that failed:
 * ERR_NOSLOT: no slot there. ERR_PERM: a read-only one. ERR_AGAIN: it was on its way out, and the
 * slots have changed since: call again. ERR_NOSPC: over the VM's bound on pins. ERR_NOMEM.
 */
int rma_set_up(struct rma_area *a, struct mmu_vcpu *v, gpa_t *where);

#endif
