/* SPDX-License-Identifier: MIT */
/*
 * What keeps a guest from reading Weir or another guest through what a CPU does speculatively.
 * Each step is taken only where the CPU says that it has the cure and needs it.
 */
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "smp/irq.h"
#include "smp/topology.h"
#include "vmx/cpuid.h"
#include "vmx/errata.h"
#include "vmx/vcpu.h"

#define ARCH_CAP_IBRS_ALL   BIT(1)
#define ARCH_CAP_SKIP_L1DFL BIT(3)
#define ARCH_CAP_FBSDP_NO   BIT(14)
#define ARCH_CAP_BHI_NO	    BIT(20)
#define ARCH_CAP_RFDS_CLEAR BIT(28)
#define FLUSH_CMD_L1D	    BIT(0)
#define CPUID_72_EDX_BHI    BIT(4)

static bool wanted = true; /* boot option */
static struct {
	bool stuff_rsb;	    /* return addresses of the guest's are not used by Weir's returns */
	bool clear_buffers; /* VERW before entry: MDS, MMIO stale data, RFDS */
	bool ibpb;	    /* branch predictions of another vCPU's are dropped */
	bool flush_l1d;	    /* L1TF */
	bool spec_ctrl;	    /* the guest's own setting is switched; not a matter of choice */
	bool renew_ibrs;    /* it counts from when it is written, after each exit */
	u64 host_spec_ctrl; /* IBRS: the guest's branches do not steer Weir's */
	/* Nor does their history. It holds in the guest, too: that costs no switch. */
	u64 kept_spec_ctrl;
} use;

void vmx_set_mitigations(bool on)
{
	wanted = on;
}

static u32 leaf_7_edx(void)
{
	return cpuid(0, 0).eax >= 7 ? cpuid(7, 0).edx : 0;
}

static u64 arch_capabilities(void)
{
	u64 arch;

	if (!(leaf_7_edx() & CPUID_7_EDX_ARCH_CAP) || rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &arch))
		return 0;
	return arch;
}

static bool has_bhi_control(void)
{
	return cpuid(0, 0).eax >= 7 && cpuid(7, 0).eax >= 2 && (cpuid(7, 2).edx & CPUID_72_EDX_BHI);
}

bool mitigations_large_nx(void)
{
	bool needed = errata_page_size_change(cpuid(1, 0).eax, arch_capabilities());

	if (needed)
		log_info("VMX: mitigations %s: on this CPU a guest may stop the machine by code in "
			 "pages of 2 MiB: it is mapped by %s",
			 wanted ? "on" : "off", wanted ? "4 KiB" : "2 MiB all the same");
	return needed && wanted;
}

/* What no step on entry cures. */
static void warn(u64 arch, u32 edx)
{
	u32 signature = cpuid(1, 0).eax;

	if (errata_leaks_to_sibling(signature, arch) && topology_threads_started())
		log_warn(
			"VMX: two threads of a core run, and on this CPU a guest may read what the "
			"other one works on (L1TF, MDS): turn Hyper-Threading off in the firmware "
			"setup where guests do not trust each other");
	if (errata_l1tf(signature, arch) && !(arch & ARCH_CAP_SKIP_L1DFL) &&
	    !(edx & CPUID_7_EDX_L1D_FLUSH))
		log_warn("VMX: on this CPU a guest may read the L1 cache (L1TF), and its microcode "
			 "cannot flush that: update the firmware");
	if (errata_mds(signature, arch) && !(edx & CPUID_7_EDX_MD_CLEAR))
		log_warn("VMX: on this CPU a guest may read what Weir and other guests left in its "
			 "buffers (MDS), and its microcode cannot clear them: update the firmware");
	if (errata_branch_targets(signature) && !(edx & CPUID_7_EDX_IBRS))
		log_warn("VMX: on this CPU a guest may steer Weir's branches (Spectre v2), and its "
			 "microcode has no IBRS to prevent that: update the firmware");
	/* IBRS that is written at each exit, as older CPUs want it, prevents this as well. */
	if ((arch & ARCH_CAP_IBRS_ALL) && !(arch & ARCH_CAP_BHI_NO) && !has_bhi_control())
		log_warn("VMX: on this CPU a guest may steer Weir's branches by the history of its "
			 "own (BHI), and BHI_DIS_S, which prevents it, is not there: run no guests "
			 "that are not trusted");
}

