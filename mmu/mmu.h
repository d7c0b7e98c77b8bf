/* SPDX-License-Identifier: MIT */
/*
 * The MMU façade: one VM's second-level translation, EPT or shadow, and access to guest memory by
 * its addresses. Contexts are stated at each function; locks are in docs/locking.md, and how the
 * parts work together is in docs/mmu.md.
 */
#ifndef MMU_MMU_H
#define MMU_MMU_H

#include "kernel/base/addr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/memslot.h"
#include "mmu/rmap.h"
#include "mmu/stats.h"
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
	bool pml;
	bool large_nx; /* nothing may be executed from a mapping of 2 MiB (vmx/errata.h) */
	u32 maxphyaddr;
};
void mmu_init(const struct mmu_hw *hw); /* once, before the first VM */
/* A VM of MMU_AUTO has it; else it has shadow paging. Any context, after mmu_init. */
bool mmu_has_ept(void);

/* A vCPU's part of shadow paging (mmu/shadow.h). */
struct shadow_page;
#define SHADOW_ROOTS  4
#define SHADOW_SPARES 5 /* a load makes 4 pages at most, a fault fewer */
struct shadow_vcpu {
	u32 root_count; /* 1: 4-level paging; 4: entries of pdpt; 0: none are loaded */
	struct shadow_page *root[SHADOW_ROOTS];
	u64 *pdpt;
	u32 spare_count;
	struct shadow_page *spare[SHADOW_SPARES];
	/* faults one after the other, at one address, for what the tables gave already */
	u64 refused_gva;
	u32 refused;
	/* how often the guest was left to run the instruction that it is at (guest_regs_digest) */
	u32 let_write;
	u64 let_write_digest;
};

/* What a vCPU's faults need, filled in thread context, used in exit context. */
#define MMU_CACHE_MAX 8
/* A page that a vCPU's instructions or page tables were read from (fetch.c). */
#define FETCH_PAGES   8
#define FETCH_NO_PAGE GFN(~0ull)

struct fetch_page {
	gfn_t gfn;
	u64 slots;	     /* generation of the array that says what the gfn shows */
	const u64 *sequence; /* of its object; while it is `sample` the page is where it was */
	u64 sample;
	const u64 *words;
};

struct mmu_vcpu {
	struct mmu_vm *vm;
	/* own thread */
	u32 cache_count;
	void *cache[MMU_CACHE_MAX]; /* pages for tables */
	struct rmap_cache rmaps;
	struct shadow_vcpu shadow;
	u32 last_slot; /* index of the slot that served the last lookup */
	struct fetch_page fetched[FETCH_PAGES];
	struct mmu_stats stats; /* read by others */
	struct list link;	/* vm->vcpus_lock */
};

/* A guest memory object that slots of the VM show: how mem/ tells the VM what it takes away. */
struct mmu_object;
struct page_table_format;

struct mmu_vm {
	/* set once */
	enum mmu_kind kind;
	const struct page_table_format *format;
	void *root; /* top-level table, direct map; with shadow paging a vCPU has its own */
	struct shadow *shadow; /* NULL with EPT */
	u32 fault_around;      /* pages, a power of two; 1: none */

