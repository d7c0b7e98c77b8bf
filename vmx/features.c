/* SPDX-License-Identifier: MIT */
#include "kernel/base/machine.h"
#include "kernel/base/msr.h"
#include "smp/irq.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/errata.h"
#include "vmx/features.h"
#include "vmx/msr_policy.h"

#define MICROCODE_UNKNOWN  (1ull << 32)
#define MAXPHYADDR_DEFAULT 36u

/*
 * Bits of IA32_ARCH_CAPABILITIES that say "not affected", and stay true in a guest; and RSBA and RRSBA,
 * that returns are predicted otherwise than by the RSB, without which a guest would trust retpolines.
 */
#define ARCH_CAP_IBRS_ALL     BIT(1)
#define ARCH_CAP_RSBA	      BIT(2)
#define ARCH_CAP_SKIP_L1DFL   BIT(3)
#define ARCH_CAP_SSB_NO	      BIT(4)
#define ARCH_CAP_TAA_NO	      BIT(8)
#define ARCH_CAP_SBDR_SSDP_NO BIT(13)
#define ARCH_CAP_FBSDP_NO     BIT(14)
#define ARCH_CAP_PSDP_NO      BIT(15)
#define ARCH_CAP_FB_CLEAR     BIT(17)
#define ARCH_CAP_RRSBA	      BIT(19)
#define ARCH_CAP_BHI_NO	      BIT(20)
#define ARCH_CAP_PBRSB_NO     BIT(24)
#define ARCH_CAP_GDS_NO	      BIT(26)
#define ARCH_CAP_RFDS_NO      BIT(27)
#define ARCH_CAP_RFDS_CLEAR   BIT(28)
#define ARCH_CAP_ITS_NO	      BIT(62)
#define ARCH_CAP_OFFERED                                                                       \
	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA | ARCH_CAP_SSB_NO |              \
	 ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO | ARCH_CAP_SBDR_SSDP_NO | \
	 ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | ARCH_CAP_FB_CLEAR | ARCH_CAP_RRSBA |           \
	 ARCH_CAP_BHI_NO | ARCH_CAP_PBRSB_NO | ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO |            \
	 ARCH_CAP_RFDS_CLEAR | ARCH_CAP_ITS_NO)

struct guest_features guest_features;

u32 features_maxphyaddr(void)
{
	if (cpuid(0x80000000, 0).eax < 0x80000008)
		return MAXPHYADDR_DEFAULT;
	return cpuid(0x80000008, 0).eax & 0xff;
}

u64 features_cr4(const struct cpuid_regs *leaf1, const struct cpuid_regs *leaf7)
{
	/* PAE, MCE, PCE (RDPMC faults anyway) and TSD come with every CPU that has VMX. */
	u64 cr4 = CR4_TSD | CR4_PAE | CR4_MCE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (leaf1->edx & CPUID_1_EDX_VME)
		cr4 |= CR4_VME | CR4_PVI;
	if (leaf1->edx & CPUID_1_EDX_DE)
		cr4 |= CR4_DE;
	if (leaf1->edx & CPUID_1_EDX_PSE)
		cr4 |= CR4_PSE;
	if (leaf1->edx & CPUID_1_EDX_PGE)
		cr4 |= CR4_PGE;
	if (leaf1->ecx & CPUID_1_ECX_PCID)
		cr4 |= CR4_PCIDE;
	if (leaf1->ecx & CPUID_1_ECX_XSAVE)
		cr4 |= CR4_OSXSAVE;
	if (leaf7->ebx & CPUID_7_EBX_FSGSBASE)
		cr4 |= CR4_FSGSBASE;
	if (leaf7->ebx & CPUID_7_EBX_SMEP)
		cr4 |= CR4_SMEP;
	if (leaf7->ebx & CPUID_7_EBX_SMAP)
		cr4 |= CR4_SMAP;
	if (leaf7->ecx & CPUID_7_ECX_UMIP)
		cr4 |= CR4_UMIP;
	return cr4;
}

static void speculation_features(struct guest_features *f, u32 edx)
{
	u64 value;

	f->spec_ctrl = edx & (CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP | CPUID_7_EDX_SSBD);
	f->ibpb = edx & CPUID_7_EDX_IBRS;
	if (edx & CPUID_7_EDX_IBRS)
		f->spec_ctrl_bits |= SPEC_CTRL_IBRS;
	if (edx & CPUID_7_EDX_STIBP)
		f->spec_ctrl_bits |= SPEC_CTRL_STIBP;
	if (edx & CPUID_7_EDX_SSBD)
		f->spec_ctrl_bits |= SPEC_CTRL_SSBD;
	f->arch_capabilities = edx & CPUID_7_EDX_ARCH_CAP;
	if (f->arch_capabilities && !rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &value))
		/* L1D is flushed below: the guest need not do it for guests of its own. */
		f->arch_capabilities_value = (value & ARCH_CAP_OFFERED) | ARCH_CAP_SKIP_L1DFL;
}

void features_init(void)
{
	struct guest_features *f = &guest_features;
	struct cpuid_view view = {.vcpu_count = 1, .misc_enable = MISC_ENABLE_RESET};
	struct cpuid_regs leaf1, leaf7, leaf81, xsave;

	*f = (struct guest_features){
		.xcr0 = cpuid_xcr0_offered(),
		.maxphyaddr = features_maxphyaddr(),
		.rdtscp = vmx_boot_controls.proc2 & PROC2_RDTSCP,
		.invpcid = vmx_boot_controls.proc2 & PROC2_INVPCID,
		.no_xsavec = errata_compacted_xsave(machine_is_bochs()),
	};
	view.rdtscp = f->rdtscp;
	view.invpcid = f->invpcid;
	view.xcr0_offered = f->xcr0;
	cpuid_policy(&view, 1, 0, &leaf1);
	cpuid_policy(&view, 7, 0, &leaf7);
	cpuid_policy(&view, 0x80000001, 0, &leaf81);
	cpuid_policy(&view, 0xd, 0, &xsave);

	f->cr4 = features_cr4(&leaf1, &leaf7);
	f->efer = EFER_SCE | EFER_LME | EFER_LMA;
	if (leaf81.edx & CPUID_81_EDX_NX)
		f->efer |= EFER_NXE;
	f->pages_1g = leaf81.edx & CPUID_81_EDX_1G;
	f->xsave_size = f->xcr0 ? xsave.ecx : 512;
	speculation_features(f, leaf7.edx);
	if (rdmsr_safe(MSR_IA32_BIOS_SIGN_ID, &f->microcode) || !f->microcode)
		f->microcode = MICROCODE_UNKNOWN;
}
