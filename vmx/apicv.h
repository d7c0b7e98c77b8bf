/* SPDX-License-Identifier: MIT */
/*
 * How much of a guest's local APIC the CPU does by itself (SDM 3C chapter 30). Each has what those
 * before it have; vmx_probe chooses the last that the CPU has and the limit allows.
 */
#ifndef VMX_APICV_H
#define VMX_APICV_H

enum vmx_apicv {
	VMX_APICV_OFF,
	VMX_APICV_TPR,	     /* CR8 */
	VMX_APICV_ACCESS,    /* TPR by MMIO; other accesses exit by themselves (APIC-access page) */
	VMX_APICV_REGISTERS, /* most are read without an exit, and written before one; MSRs, too */
	VMX_APICV_FULL,	     /* interrupts are delivered and ended by the CPU, by IRR and ISR */
	VMX_APICV_POSTED,    /* and reach a guest that runs without an exit (vmx/posted.h) */
	/*
	 * As a limit: POSTED or else REGISTERS, for KVM wants both to deliver, too; and no more
	 * than REGISTERS where errata_interrupt_delivery says so.
	 */
	VMX_APICV_ALL,
};

/* Before vmx_probe; all unless told otherwise. */
void vmx_set_apicv(enum vmx_apicv limit);
/* What it came to; after vmx_probe. */
enum vmx_apicv vmx_apicv(void);

#endif
