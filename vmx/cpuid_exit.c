/* SPDX-License-Identifier: MIT */
/*
 * CPUID exits. What a leaf answers follows from the machine, which does not change, and from what
 * the guest itself switches: CR4.OSXSAVE, XCR0, IA32_MISC_ENABLE. So each vCPU keeps the answers it
 * has given, by leaf and subleaf, until one of these changes.
 */
#include "smp/timer.h"
#include "vmx/features.h"
#include "vmx/regs.h"

static_assert((CPUID_CACHED & (CPUID_CACHED - 1)) == 0, "slot_of cuts bits off");

static bool (*paravirt_cpuid)(u32 leaf, struct cpuid_regs *regs);

void vmx_set_paravirt_cpuid(bool (*fn)(u32 leaf, struct cpuid_regs *regs))
{
	paravirt_cpuid = fn;
}

/* The three ranges of leaves, each from 0 up, fall beside each other. */
static u32 slot_of(u32 leaf, u32 subleaf)
{
	return (leaf ^ (leaf >> 26) ^ (subleaf << 3)) % CPUID_CACHED;
}

void cpuid_forget(struct vmx_vcpu *v)
{
	/* A leaf that would be kept elsewhere is found nowhere. */
	for (u32 i = 0; i < CPUID_CACHED; i++)
		v->cpuid[i] = (struct cpuid_answer){.leaf = i ^ 1};
}

static void answer(struct vmx_vcpu *v, struct cpuid_answer *a)
{
	struct cpuid_view view = {
		.rdtscp = guest_features.rdtscp,
		.invpcid = guest_features.invpcid && !v->shadow,
		.no_pcid = v->shadow,
		.no_xsavec = guest_features.no_xsavec,
		.xcr0_offered = guest_features.xcr0,
		.tsc_khz = clock_tsc_khz(),
		.tsc_stable = clock_tsc_is_stable(),
		.apic_id = v->config.vcpu_id,
		.vcpu_count = v->config.vcpu_count,
		.cr4 = vmcs_read(GUEST_CR4),
		.xcr0 = v->xcr0,
		.misc_enable = v->msr.misc_enable,
	};

	if (a->leaf < CPUID_PARAVIRT_FIRST || a->leaf > CPUID_PARAVIRT_LAST)
		cpuid_policy(&view, a->leaf, a->subleaf, &a->regs);
	else if (!paravirt_cpuid || !paravirt_cpuid(a->leaf, &a->regs))
		a->regs = (struct cpuid_regs){0};
}

void vmx_cpuid(struct vmx_vcpu *v, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
	struct cpuid_answer a = {.leaf = leaf, .subleaf = subleaf};

	answer(v, &a);
	*out = a.regs;
}

/* Apart from handle_cpuid, whose own way is short and wants no stack. */
static enum exit_verdict __noinline handle_new_leaf(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u32 leaf = (u32)v->regs.gpr[RAX], subleaf = (u32)v->regs.gpr[RCX];
	struct cpuid_answer *a = &v->cpuid[slot_of(leaf, subleaf)];

	a->leaf = leaf;
	a->subleaf = subleaf;
	answer(v, a);
	return handle_cpuid(v, e);
}

enum exit_verdict handle_cpuid(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u32 leaf = (u32)v->regs.gpr[RAX], subleaf = (u32)v->regs.gpr[RCX];
	const struct cpuid_answer *a = &v->cpuid[slot_of(leaf, subleaf)];

	if (unlikely(a->leaf != leaf || a->subleaf != subleaf))
		return handle_new_leaf(v, e);
	v->regs.gpr[RAX] = a->regs.eax;
	v->regs.gpr[RBX] = a->regs.ebx;
	v->regs.gpr[RCX] = a->regs.ecx;
	v->regs.gpr[RDX] = a->regs.edx;
	return exit_done_alone(v);
}
