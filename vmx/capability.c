/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/cpuid.h"
#include "vmx/vmx.h"

struct vmx_capability vmx_boot_capability;
struct vmx_controls vmx_boot_controls = {.apicv = VMX_APICV_ALL};

static bool use_unrestricted = true; /* boot option */

void vmx_use_unrestricted_guest(bool use)
{
	use_unrestricted = use;
}

/* Core 2 has the older MSRs alone: there the default1 controls must be 1 (SDM 3D A.2). */
static void read_controls(struct vmx_capability *c, bool have_true)
{
	c->pin = rdmsr(have_true ? MSR_IA32_VMX_TRUE_PINBASED : MSR_IA32_VMX_PINBASED);
	c->proc = rdmsr(have_true ? MSR_IA32_VMX_TRUE_PROCBASED : MSR_IA32_VMX_PROCBASED);
	c->exit = rdmsr(have_true ? MSR_IA32_VMX_TRUE_EXIT : MSR_IA32_VMX_EXIT);
	c->entry = rdmsr(have_true ? MSR_IA32_VMX_TRUE_ENTRY : MSR_IA32_VMX_ENTRY);
}

void capability_read(struct vmx_capability *c)
{
	*c = (struct vmx_capability){0};
	c->basic = rdmsr(MSR_IA32_VMX_BASIC);
	c->misc = rdmsr(MSR_IA32_VMX_MISC);
	c->cr0_fixed0 = rdmsr(MSR_IA32_VMX_CR0_FIXED0);
	c->cr0_fixed1 = rdmsr(MSR_IA32_VMX_CR0_FIXED1);
	c->cr4_fixed0 = rdmsr(MSR_IA32_VMX_CR4_FIXED0);
	c->cr4_fixed1 = rdmsr(MSR_IA32_VMX_CR4_FIXED1);
	c->xcr0 = cpuid_xcr0_offered();
	read_controls(c, c->basic & VMX_BASIC_TRUE);
	/* The MSRs below exist only where the bits before them say so. */
	if (!capability_allows(c->proc, PROC_SECONDARY))
		return;
	c->proc2 = rdmsr(MSR_IA32_VMX_PROCBASED2);
	if (capability_allows(c->proc2, PROC2_EPT) || capability_allows(c->proc2, PROC2_VPID))
		c->ept_vpid = rdmsr(MSR_IA32_VMX_EPT_VPID_CAP);
}

bool capability_has_vpid(const struct vmx_capability *c)
{
	return capability_allows(c->proc2, PROC2_VPID) && (c->ept_vpid & VPID_CAP_INVVPID) &&
	       (c->ept_vpid & VPID_CAP_ALL);
}

bool capability_has_pml(const struct vmx_capability *c)
{
	return capability_allows(c->proc2, PROC2_PML) && (c->ept_vpid & EPT_CAP_AD);
}

enum vmx_apicv capability_apicv(const struct vmx_capability *c, enum vmx_apicv limit)
{
	if (limit < VMX_APICV_TPR || !capability_allows(c->proc, PROC_TPR_SHADOW))
		return VMX_APICV_OFF;
	if (limit < VMX_APICV_ACCESS || !capability_allows(c->proc2, PROC2_APIC_ACCESS))
		return VMX_APICV_TPR;
	if (limit < VMX_APICV_REGISTERS ||
	    !capability_allows(c->proc2, PROC2_APIC_REGISTERS | PROC2_X2APIC))
		return VMX_APICV_ACCESS;
	if (limit < VMX_APICV_FULL || !capability_allows(c->proc2, PROC2_INTERRUPT_DELIVERY))
		return VMX_APICV_REGISTERS;
	if (limit == VMX_APICV_FULL)
		return VMX_APICV_FULL;
	/* An interrupt that makes the guest leave is acknowledged, or the entry is refused. */
	if (capability_allows(c->pin, PIN_POSTED_INTERRUPTS) &&
	    capability_allows(c->exit, EXIT_ACKNOWLEDGE_INTERRUPT))
		return VMX_APICV_POSTED;
	return limit == VMX_APICV_POSTED ? VMX_APICV_FULL : VMX_APICV_REGISTERS;
}

const char *capability_apicv_name(enum vmx_apicv level)
{
	static const char *const names[] = {
		[VMX_APICV_OFF] = "off",       [VMX_APICV_TPR] = "tpr",
		[VMX_APICV_ACCESS] = "access", [VMX_APICV_REGISTERS] = "registers",
		[VMX_APICV_FULL] = "full",     [VMX_APICV_POSTED] = "posted",
	};

	return level < ARRAY_SIZE(names) ? names[level] : "on";
}

