/* SPDX-License-Identifier: MIT */
/*
 * What a guest reads by CPUID (SDM 2A, CPUID): a table of the feature bits that pass, and leaves
 * that are made up to fit the virtual machine. Only bits in the table pass, so what a later CPU
 * brings stays hidden until someone looked at it. Pure but for the host's own CPUID; any context.
 */
#ifndef VMX_CPUID_H
#define VMX_CPUID_H

#include "kernel/base/x86.h"

#define CPUID_PARAVIRT_FIRST 0x40000000u
#define CPUID_PARAVIRT_LAST  0x4fffffffu

/* Bits that others in vmx/ ask for. */
#define CPUID_1_ECX_VMX	      BIT(5)
#define CPUID_1_ECX_PCID      BIT(17)
#define CPUID_1_ECX_XSAVE     BIT(26)
#define CPUID_1_ECX_OSXSAVE   BIT(27)
#define CPUID_1_EDX_VME	      BIT(1)
#define CPUID_1_EDX_DE	      BIT(2)
#define CPUID_1_EDX_PSE	      BIT(3)
#define CPUID_1_EDX_PGE	      BIT(13)
#define CPUID_7_EBX_FSGSBASE  BIT(0)
#define CPUID_7_EBX_SMEP      BIT(7)
#define CPUID_7_EBX_ERMS      BIT(9)
#define CPUID_7_EBX_INVPCID   BIT(10)
#define CPUID_7_EBX_SMAP      BIT(20)
#define CPUID_7_ECX_UMIP      BIT(2)
#define CPUID_7_ECX_RDPID     BIT(22)
#define CPUID_7_EDX_FSRM      BIT(4)
#define CPUID_7_EDX_MD_CLEAR  BIT(10)
#define CPUID_7_EDX_IBRS      BIT(26)
#define CPUID_7_EDX_STIBP     BIT(27)
#define CPUID_7_EDX_L1D_FLUSH BIT(28)
#define CPUID_7_EDX_ARCH_CAP  BIT(29)
#define CPUID_7_EDX_SSBD      BIT(31)
#define CPUID_81_EDX_NX	      BIT(20)
#define CPUID_81_EDX_1G	      BIT(26)
#define CPUID_81_EDX_RDTSCP   BIT(27)

/* What of the virtual machine decides the answer. */
struct cpuid_view {
	bool rdtscp, invpcid; /* the VMX controls that let these run */
	bool no_pcid;	      /* shadow paging knows none */
	bool no_xsavec;	      /* errata_compacted_xsave */
	u64 xcr0_offered;     /* 0: no XSAVE */
	u64 tsc_khz;
	bool tsc_stable; /* clock_tsc_is_stable */
	u32 apic_id, vcpu_count;
	/* now */
	u64 cr4, xcr0, misc_enable;
};

/* Not for the paravirtual range. */
void cpuid_policy(const struct cpuid_view *v, u32 leaf, u32 subleaf, struct cpuid_regs *out);

/* The XSAVE components that a guest may have on this CPU: a set that XSETBV's rules allow. */
u64 cpuid_xcr0_offered(void);

#endif