	struct mutex slots_lock;
	struct rwsem mem_sem;
	struct spinlock mmu_lock; /* tables that are taken out */
	struct srcu srcu;
	/* SRCU; written under slots_lock */
	struct memslots *slots;
	/* slots_lock; the numbers of slots are read without */
	struct list slot_watchers;
	struct list objects;
	u32 logged_slots;  /* with MEMSLOT_LOG_DIRTY */
	u32 private_slots; /* with MEMSLOT_PRIVATE */
	struct memslot_watcher pins_watcher;
	/* pins_lock: pages that Weir writes in any context (gpa_pin.h) */
	struct mutex pins_lock;
	struct list pins;
	/* atomic: that of the array published last; who waits for the next is in slots_wait */
	u64 slots_generation;
	struct wait_queue slots_wait;
	/*
	 * vmx/'s, set before any vCPU runs: enters in the dirty log what the CPUs keep in buffers
	 * of their own (PML). Thread context. NULL: they keep none.
	 */
	void (*drain_dirty)(struct mmu_vm *vm);
	struct mmu_stats stats; /* atomic, each number by itself; vCPUs have their own */
	struct spinlock vcpus_lock;
	struct list vcpus;
	/* atomic: CPUs that may hold translations of the root (set by mmu_enter_flush) */
	struct cpu_set cpus;
	/* Each CPU flushes before its next entry when its own count lags behind this one. */
	u64 flush_generation;
	u64 flushed_generation[CPU_MAX];
	/* atomic, set and cleared under mmu_lock: a flush is owed (mmu_owe_flush) */
	bool flush_owed;
	bool in_guest[CPU_MAX]; /* between mmu_enter and mmu_exit */
};

/* Thread context. ERR_NOMEM, ERR_NOTSUP (the kind is not to be had on this CPU). */
int mmu_vm_create(struct mmu_vm *vm, enum mmu_kind kind);
/*
 * No vCPU is left; deletes all slots and frees every table page. Thread context, sleeps, no lock held:
 * takes slots_lock, then waits for the callbacks of SRCU and RCU, then takes mem_sem for writing.
 */
void mmu_vm_destroy(struct mmu_vm *vm);
/*
 * Thread context; vcpus_lock. destroy, once the vCPU runs no more, frees what it has; with shadow
 * paging mmu_lock before.
 */
void mmu_vcpu_init(struct mmu_vcpu *v, struct mmu_vm *vm);
void mmu_vcpu_destroy(struct mmu_vcpu *v);

/* Fills the vCPU's cache, for a fault in thread context; cheap when full. ERR_NOMEM. */
int mmu_vcpu_topup(struct mmu_vcpu *v);

/* The EPT pointer for the VMCS (SDM 3C 25.6.11). */
u64 mmu_eptp(const struct mmu_vm *vm);

/*
 * Before VM entry, interrupts off, on the CPU that will enter: notes that this CPU may cache the
 * root's translations, and flushes what it must no longer hold (tlb.c). A full barrier.
 */
void mmu_enter_flush(struct mmu_vm *vm); /* the rare part of it */
static inline void mmu_enter(struct mmu_vm *vm)
{
	u64 cpu = cpu_index(), wanted;

	ASSERT(!irq_enabled());
	ASSERT(!__atomic_load_n(&vm->in_guest[cpu], __ATOMIC_RELAXED));
	/* An exchange, for its barrier. */
	(void)__atomic_exchange_n(&vm->in_guest[cpu], true, __ATOMIC_SEQ_CST);
	wanted = __atomic_load_n(&vm->flush_generation, __ATOMIC_SEQ_CST);
	/* Only this CPU writes its own. */
	if (unlikely(vm->flushed_generation[cpu] != wanted))
		mmu_enter_flush(vm);
}

/*
 * After every VM exit, and wherever an entry that mmu_enter announced does not come about: with
 * interrupts still off, before any lock is taken. Until then a flush waits for this CPU.
 */
static inline void mmu_exit(struct mmu_vm *vm)
{
	__atomic_store_n(&vm->in_guest[cpu_index()], false, __ATOMIC_RELEASE);
}

/*
 * An EPT violation at gpa. Exit context ("real mode").
 * 0: mapped, resume. ERR_AGAIN: lost a race, resume and let it fault again. ERR_TOO_HARD: call
 * mmu_fault_slow in thread context. ERR_STORED: likewise, but for a guest that overwrites all of the
 * page, which is in no frame (gpa_fill_stored). ERR_NOSLOT: no memslot (or a write to a read-only one):
 * device emulation. ERR_PERM: a write to a page that the guest itself protected.
 */
