/* SPDX-License-Identifier: MIT */
/*
 * Small machines for the self-tests of vmx/: one vCPU, a page of code that ends at 4 GiB
 * (selftest_vmx_guest.S) and a few pages at address 0. The calling thread runs the vCPU.
 */
#ifndef KERNEL_SELFTEST_VMX_H
#define KERNEL_SELFTEST_VMX_H

#include "kernel/selftest_private.h"
#include "vmx/vmx.h"

#define MACHINE_CODE	  0xfffff000ull /* gpa of the page of code */
#define MACHINE_LOW_PAGES 8

extern const u8 vmx_guest_page[], vmx_guest_start[], vmx_guest_write[], vmx_guest_read[],
	vmx_guest_loop[], vmx_guest_triple[], vmx_guest_pae[], vmx_guest_long[], vmx_guest_sweep[],
	vmx_guest_storm[], vmx_guest_protected[], vmx_guest_fault[], vmx_guest_call[];

struct machine {
	struct selftest *t;
	struct mmu_vm mmu;
	bool mmu_made;
	struct gmem *code, *low;
	struct mmu_vcpu mmu_vcpu;
	struct vmx_vcpu *v;
};

/*
 * false, with a note: there is no VMX here, or none that runs this machine, which has EPT and no
 * real-mode area; or VMX does not come on, which is a failure.
 */
bool selftest_have_vmx(struct selftest *t);

/* What failed is a failure of the test; unmake in any case. low: with memory at 0. */
bool machine_make(struct selftest *t, struct machine *m, const struct vmx_start *start, bool low);
void machine_unmake(struct machine *m);

/* The thread becomes the vCPU's; and is its own again. */
void machine_attach(struct machine *m);
void machine_detach(struct machine *m);

/* Attached. Runs on through what preemption causes. */
struct vmx_exit machine_run(struct machine *m);
void machine_expect_halt(struct machine *m);

#endif
