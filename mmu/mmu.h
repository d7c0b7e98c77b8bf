/* SPDX-License-Identifier: MIT */
/*
 * The MMU façade: one VM's second-level translation, EPT or shadow, and access to guest memory by
 * its addresses. Contexts are stated at each function; locks are in docs/locking.md, and how the
 * parts work together is in docs/mmu.md.
 */
#ifndef MMU_MMU_H
#define MMU_MMU_H

#include "kernel/base/addr.h"
#include "mmu/memslot.h"
#include "smp/ipi.h"
#include "smp/mutex.h"
#include "smp/srcu.h"

enum mmu_access {
	MMU_READ = 1,
	MMU_WRITE = 2,
	MMU_EXEC = 4,
};

enum mmu_kind {
	MMU_AUTO,
	MMU_EPT,
	MMU_SHADOW
};

/* What the CPUs can do, filled by vmx/ from IA32_VMX_EPT_VPID_CAP (SDM 3D A.10), same on all. */
struct mmu_hw {
	bool ept, ept_ad, ept_2m, ept_1g, ept_exec_only;
	bool invept_single, invept_all;
	bool invvpid_single, invvpid_all;
	u32 maxphyaddr;
};
void mmu_init(const struct mmu_hw *hw); /* once, before the first VM */

/* Page-table pages for a vCPU's faults, filled in thread context, used in exit context. */
#define MMU_CACHE_MAX 8
struct mmu_vcpu {
	struct mmu_vm *vm;
	u32 cache_count;
	void *cache[MMU_CACHE_MAX];
	u32 last_slot; /* index of the slot that served the last lookup */
};

struct mmu_stats {
	u64 faults, faults_slow, faults_mmio, faults_retry, faults_readonly;
	u64 pages_mapped, pages_unmapped;
	u64 table_pages; /* in the tables now, the root included */
	u64 flushes;	 /* of the root's translations, on all CPUs that may hold some */
	u64 kicks;	 /* CPUs that had to be made to leave the guest for a flush */
	u64 invepts;	 /* executed by mmu_enter */
};

struct page_table_format;

struct mmu_vm {
	/* set once */
	enum mmu_kind kind;
	const struct page_table_format *format;
	void *root; /* top-level table, direct map */

	struct mutex slots_lock;
	struct rwsem mem_sem;
	struct spinlock mmu_lock;
	struct srcu srcu;
	/* SRCU; written under slots_lock */
	struct memslots *slots;
	struct list slot_watchers; /* slots_lock */
	/* atomic: that of the array published last; who waits for the next is in slots_wait */
	u64 slots_generation;
	struct wait_queue slots_wait;
	/* mmu_lock, which guards the contents of all tables too */
	u64 invalidate_seq; /* read without it as well */
	u32 invalidate_count;
	struct mmu_stats stats; /* atomic, each number by itself */
	/* atomic: CPUs that may hold translations of the root (set by mmu_enter) */
	struct cpu_set cpus;
	/* Each CPU flushes before its next entry when its own count lags behind this one. */
	u64 flush_generation;
	u64 flushed_generation[CPU_MAX];
	bool in_guest[CPU_MAX]; /* between mmu_enter and mmu_exit */
};

/* Thread context. ERR_NOMEM, ERR_NOTSUP (the kind is not to be had on this CPU). */
int mmu_vm_create(struct mmu_vm *vm, enum mmu_kind kind);
/* No vCPU runs any more, all slots deleted by it. Frees every table page. */
void mmu_vm_destroy(struct mmu_vm *vm);
void mmu_vcpu_init(struct mmu_vcpu *v, struct mmu_vm *vm);
void mmu_vcpu_destroy(struct mmu_vcpu *v);

/* Fills the vCPU's cache. Thread context, before each entry; cheap when full. ERR_NOMEM. */
int mmu_vcpu_topup(struct mmu_vcpu *v);

/* The EPT pointer for the VMCS (SDM 3C 25.6.11). */
u64 mmu_eptp(const struct mmu_vm *vm);

/*
 * Before VM entry, interrupts off, on the CPU that will enter: notes that this CPU may cache the
 * root's translations, and flushes what it must no longer hold.
 */
void mmu_enter(struct mmu_vm *vm);

/*
 * After every VM exit, and wherever an entry that mmu_enter announced does not come about: with
 * interrupts still off, before any lock is taken. Until then a flush waits for this CPU.
 */
void mmu_exit(struct mmu_vm *vm);

/*
 * An EPT violation at gpa. Exit context ("real mode").
 * 0: mapped, resume. ERR_AGAIN: lost a race, resume and let it fault again. ERR_TOO_HARD: call
 * mmu_fault_slow in thread context. ERR_NOSLOT: no memslot (or a write to a read-only one):
 * device emulation.
 */
int mmu_fault(struct mmu_vcpu *v, gpa_t gpa, u32 access);
/*
 * Thread context; gets the page, then links it. 0 (resume; where a race was lost the guest faults
 * again), ERR_NOSLOT, ERR_NOMEM.
 */
int mmu_fault_slow(struct mmu_vcpu *v, gpa_t gpa, u32 access);

/*
 * Around whatever takes pages of guest memory away or changes which they are: a fault that began
 * before the end links nothing. Thread context; takes mmu_lock. They nest.
 */
void mmu_invalidate_begin(struct mmu_vm *vm);
void mmu_invalidate_end(struct mmu_vm *vm);

/*
 * Takes the mappings of [gfn, gfn + pages) away; when it returns no CPU holds one of them. Between
 * begin and end. Returns how many there were (in pages). Thread context; takes mmu_lock.
 */
u64 mmu_unmap(struct mmu_vm *vm, gfn_t gfn, u64 pages);

/*
 * Copies by guest physical address, page by page, through the slots; makes pages resident (gpa_zero
 * leaves pages alone that hold nothing). Each page is pinned while it is copied. An aligned 2, 4 or
 * 8 bytes are read or written in one access. Thread context, may sleep, may be under LOCK_DEVICE;
 * not inside a reader of the VM's SRCU. ERR_NOSLOT where any byte has no slot, or a read-only one
 * and is to be written (bytes before it are done); ERR_RANGE (wraps); ERR_NOMEM; others of gmem_pin.
 */
int gpa_read(struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size);
int gpa_write(struct mmu_vm *vm, gpa_t gpa, const void *buf, u64 size);
int gpa_zero(struct mmu_vm *vm, gpa_t gpa, u64 size);
/* Compare-and-exchange of an aligned 1, 2, 4 or 8 byte word of guest memory; *old in and out.
 * 0 done, ERR_AGAIN: it held something else (now in *old). ERR_NOSLOT, ERR_ALIGN, ERR_INVAL (size),
 * ERR_NOMEM. */
int gpa_cmpxchg(struct mmu_vm *vm, gpa_t gpa, u32 size, u64 *old, u64 new_value);

/* Statistics: resident pages of the VM's RAM slots. */
u64 mmu_resident_pages(struct mmu_vm *vm);

#endif
