/* SPDX-License-Identifier: MIT */
/*
 * What every guest is offered, worked out once from the CPUID policy so that CPUID, control
 * registers and MSRs agree. Written by vmx_probe, read-only after.
 */
#ifndef VMX_FEATURES_H
#define VMX_FEATURES_H

#include "vmx/cpuid.h"

struct guest_features {
	u64 cr4;	/* bits a guest may set */
	u64 efer;	/* likewise */
	u64 xcr0;	/* 0: no XSAVE */
	u32 xsave_size; /* bytes of state that Weir keeps for a vCPU */
	u32 maxphyaddr;
	bool rdtscp, invpcid, no_xsavec;
	bool pages_1g; /* in a page table's PDPTE PS is not reserved */
	bool spec_ctrl, ibpb, arch_capabilities;
	u64 spec_ctrl_bits;
	u64 arch_capabilities_value;
	u64 microcode;
};

extern struct guest_features guest_features;

void features_init(void); /* boot CPU, controls chosen */
u32 features_maxphyaddr(void);

/* CR4 bits that a guest may set, given what it reads by CPUID. Pure. */
u64 features_cr4(const struct cpuid_regs *leaf1, const struct cpuid_regs *leaf7);

#endif
