/* SPDX-License-Identifier: MIT */
/*
 * The guest's own page tables, walked in software for all its paging modes (SDM 3A chapter 4),
 * with permissions, reserved bits and A/D updates by compare-and-exchange on the live entry.
 * Thread context: reads of guest memory may sleep.
 */
#ifndef MMU_WALK_H
#define MMU_WALK_H

#include "mmu/mmu.h"

/* The control state that decides a walk. A snapshot of the vCPU's registers. */
struct guest_paging {
	u64 cr0, cr3, cr4, efer;
	u64 rflags; /* AC, for SMAP */
	u32 cpl;
	u32 maxphyaddr; /* the guest's */
	u64 pdpte[4];	/* PAE: as loaded at MOV CR3 (SDM 3A 4.4.1) */
	bool no_1g;	/* its CPUID shows no 1 GiB pages: PS in a PDPTE is reserved */
	/* Whose own thread this is: where its tables are is remembered (fetch.h). NULL: nobody's. */
	struct mmu_vcpu *v;
};

#define PAGE_FAULT_P	BIT(0)
#define PAGE_FAULT_WR	BIT(1)
#define PAGE_FAULT_US	BIT(2)
#define PAGE_FAULT_RSVD BIT(3)
#define PAGE_FAULT_ID	BIT(4)

struct walk_result {
	gpa_t gpa;
	u32 error_code; /* of the #PF, when ERR_FAULT */
	u64 page_size;	/* bytes; with paging off PAGE_SIZE */
};

/* access: MMU_READ, MMU_WRITE or MMU_EXEC, plus WALK_* modifiers. */
#define WALK_IMPLICIT_SUPERVISOR BIT(8) /* descriptor-table access: CPL does not count */
#define WALK_NO_AD		 BIT(9) /* a peek (debug, disassembly): do not set A or D */

/*
 * One byte's address. Outside long mode bits 63:32 of gva do not count. 0; ERR_FAULT: #PF with
 * error_code, also where A or D is to be set in a table whose page the guest protected (H_PROTECT);
 * ERR_NOSLOT: a table lies outside guest RAM; ERR_RANGE: not canonical (the instruction gets #GP or
 * #SS); ERR_NOMEM; others of gpa_read: ERR_IO and ERR_CORRUPT where a table's page is lost;
 * ERR_AGAIN: the entries change so fast that A and D cannot be set: run the instruction again.
 */
int guest_walk(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, u32 access,
	       struct walk_result *out);

/*
 * The same, and the entries that the walk went by, the top first, as they are with A and D set; with
 * ERR_FAULT as they were read. With paging off there are none.
 */
#define WALK_LEVELS_MAX 4
struct walk_trace {
	u32 count;
	u32 entry_size; /* bytes */
	/* The last is in memory that cannot be written: its D, which is clear, is as good as set. */
	bool rom_dirty;
	gpa_t where[WALK_LEVELS_MAX];
	u64 entry[WALK_LEVELS_MAX];
};
int guest_walk_trace(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, u32 access,
		     struct walk_result *out, struct walk_trace *trace);

/*
 * Copies across pages; on ERR_FAULT *fault says where and with what code. gva is linear: segment
 * base included. Errors as guest_walk, of the bytes themselves as well.
 * gva_write writes nothing if any page faults, one that the guest protected among them, and sets
 * no D bit.
 */
struct walk_fault {
	gva_t gva;
	u32 error_code;
};
int gva_read(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, void *buf, u64 size,
	     u32 access, struct walk_fault *fault);
int gva_write(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, const void *buf, u64 size,
	      struct walk_fault *fault);

#endif
