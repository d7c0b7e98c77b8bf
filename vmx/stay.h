/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's stay in the guest, as other CPUs see it: whoever kicks it (vmx_vcpu_kick) or waits for what it
 * noted there (pml.c) goes by the order of these steps. Interrupts off, the VMCS current.
 */
#ifndef VMX_STAY_H
#define VMX_STAY_H

#include "vmx/vcpu.h"

/* Before the entry; `kicked` is looked at after it. */
static inline void stay_begin(struct vmx_vcpu *v, struct mmu_vm *mmu)
{
	__atomic_store_n(&v->in_guest, true, __ATOMIC_RELAXED);
	mmu_enter(mmu); /* a full barrier: see vmx_vcpu_kick */
}

/* Right after the exit, or where the entry does not come about. */
static inline void stay_end(struct vmx_vcpu *v)
{
	mmu_exit(v->config.mmu);
	if (likely(!v->pml.on)) {
		__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
		return;
	}
	pml_empty(v); /* before it counts as out of the guest: see pml.h */
	__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
	pml_left(v);
}

#endif
