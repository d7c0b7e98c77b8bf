/* SPDX-License-Identifier: MIT */
/*
 * The APIC-access page (SDM 3C 30.4): a page of Weir's own that a private memslot shows where a PC
 * has its local APICs. An access to it is none to memory: the CPU does it on the virtual-APIC page,
 * or exits and says what it was. One page serves all vCPUs of a VM, and nothing is ever in it.
 *
 * The slot is there from the start, as long as each vCPU's APIC is where it was at power-on. The
 * first that moves, is switched off or goes to x2APIC mode takes the slot away for good, for all:
 * the second-level tables are one for all vCPUs, and for that one there is no page any more. Then
 * an access is an EPT violation, as on CPUs that know no APIC-access page.
 */
#ifndef KERNEL_APIC_PAGE_H
#define KERNEL_APIC_PAGE_H

#include "kernel/vm.h"

/*
 * Thread context, before any vCPU runs, after the MMU was made; the slot's id is the caller's to
 * choose. Nothing where the CPU knows no such page. ERR_NOMEM; what was made is for destroy.
 */
int apic_page_create(struct vm *vm, u32 slot);
void apic_page_destroy(struct vm *vm); /* after the MMU */

static inline bool apic_page_is_there(const struct vm *vm)
{
	return __atomic_load_n(&vm->apic_page.there, __ATOMIC_SEQ_CST);
}

/*
 * Such a WRMSR moves the vCPU's APIC, or changes its mode: it wants apic_page_retire first, as long
 * as the slot is there, and vmx_set_x2apic after. Own thread.
 */
bool apic_base_moves(struct vcpu *v, u32 msr, u64 value);

/* When it returns 0 no CPU has it mapped. Thread context, in no reader. ERR_NOMEM. */
int apic_page_retire(struct vm *vm);

#endif
