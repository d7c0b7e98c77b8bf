/* SPDX-License-Identifier: MIT */
/*
 * Shadow paging, for VMs without EPT: the CPU walks tables that Weir makes out of the guest's own,
 * from the guest's linear addresses straight to frames. What the façade (mmu.h) does by gfn is the
 * same in both kinds; here is what only shadow paging asks of vmx/ and the emulator.
 *
 * All in thread context, interrupts on, outside any reader of the VM's SRCU, unless they say
 * otherwise; takes mmu_lock, and mmu_shadow_fault mem_sem for reading.
 */
#ifndef MMU_SHADOW_H
#define MMU_SHADOW_H

#include "mmu/mmu.h"
#include "mmu/regs.h"
#include "mmu/walk.h"

/*
 * So many shadow pages, of up to two frames each, a VM may have however small it is, and however
 * little memory there is: of these it can run. Any context.
 */
#define SHADOW_LEAST	  128u
#define SHADOW_LEAST_VCPU 16u /* and for each vCPU: its roots, and the way to what it touches */
static inline u32 mmu_shadow_least(u32 vcpus)
{
	return SHADOW_LEAST + vcpus * SHADOW_LEAST_VCPU;
}

/*
 * The tables for this CR3 (PDPTEs) in this mode become the vCPU's: before its first entry, and after
 * each change of CR3, of CR0's PG and WP, of CR4's PSE, PAE, SMEP and SMAP, of EFER's LMA and NXE,
 * and whenever else the guest flushes what it may have cached: they are in step with its own then.
 * The caller makes this CPU forget the vCPU's translations. ERR_NOMEM: nothing has changed.
 */
int mmu_shadow_load(struct mmu_vcpu *v, const struct guest_paging *p);

/*
 * INVLPG of that address, in bits 31:0 outside long mode. Any context but interrupt. Whether this
 * CPU has to forget what it knows of the address under the vCPU's VPID; no other has.
 */
bool mmu_shadow_invlpg(struct mmu_vcpu *v, gva_t gva);

/* For the VMCS: what the CPU has as CR3. It changes by mmu_shadow_load and mmu_shadow_fault. */
u64 mmu_shadow_cr3(const struct mmu_vcpu *v);

struct shadow_answer {
	gpa_t gpa;	/* whenever the guest's own tables translate the address */
	u32 error_code; /* ERR_FAULT */
};

/* A write to a page that is one of the guest's tables: run the instruction in software. */
#define SHADOW_EMULATE 1

/*
 * A page fault at gva that the CPU told of; access as for guest_walk. 0: mapped, or a race was lost:
 * resume. ERR_FAULT: it is the guest's own. SHADOW_EMULATE. ERR_NOSLOT: a device is at gpa, or a
 * write to a read-only slot. ERR_PERM: a write to a page that the guest protected. ERR_NOENT: one of
 * the guest's tables is not in RAM. ERR_RANGE: gva is not canonical. ERR_NOMEM; others of
 * gmem_get_page: ERR_IO and ERR_CORRUPT where the page, or a table's, is lost.
 */
int mmu_shadow_fault(struct mmu_vcpu *v, const struct guest_paging *p, gva_t gva, u32 access,
		     struct shadow_answer *out);

/*
 * What is to write there is not run in software: the page is no table any more, so far as Weir knows,
 * and until it is met as one again the guest writes it itself. 0: resume. ERR_NOSLOT: no RAM is there.
 * ERR_NOTSUP: that has been tried so often in vain that it leads nowhere. The page is a table on the
 * way to itself, for one, or two are to each other; or the guest's supervisor, with CR0.WP clear,
 * writes to what SMAP keeps it from reading. digest: guest_regs_digest, by which the guest is seen to
 * get on.
 */
int mmu_shadow_let_write(struct mmu_vcpu *v, gfn_t gfn, u64 digest);

/*
 * A fault of the guest was served while its registers were these: other ones than when it was let
 * write last, so it got on. An event that each time is delivered to a table finds them the same. The
 * vCPU's thread.
 */
static inline void mmu_shadow_got_on(struct mmu_vcpu *v, const struct guest_regs *r)
{
	if (v->shadow.let_write && v->shadow.let_write_digest != guest_regs_digest(r))
		v->shadow.let_write = 0;
}

/*
 * A write there by the guest is a SHADOW_EMULATE: the page is one of its tables, so far as Weir
 * knows.
 */
bool mmu_shadow_is_table(struct mmu_vm *vm, gfn_t gfn);

#endif
