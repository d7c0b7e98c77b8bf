/* SPDX-License-Identifier: MIT */
/* RDMSR and WRMSR: the bitmap of those that do not exit, and the exits of the others. */
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "vmx/msr_bitmap.h"
#include "vmx/features.h"
#include "vmx/regs.h"

static u8 bitmap[MSR_BITMAP_SIZE] __aligned(PAGE_SIZE);

const void *msr_bitmap(void)
{
	return bitmap;
}

void msr_bitmap_init(void)
{
	msr_bitmap_fill(bitmap, guest_features.rdtscp);
}

static void apply(struct vmx_vcpu *v, u32 effects)
{
	if (effects & MSR_EFFECT_EFER) {
		vmcs_write(GUEST_EFER, v->msr.efer);
		/* NXE gives page-table entries another meaning. */
		vcpu_flush_tlb(v);
	}
	if (effects & MSR_EFFECT_TSC)
		vmcs_write(CTRL_TSC_OFFSET, v->msr.tsc_offset);
	if (effects & MSR_EFFECT_DEBUGCTL)
		vmcs_write(GUEST_DEBUGCTL, v->msr.debugctl);
	if (effects & MSR_EFFECT_IBPB)
		wrmsr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	if (effects & MSR_EFFECT_CPUID)
		cpuid_forget(v);
	if (effects & MSR_EFFECT_SPEC_CTRL)
		mitigations_update(v);
}

enum exit_verdict handle_rdmsr(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u32 index = (u32)v->regs.gpr[RCX];
	u64 value;

	if (index == MSR_IA32_DEBUGCTL)
		v->msr.debugctl = vmcs_read(GUEST_DEBUGCTL);
	switch (msr_policy_read(&v->msr, index, rdtsc(), &value)) {
	case MSR_DONE:
		vmx_complete_rdmsr(v, value);
		return EXIT_RESUME;
	case MSR_FAULT:
		return exit_gp(v, e);
	case MSR_UNKNOWN:
		break;
	}
	e->msr.index = index;
	return exit_kind(e, VMX_EXIT_RDMSR);
}

enum exit_verdict handle_wrmsr(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u32 index = (u32)v->regs.gpr[RCX], effects;
	u64 value = (u32)v->regs.gpr[RAX] | v->regs.gpr[RDX] << 32;

	switch (msr_policy_write(&v->msr, index, rdtsc(), value, &effects)) {
	case MSR_DONE:
		apply(v, effects);
		vmx_complete_wrmsr(v);
		return EXIT_RESUME;
	case MSR_FAULT:
		return exit_gp(v, e);
	case MSR_UNKNOWN:
		break;
	}
	e->msr.index = index;
	e->msr.value = value;
	return exit_kind(e, VMX_EXIT_WRMSR);
}