int mmu_fault(struct mmu_vcpu *v, gpa_t gpa, u32 access);
/* One that is known to be a device's was answered without: it counts like the others. */
static inline void mmu_count_mmio(struct mmu_vcpu *v)
{
	v->stats.faults++;
	v->stats.faults_mmio++;
}
/*
 * Thread context, outside a reader; mem_sem for reading. Gets the page, then links it. 0 (resume;
 * where a race was lost the guest faults again), ERR_NOSLOT, ERR_PERM, ERR_NOMEM; others of
 * gmem_get_page: ERR_IO and ERR_CORRUPT where the page is lost.
 */
int mmu_fault_slow(struct mmu_vcpu *v, gpa_t gpa, u32 access);

/*
 * Takes the mappings of [gfn, gfn + pages) away; when it returns no CPU holds one that was there
 * when it was called. Contents stay, so the next touch maps it again: who means to change them
 * goes by mem/gmem.h. Returns how many there were (in 4 KiB pages). Thread context.
 */
u64 mmu_unmap(struct mmu_vm *vm, gfn_t gfn, u64 pages);

/*
 * Were the pages used since the last look? Counts those that were, and forgets it (mmu_age).
 * Where the CPU keeps no accessed bits aging takes the mappings away. Thread context.
 */
u64 mmu_age(struct mmu_vm *vm, gfn_t gfn, u64 pages);
bool mmu_test_young(struct mmu_vm *vm, gfn_t gfn, u64 pages);

/*
 * The log of a slot with MEMSLOT_LOG_DIRTY: copies out a bit for each page that was written since
 * the last time, by a guest or by Weir, and begins anew. `words` of 64 pages each, at least those
 * of the slot. Returns 0, ERR_NOENT, ERR_INVAL (no log is kept), ERR_RANGE (too few words).
 * Thread context, sleeps, interrupts on. With PML first LOCK_PML, under which it spins until each
 * vCPU has left the guest once; then slots_lock.
 */
int mmu_dirty_get_and_clear(struct mmu_vm *vm, u32 id, u64 *bitmap, u64 words);
/* A page was written: by the CPU (PML) or by Weir. Exit and thread context. */
void mmu_dirty_mark(struct mmu_vm *vm, gfn_t gfn);
/*
 * The CPU is to log what the guest writes (SDM 3C 29.3.6). Asked between mmu_enter and VM entry: a
 * change makes every CPU leave the guest first.
 */
bool mmu_uses_pml(const struct mmu_vm *vm);
/* Aging takes the mappings of pages, for nothing else says which are used. Any context. */
bool mmu_age_unmaps(const struct mmu_vm *vm);

/*
 * For the guest's own calls (docs/hypercalls.md): ranges of at most MMU_RANGE_MAX pages. *done:
 * pages that were finished, also on error. Thread context, outside a reader; get takes mem_sem for
 * reading. Setting protection waits for a grace period: no lock above slots_lock.
 * ERR_NOSLOT (a device's address), ERR_AGAIN (an INVALID slot, or lost too many races), ERR_RANGE
 * (empty, too long, wraps); and
 * get: ERR_NOSPC (the bound on pins), ERR_PERM (write, to a page that is protected or read-only),
 *      ERR_NOMEM; others of gmem_get_page: ERR_IO and ERR_CORRUPT where the page is lost
 * drop: ERR_BUSY (pinned), ERR_ALIGN (a part of a 2 MiB page), ERR_PERM (protected, read-only);
 *       others of gmem_drop_range
 * protect: ERR_NOMEM, also where less than the min watermark is free; ERR_BUSY (Weir writes words
 *          there: gpa_pin.h)
 * A page that was not got may have been made resident and mapped, but is not pinned by the call
 * unless another vCPU changed it meanwhile. Unpinning one that is not pinned is no error.
 */
