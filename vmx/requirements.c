/* SPDX-License-Identifier: MIT */
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/irq.h"
#include "vmx/controls.h"
#include "vmx/cpuid.h"
#include "vmx/requirements.h"

#define CPUID_1_EDX_PAT BIT(16)
#define VMCS_SIZE_MAX	4096u
#define TOO_OLD		": Weir needs a CPU of 2008 (Intel Penryn) or newer"
#define NESTED_HINT	", or a hypervisor below Weir hides it"

void requirements_look(struct vmx_findings *f)
{
	struct cpuid_regs r = cpuid(1, 0);

	*f = (struct vmx_findings){0};
	f->has_vmx = r.ecx & CPUID_1_ECX_VMX;
	f->has_pat = r.edx & CPUID_1_EDX_PAT;
	if (!f->has_vmx)
		return;
	/* A CPU that has VMX has this MSR; one that faults counts as unlocked and fails later. */
	if (rdmsr_safe(MSR_IA32_FEATURE_CONTROL, &f->feature_control))
		f->feature_control = 0;
	capability_read(&f->capability);
}

static const char *require_vmx(const struct vmx_findings *f)
{
	if (!f->has_vmx)
		return "this CPU offers no VMX: turn on Intel VT-x (Intel Virtualization "
		       "Technology) in the firmware setup, or give this virtual machine nested "
		       "VMX";
	return NULL;
}

static const char *require_not_locked_off(const struct vmx_findings *f)
{
	if ((f->feature_control & FEATURE_CONTROL_LOCKED) &&
	    !(f->feature_control & FEATURE_CONTROL_VMX_OUT_SMX))
		return "the firmware has locked VMX off: turn on Intel VT-x (Intel Virtualization "
		       "Technology) in the firmware setup, then switch the power off and on";
	return NULL;
}

static const char *require_vmcs_format(const struct vmx_findings *f)
{
	u64 basic = f->capability.basic;

	if (!VMX_BASIC_SIZE(basic) || VMX_BASIC_SIZE(basic) > VMCS_SIZE_MAX)
		return "this CPU's VMX wants VMCS regions of an impossible size: update the "
		       "firmware or the hypervisor below Weir";
	if (VMX_BASIC_MEMTYPE(basic) != MEMTYPE_WB)
		return "this CPU's VMX does not keep the VMCS in write-back memory" TOO_OLD;
	return NULL;
}

static const char *require_controls(const struct vmx_findings *f)
{
	const struct vmx_capability *c = &f->capability;

	if (!capability_allows(c->proc, PROC_SECONDARY))
		return "this CPU's VMX lacks secondary controls" TOO_OLD NESTED_HINT;
	if (!capability_allows(c->proc, PROC_MSR_BITMAPS))
		return "this CPU's VMX lacks MSR bitmaps" TOO_OLD NESTED_HINT;
	if (!capability_allows(c->pin, PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS))
		return "this CPU's VMX lacks virtual NMIs" TOO_OLD NESTED_HINT;
	if (!capability_allows(c->exit, EXIT_HOST_64BIT))
		return "this CPU's VMX lacks 64-bit hosts" TOO_OLD NESTED_HINT;
	/* With shadow paging alone neither is needed. */
	if (!capability_allows(c->proc2, PROC2_EPT))
		return NULL;
	if (!capability_allows(c->exit, EXIT_SAVE_EFER | EXIT_LOAD_EFER) ||
	    !capability_allows(c->entry, ENTRY_LOAD_EFER))
		return "this CPU's VMX does not switch IA32_EFER" TOO_OLD NESTED_HINT;
	if (!f->has_pat || !capability_allows(c->exit, EXIT_SAVE_PAT | EXIT_LOAD_PAT) ||
	    !capability_allows(c->entry, ENTRY_LOAD_PAT))
		return "this CPU's VMX does not switch IA32_PAT" TOO_OLD NESTED_HINT;
	return NULL;
}

static const char *require_ept(const struct vmx_findings *f)
{
	const struct vmx_capability *c = &f->capability;
	u64 ept = c->ept_vpid;

	/* Then its guests have shadow page tables. */
	if (!capability_allows(c->proc2, PROC2_EPT))
		return NULL;
	if (!(ept & EPT_CAP_WALK_4))
		return "this CPU's EPT lacks tables of 4 levels" TOO_OLD NESTED_HINT;
	if (!(ept & EPT_CAP_WB))
		return "this CPU's EPT lacks tables in write-back memory" TOO_OLD NESTED_HINT;
	if (!(ept & EPT_CAP_INVEPT) || !(ept & (EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL)))
		return "this CPU's EPT lacks INVEPT" TOO_OLD NESTED_HINT;
	return NULL;
}

const char *requirements_unmet(const struct vmx_findings *f)
{
	const char *sentence = require_vmx(f);

	if (!sentence)
		sentence = require_not_locked_off(f);
	if (!sentence)
		sentence = require_vmcs_format(f);
	if (!sentence)
		sentence = require_controls(f);
	if (!sentence)
		sentence = require_ept(f);
	return sentence;
}
