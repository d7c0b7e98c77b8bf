/* SPDX-License-Identifier: MIT */
/*
 * Page-modification logging (SDM 3C 29.3.6): while the MMU asks for it (mmu_uses_pml) the CPU notes
 * each page whose dirty bit it sets in a buffer of the vCPU's. The buffer is emptied into the MMU's
 * dirty log at every exit, before the vCPU counts as out of the guest: so it holds something only
 * while the vCPU runs, and whoever wants a complete log makes the vCPUs leave the guest once.
 */
#ifndef VMX_PML_H
#define VMX_PML_H

#include "kernel/base/list.h"
#include "kernel/base/types.h"

struct vmx_vcpu;

struct vcpu_pml {
	/* set once */
	u64 *buffer; /* a frame; NULL: this CPU keeps no such log */
	/* own thread */
	bool on;
	/* atomic: stays in the guest that are over, and what they noted is in the log */
	u64 left;
	/* pml_lock */
	struct list link;
	u64 waited_for;
};

void pml_init(void); /* once, before the first vCPU */

/*
 * Thread context; takes LOCK_PML. Between them the vCPU's buffer counts for its mmu_vm's log. Where
 * the CPU has no PML they do nothing. ERR_NOMEM.
 */
int pml_create(struct vmx_vcpu *v);
void pml_destroy(struct vmx_vcpu *v);

/*
 * Interrupts off, the VMCS current: between mmu_enter and the entry; right after the exit; and, if
 * that was called, when the vCPU counts as out of the guest (stay.h).
 */
void pml_before_entry(struct vmx_vcpu *v);
void pml_empty(struct vmx_vcpu *v);
void pml_left(struct vmx_vcpu *v);

#endif
