/* SPDX-License-Identifier: MIT */
/* Boot's look at the CPU: what is required, and a table of what is optional. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/printf.h"
#include "mmu/mmu.h"
#include "vmx/controls.h"
#include "vmx/errata.h"
#include "vmx/features.h"
#include "vmx/posted.h"
#include "vmx/requirements.h"
#include "vmx/vcpu.h"

#define TABLE_COLUMNS 3

struct optional {
	const char *name;
	bool there;
};

static void print_table(const struct optional *rows, u32 count)
{
	char line[128];

	for (u32 i = 0; i < count; i += TABLE_COLUMNS) {
		int n = 0;

		for (u32 j = i; j < count && j < i + TABLE_COLUMNS; j++)
			n += snprintf(line + n, sizeof(line) - (size_t)n, "%-26s %-4s",
				      rows[j].name, rows[j].there ? "yes" : "no");
		log_info("VMX: %s", line);
	}
}

static void print_optional(const struct vmx_capability *c)
{
	u64 p2 = c->proc2, ept = c->ept_vpid;
	const struct optional rows[] = {
		{"EPT", capability_allows(p2, PROC2_EPT)},
		{"EPT accessed/dirty", ept & EPT_CAP_AD},
		{"EPT execute-only", ept & EPT_CAP_EXEC_ONLY},
		{"EPT 2 MiB pages", ept & EPT_CAP_2M},
		{"EPT 1 GiB pages", ept & EPT_CAP_1G},
		{"mode-based execute", capability_allows(p2, PROC2_MODE_BASED_EXEC)},
		{"VPID", capability_has_vpid(c)},
		{"unrestricted guest", capability_allows(p2, PROC2_UNRESTRICTED)},
		{"page-modification log", capability_allows(p2, PROC2_PML)},
		{"TPR shadow", capability_allows(c->proc, PROC_TPR_SHADOW)},
		{"APIC access", capability_allows(p2, PROC2_APIC_ACCESS)},
		{"APIC registers", capability_allows(p2, PROC2_APIC_REGISTERS)},
		{"x2APIC mode", capability_allows(p2, PROC2_X2APIC)},
		{"interrupt delivery", capability_allows(p2, PROC2_INTERRUPT_DELIVERY)},
		{"posted interrupts", capability_allows(c->pin, PIN_POSTED_INTERRUPTS)},
		{"preemption timer", capability_allows(c->pin, PIN_PREEMPTION_TIMER)},
		{"TSC scaling", capability_allows(p2, PROC2_TSC_SCALING)},
		{"VM functions", capability_allows(p2, PROC2_VMFUNC)},
		{"VMCS shadowing", capability_allows(p2, PROC2_VMCS_SHADOWING)},
		{"#VE", capability_allows(p2, PROC2_VE)},
		{"PAUSE-loop exiting", capability_allows(p2, PROC2_PAUSE_LOOP)},
		{"RDTSCP", capability_allows(p2, PROC2_RDTSCP)},
		{"INVPCID", capability_allows(p2, PROC2_INVPCID)},
		{"XSAVES", capability_allows(p2, PROC2_XSAVES)},
		{"WBINVD exiting", capability_allows(p2, PROC2_WBINVD)},
		{"ENCLS exiting", capability_allows(p2, PROC2_ENCLS)},
		{"bus-lock detection", capability_allows(p2, PROC2_BUS_LOCK)},
	};

	print_table(rows, ARRAY_SIZE(rows));
}

static void tell_mmu(const struct vmx_capability *c)
{
	u64 ept = c->ept_vpid;
	struct mmu_hw hw = {
		.ept = capability_allows(c->proc2, PROC2_EPT),
		.ept_ad = ept & EPT_CAP_AD,
		.ept_2m = ept & EPT_CAP_2M,
		.ept_1g = ept & EPT_CAP_1G,
		.ept_exec_only = ept & EPT_CAP_EXEC_ONLY,
		.invept_single = ept & EPT_CAP_INVEPT_SINGLE,
		.invept_all = ept & EPT_CAP_INVEPT_ALL,
		.invvpid_single = capability_has_vpid(c) && (ept & VPID_CAP_SINGLE),
		.invvpid_all = capability_has_vpid(c) && (ept & VPID_CAP_ALL),
		.pml = capability_has_pml(c),
		.large_nx = mitigations_large_nx(),
		.maxphyaddr = features_maxphyaddr(),
	};

	mmu_init(&hw);
}

const char *vmx_unmet(void)
{
	struct vmx_findings f;

	requirements_look(&f);
	return requirements_unmet(&f);
}

static int probe(void)
{
	struct vmx_findings f;
	const char *sentence;
	int err;

	requirements_look(&f);
	sentence = requirements_unmet(&f);
	if (sentence) {
		log_error("%s", sentence);
		return ERR_NOTSUP;
	}
	if (vmx_boot_controls.apicv == VMX_APICV_ALL &&
	    errata_interrupt_delivery(machine_is_bochs()))
		vmx_boot_controls.apicv = VMX_APICV_REGISTERS;
	err = capability_choose(&f.capability, &vmx_boot_controls);
	if (err)
		return err;
	vmx_boot_capability = f.capability;
	log_info("VMX: VMCS revision %#x, %u bytes", VMX_BASIC_REVISION(f.capability.basic),
		 VMX_BASIC_SIZE(f.capability.basic));
	print_optional(&f.capability);
	log_info("VMX: guests' local APICs: apicv=%s",
		 capability_apicv_name(vmx_boot_controls.apicv));
	if (vmx_boot_controls.apicv >= VMX_APICV_POSTED)
		posted_init();
	features_init();
	tell_mmu(&f.capability);
	return 0;
}

void vmx_set_apicv(enum vmx_apicv limit)
{
	vmx_boot_controls.apicv = limit;
}

/* The answer does not change: a self-test may have asked before. */
int vmx_probe(void)
{
	static bool probed;
	static int result;

	if (!probed)
		result = probe();
	probed = true;
	return result;
}

bool vmx_unrestricted_guest(void)
{
	return vmx_boot_controls.proc2 & PROC2_UNRESTRICTED;
}