#define MMU_RANGE_MAX 512
bool mmu_range_valid(gfn_t gfn, u64 pages); /* not ERR_RANGE. Any context */
int mmu_range_get(struct mmu_vcpu *v, gfn_t gfn, u64 pages, bool write, bool pin, u64 *done);
int mmu_range_unpin(struct mmu_vm *vm, gfn_t gfn, u64 pages, u64 *done);
int mmu_range_drop(struct mmu_vm *vm, gfn_t gfn, u64 pages, u64 *done);
int mmu_range_protect(struct mmu_vm *vm, gfn_t gfn, u64 pages, bool on, u64 *done);

struct mmu_page_state {
	enum gmem_state state;
	u32 order;				       /* of the object's pages */
	bool mapped, large, writable, accessed, dirty; /* of its spte, if it has one */
	bool pinned, protected, readonly;
	bool stays; /* pinned by whomever, or another's frame: drop would be ERR_BUSY now */
};
/* Thread context; with shadow paging the rmap word's lock. ERR_NOSLOT; ERR_AGAIN: an INVALID slot. */
int mmu_page_state(struct mmu_vm *vm, gfn_t gfn, struct mmu_page_state *out);

/*
 * Walks all tables and all reverse maps and compares both ways. NULL, or what does not agree (the
 * first find; the text is static). May run beside guests. Thread context; takes mmu_lock, for
 * 2 MiB at a time: debug builds and tests.
 */
const char *mmu_audit(struct mmu_vm *vm);

/*
 * Copies by guest physical address, page by page, through the slots; makes pages resident (gpa_zero
 * leaves pages alone that hold nothing). Each page is held while it is copied. An aligned 2, 4 or
 * 8 bytes are read or written in one access. Thread context, may sleep, may be under LOCK_DEVICE;
 * not inside a reader of the VM's SRCU. ERR_NOSLOT where any byte has no slot, or a read-only one
 * and is to be written, ERR_PERM where a page that the guest protected is to be (bytes before it are
 * done); ERR_RANGE (wraps); ERR_NOMEM; others of gmem_hold.
 */
int gpa_read(struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size);
int gpa_write(struct mmu_vm *vm, gpa_t gpa, const void *buf, u64 size);
int gpa_zero(struct mmu_vm *vm, gpa_t gpa, u64 size);
/*
 * This word all over the page at gpa, if what it holds is elsewhere than in a frame; else ERR_STORED, and
 * nothing is done, as where there is no frame for it. ERR_ALIGN: gpa is no page's start.
 */
int gpa_fill_stored(struct mmu_vm *vm, gpa_t gpa, u64 word);
/* Compare-and-exchange of 1, 2, 4 or 8 bytes of a page of guest memory; *old in and out.
 * 0 done, ERR_AGAIN: it held something else (now in *old). ERR_NOSLOT, ERR_PERM, ERR_ALIGN: over
 * a page's end; ERR_INVAL (size), ERR_NOMEM; others of gmem_hold. Context as above. */
int gpa_cmpxchg(struct mmu_vm *vm, gpa_t gpa, u32 size, u64 *old, u64 new_value);
/* The same of 16 bytes, the low half first. ERR_ALIGN: they are not aligned; no ERR_INVAL. */
int gpa_cmpxchg16(struct mmu_vm *vm, gpa_t gpa, u64 old[2], const u64 new_value[2]);

/*
 * As gpa_cmpxchg, by a walk of the guest's tables, which marks an entry accessed or dirty: what the
 * entry allows stays as it is.
 */
int gpa_set_marks(struct mmu_vm *vm, gpa_t gpa, u32 size, u64 *old, u64 new_value);

/*
 * A write to the page would be ERR_PERM, for the guest protected it. For who has to know before the
 * write, because what comes first cannot be undone. Context as above.
 */
bool mmu_is_protected(struct mmu_vm *vm, gpa_t gpa);

/* Resident pages of the VM's RAM slots. Thread context. */
u64 mmu_resident_pages(struct mmu_vm *vm);

#endif
