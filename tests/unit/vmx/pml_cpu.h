/* SPDX-License-Identifier: MIT */
/*
 * For tests of vmx/pml.c: a VM whose vCPUs write to pages, the CPU that notes them in the vCPU's buffer,
 * and the MMU that asks for the log.
 */
#ifndef TESTS_UNIT_VMX_PML_CPU_H
#define TESTS_UNIT_VMX_PML_CPU_H

#include "vmx/vcpu.h"

#define PAGES	    4096u
#define BUFFER	    512u /* pages that a buffer notes */
#define VCPUS	    3
#define PLAIN_PROC2 0x80000082u

extern struct mmu_vm vm;
extern struct vmx_vcpu vcpus[VCPUS];
extern u32 marks[PAGES]; /* atomic; the MMU's log: how often each was entered */
extern bool wanted;	 /* atomic: mmu_uses_pml */

int pml_setup(void **state); /* vCPU n is CPU n + 1's; pml_create is the test's */
int pml_teardown(void **state);

/* A page's dirty bit is set. false: the log is full, and the write does not happen. */
bool cpu_writes(struct vmx_vcpu *v, u64 page);

/* As run.c does it. */
void goes_in(struct vmx_vcpu *v);
void comes_out(struct vmx_vcpu *v);

#endif
