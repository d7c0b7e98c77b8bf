/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/harden.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"

#define CPUID_EXTENDED		  0x80000000
#define CPUID_EXTENDED_FEATURES	  0x80000001
#define EXTENDED_EDX_NX		  BIT(20)
#define CPUID_BASIC_FEATURES	  1
#define FEATURES_EDX_MCE	  BIT(7)
#define CPUID_STRUCTURED_FEATURES 7
#define FEATURES_EBX_SMEP	  BIT(7)
#define FEATURES_EBX_SMAP	  BIT(20)
#define FEATURES_ECX_UMIP	  BIT(2)
#define VENDOR_EBX_INTEL	  0x756e6547 /* "Genu" */
#define MISC_ENABLE_LIMIT_CPUID	  BIT(22)
#define MISC_ENABLE_XD_DISABLE	  BIT(34)

static bool nx_was_hidden;

void harden_show_cpuid(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64))
{
	u64 misc;

	if (cpuid(0, 0).ebx == VENDOR_EBX_INTEL && rdmsr_safe(MSR_IA32_MISC_ENABLE, &misc) == 0 &&
	    (misc & MISC_ENABLE_LIMIT_CPUID))
		(void)wrmsr_safe(MSR_IA32_MISC_ENABLE, misc & ~MISC_ENABLE_LIMIT_CPUID);
}

static bool cpuid_has_nx(void)
{
	return cpuid(CPUID_EXTENDED, 0).eax >= CPUID_EXTENDED_FEATURES &&
	       (cpuid(CPUID_EXTENDED_FEATURES, 0).edx & EXTENDED_EDX_NX);
}

int harden_enable_nx(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64))
{
	u64 misc;

	if (!cpuid_has_nx() && cpuid(0, 0).ebx == VENDOR_EBX_INTEL &&
	    rdmsr_safe(MSR_IA32_MISC_ENABLE, &misc) == 0 && (misc & MISC_ENABLE_XD_DISABLE)) {
		/* Whether it helped is read from CPUID again. */
		(void)wrmsr_safe(MSR_IA32_MISC_ENABLE, misc & ~MISC_ENABLE_XD_DISABLE);
		nx_was_hidden = true;
	}
	if (!cpuid_has_nx())
		return ERR_NOTSUP;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	return 0;
}

bool harden_nx_was_hidden(void)
{
	return nx_was_hidden;
}

void cpu_harden(void)
{
	u64 cr4 = read_cr4() | CR4_OSFXSR; /* for mem/vector.h; long mode has it */

	write_cr0((read_cr0() | CR0_WP) & ~(CR0_TS | CR0_EM));
	/* Without it a machine check resets the computer, and nobody learns why. */
	if (cpuid(CPUID_BASIC_FEATURES, 0).edx & FEATURES_EDX_MCE)
		cr4 |= CR4_MCE;
	if (cpuid(0, 0).eax >= CPUID_STRUCTURED_FEATURES) {
		struct cpuid_regs r = cpuid(CPUID_STRUCTURED_FEATURES, 0);

		if (r.ebx & FEATURES_EBX_SMEP)
			cr4 |= CR4_SMEP;
		if (r.ebx & FEATURES_EBX_SMAP)
			cr4 |= CR4_SMAP;
		if (r.ecx & FEATURES_ECX_UMIP)
			cr4 |= CR4_UMIP;
	}
	write_cr4(cr4);
}