void mitigations_init(void)
{
	u32 edx = leaf_7_edx();
	u64 arch = arch_capabilities();

	use.spec_ctrl = edx & (CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP | CPUID_7_EDX_SSBD);
	use.kept_spec_ctrl = wanted && (edx & CPUID_7_EDX_IBRS) && has_bhi_control() &&
					     !(arch & ARCH_CAP_BHI_NO)
				     ? SPEC_CTRL_BHI
				     : 0;
	use.host_spec_ctrl = wanted && (edx & CPUID_7_EDX_IBRS) ? SPEC_CTRL_IBRS : 0;
	use.renew_ibrs = use.host_spec_ctrl && !(arch & ARCH_CAP_IBRS_ALL);
	use.host_spec_ctrl |= use.kept_spec_ctrl;
	use.stuff_rsb = wanted;
	use.clear_buffers = wanted && (edx & CPUID_7_EDX_MD_CLEAR) &&
			    (!(arch & ARCH_CAP_MDS_NO) || !(arch & ARCH_CAP_FBSDP_NO) ||
			     (arch & ARCH_CAP_RFDS_CLEAR));
	use.ibpb = wanted && (edx & CPUID_7_EDX_IBRS);
	use.flush_l1d = wanted && (edx & CPUID_7_EDX_L1D_FLUSH) &&
			!(arch & (ARCH_CAP_RDCL_NO | ARCH_CAP_SKIP_L1DFL));
	log_info("VMX: mitigations %s: RSB stuffing %s, IBRS %s, BHI_DIS_S %s, IBPB %s, "
		 "buffer clearing %s, "
		 "L1D flush %s",
		 wanted ? "on" : "off", use.stuff_rsb ? "yes" : "no",
		 use.host_spec_ctrl ? "yes" : "no", use.kept_spec_ctrl ? "yes" : "no",
		 use.ibpb ? "yes" : "no", use.clear_buffers ? "yes" : "no",
		 use.flush_l1d ? "yes" : "no");
	if (wanted)
		warn(arch, edx);
}

void mitigations_init_cpu(void)
{
	if (use.spec_ctrl)
		wrmsr(MSR_IA32_SPEC_CTRL, use.host_spec_ctrl);
}

void mitigations_switch(void)
{
	if (use.ibpb)
		wrmsr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
}

void mitigations_update(struct vmx_vcpu *v)
{
	struct entry_state *entry = &v->entry;
	u64 guest = v->msr.spec_ctrl | use.kept_spec_ctrl;

	v->flush_l1d = use.flush_l1d;
	entry->flags &= (u32)ENTRY_RESUME;
	if (!use.stuff_rsb)
		entry->flags |= (u32)ENTRY_KEEP_RSB;
	if (use.clear_buffers)
		entry->flags |= (u32)ENTRY_CLEAR_BUFFERS;
	/* Else a guest would only have to set IBRS itself, and its branches would steer Weir's. */
	if (use.spec_ctrl && (use.renew_ibrs || guest != use.host_spec_ctrl)) {
		entry->guest_spec_ctrl = (u32)guest;
		entry->host_spec_ctrl = (u32)use.host_spec_ctrl;
		entry->flags |= (u32)ENTRY_SPEC_CTRL;
	}
}

/* A short exit brings little into the cache that is not the guest's own. */
void mitigations_flush_l1d(struct vmx_vcpu *v)
{
	wrmsr(MSR_IA32_FLUSH_CMD, FLUSH_CMD_L1D);
	v->dirty_l1d = false;
}