int control_adjust(u64 capability, u32 required, u32 optional, u32 *out, u32 *missing)
{
	u32 must = (u32)capability, may = (u32)(capability >> 32);

	*missing = required & ~may;
	if (*missing)
		return ERR_NOTSUP;
	*out = required | (optional & may) | must;
	return 0;
}

static int choose(const char *word, u64 capability, u32 required, u32 optional, u32 *out)
{
	u32 missing;
	int err = control_adjust(capability, required, optional, out, &missing);

	if (err)
		log_error("this CPU's VMX lacks %s controls %#x: Weir cannot run guests on it",
			  word, missing);
	return err;
}

/*
 * Where nothing else ends a loop of PAUSEs, each of them exits. A CPU with the preemption timer and
 * without PAUSE-loop exiting needs no exits for it: a vCPU that waits is preempted when its slice
 * is over. So is it on a Core 2, but not in Bochs (errata_longest_stay), whose Penryn has neither.
 */
static u32 pause_exits(const struct vmx_capability *c)
{
	bool ends = capability_allows(c->proc2, PROC2_PAUSE_LOOP) ||
		    capability_allows(c->pin, PIN_PREEMPTION_TIMER);

	return ends ? 0 : (u32)PROC_PAUSE;
}

int capability_choose(const struct vmx_capability *c, struct vmx_controls *out)
{
	u32 unrestricted = use_unrestricted ? (u32)PROC2_UNRESTRICTED : 0;
	u32 vpid = capability_has_vpid(c) ? PROC2_VPID : 0;
	u32 cr8;
	bool ept = capability_allows(c->proc2, PROC2_EPT);
	/* requirements.c: what a CPU with EPT has to have, one without may lack. */
	u32 exit = EXIT_SAVE_EFER | EXIT_LOAD_EFER | (ept ? EXIT_SAVE_PAT | EXIT_LOAD_PAT : 0);
	u32 entry = ENTRY_LOAD_EFER | (ept ? ENTRY_LOAD_PAT : 0);
	int err;

	out->apicv = capability_apicv(c, out->apicv);
	/* Interrupts of real mode go in software there: the CPU would take them by the IDT. */
	if ((!capability_allows(c->proc2, PROC2_UNRESTRICTED) || !use_unrestricted) &&
	    out->apicv > VMX_APICV_REGISTERS)
		out->apicv = VMX_APICV_REGISTERS;
	cr8 = out->apicv ? PROC_TPR_SHADOW : PROC_CR8_LOAD | PROC_CR8_STORE;
	err = choose("pin-based", c->pin, PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS,
		     PIN_PREEMPTION_TIMER, &out->pin);
	/*
	 * The windows, and exits of CR3 and INVLPG, come later; asking here makes sure that they
	 * can.
	 */
	if (!err)
		err = choose("processor-based", c->proc,
			     PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW | PROC_TSC_OFFSETTING |
				     PROC_HLT | PROC_MWAIT | PROC_MONITOR | PROC_RDPMC | cr8 |
				     PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INVLPG | PROC_MOV_DR |
				     PROC_IO | PROC_MSR_BITMAPS | PROC_SECONDARY,
			     pause_exits(c), &out->proc);
	if (!err)
		err = choose("secondary processor-based", c->proc2, ept ? PROC2_EPT : 0,
			     vpid | unrestricted | PROC2_RDTSCP | PROC2_WBINVD | PROC2_INVPCID |
				     PROC2_ENCLS | PROC2_PAUSE_LOOP,
			     &out->proc2);
	if (!err)
		err = choose("VM-exit", c->exit,
			     EXIT_SAVE_DEBUG | EXIT_HOST_64BIT | (ept ? exit : 0), exit,
			     &out->exit);
	if (!err)
		err = choose("VM-entry", c->entry,
			     ENTRY_LOAD_DEBUG | ENTRY_IA32E | (ept ? entry : 0), entry,
			     &out->entry);
	if (err)
		return err;
	/* Core 2 insists on exits of CR3, which shadow page tables need in any case. */
	out->proc &= (u32)c->proc | ~(u32)(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW | PROC_CR3_LOAD |
					   PROC_CR3_STORE | PROC_INVLPG);
	out->entry &= ~(u32)ENTRY_IA32E;
	return 0;
}
