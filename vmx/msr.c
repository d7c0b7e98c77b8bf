/* SPDX-License-Identifier: MIT */
/* RDMSR and WRMSR: the bitmap of those that do not exit, and the exits of the others. */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "vmx/capability.h"
#include "smp/irq.h"
#include "vmx/msr_bitmap.h"
#include "vmx/features.h"
#include "vmx/regs.h"

/* By whether the local APIC is in x2APIC mode, and by shadow paging. */
static u8 bitmaps[2][2][MSR_BITMAP_SIZE] __aligned(PAGE_SIZE);

const void *msr_bitmap(bool x2apic, bool shadow)
{
	return bitmaps[x2apic][shadow];
}

void msr_bitmap_init(void)
{
	for (u32 shadow = 0; shadow < 2; shadow++) {
		msr_bitmap_fill(bitmaps[false][shadow], guest_features.rdtscp, shadow);
		msr_bitmap_fill(bitmaps[true][shadow], guest_features.rdtscp, shadow);
		msr_bitmap_pass_x2apic(bitmaps[true][shadow],
				       vmx_boot_controls.apicv >= VMX_APICV_FULL && !shadow);
		if (vmx_unrestricted_guest())
			continue;
		msr_bitmap_keep_efer(bitmaps[false][shadow]);
		msr_bitmap_keep_efer(bitmaps[true][shadow]);
	}
}

static void apply(struct vmx_vcpu *v, u32 effects)
{
	if (effects & MSR_EFFECT_EFER) {
		vcpu_set_efer(v, cr_efer(v));
		if (v->shadow)
			shadow_stale(v);
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

static enum exit_verdict answered(struct vmx_vcpu *v, u64 value)
{
	v->regs.gpr[RAX] = (u32)value;
	v->regs.gpr[RDX] = value >> 32;
	return exit_done(v);
}

/* The floor above did not want it. */
static enum exit_verdict __noinline read_own(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u64 value;

	if (e->msr.index == MSR_IA32_DEBUGCTL)
		v->msr.debugctl = vmcs_read(GUEST_DEBUGCTL);
	switch (msr_policy_read(&v->msr, e->msr.index, rdtsc(), &value)) {
	case MSR_DONE:
		return answered(v, value);
	case MSR_FAULT:
		return exit_gp(v, e);
	case MSR_UNKNOWN:
		break;
	}
	return EXIT_RETURN;
}

static enum exit_verdict __noinline write_own(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u32 effects;

	switch (msr_policy_write(&v->msr, e->msr.index, rdtsc(), e->msr.value, &effects)) {
	case MSR_DONE:
		apply(v, effects);
		vcpu_skip(v);
		return effects & MSR_EFFECT_TSC ? exit_kind(e, VMX_EXIT_TSC) : EXIT_RESUME;
	case MSR_FAULT:
		return exit_gp(v, e);
	case MSR_UNKNOWN:
		break;
	}
	return EXIT_RETURN;
}

enum exit_verdict handle_rdmsr(struct vmx_vcpu *v, struct vmx_exit *e)
{
	int err;

	e->msr.index = (u32)v->regs.gpr[RCX];
	err = exit_offer(v, e, VMX_EXIT_RDMSR);
	if (likely(err == 0))
		return answered(v, e->msr.value);
	return err == ERR_FAULT ? exit_gp(v, e) : read_own(v, e);
}

enum exit_verdict handle_wrmsr(struct vmx_vcpu *v, struct vmx_exit *e)
{
	int err;

	e->msr.index = (u32)v->regs.gpr[RCX];
	e->msr.value = (u32)v->regs.gpr[RAX] | v->regs.gpr[RDX] << 32;
	err = exit_offer(v, e, VMX_EXIT_WRMSR);
	if (likely(err == 0))
		return exit_done(v);
	if (err == VMX_LOOK)
		return exit_look(v, e);
	return err == ERR_FAULT ? exit_gp(v, e) : write_own(v, e);
}

/* Those that the CPU switches by itself or with the vCPU, and which the bitmap lets through. */
static bool is_passed(const struct vmx_vcpu *v, u32 index)
{
	return index != MSR_IA32_TSC && index != MSR_EFER &&
	       !msr_bitmap_exits(bitmaps[false][v->shadow], index, false);
}

static bool vmcs_has(const struct vmx_vcpu *v, u32 index, enum vmcs_field *field)
{
	switch (index) {
	case MSR_IA32_SYSENTER_CS:
		*field = GUEST_SYSENTER_CS;
		return true;
	case MSR_IA32_SYSENTER_ESP:
		*field = GUEST_SYSENTER_ESP;
		return true;
	case MSR_IA32_SYSENTER_EIP:
		*field = GUEST_SYSENTER_EIP;
		return true;
	case MSR_IA32_PAT:
		*field = GUEST_PAT;
		return !v->shadow;
	case MSR_FS_BASE:
		*field = GUEST_FS_BASE;
		return true;
	case MSR_GS_BASE:
		*field = GUEST_GS_BASE;
		return true;
	default:
		return false;
	}
}

int vmx_read_msr(struct vmx_vcpu *v, u32 index, u64 *value)
{
	enum vmcs_field field;

	if (vmcs_has(v, index, &field)) {
		*value = vmcs_read(field);
		return 0;
	}
	if (is_passed(v, index))
		return rdmsr_safe(index, value) ? ERR_FAULT : 0;
	if (index == MSR_IA32_DEBUGCTL)
		v->msr.debugctl = vmcs_read(GUEST_DEBUGCTL);
	switch (msr_policy_read(&v->msr, index, rdtsc(), value)) {
	case MSR_DONE:
		return 0;
	case MSR_FAULT:
		return ERR_FAULT;
	case MSR_UNKNOWN:
		break;
	}
	return ERR_NOSLOT;
}

static bool is_canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

/* Uncached, write-combining, write-through, write-protected, write-back, UC- (SDM 3A table 12-10). */
static bool is_pat(u64 value)
{
	for (u32 i = 0; i < 8; i++) {
		u32 type = value >> (8 * i) & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

/* What WRMSR would refuse, a VM entry refuses too. */
static bool vmcs_takes(u32 index, u64 value)
{
	if (index == MSR_IA32_SYSENTER_CS)
		return true;
	return index == MSR_IA32_PAT ? is_pat(value) : is_canonical(value);
}

int vmx_write_msr(struct vmx_vcpu *v, u32 index, u64 value)
{
	enum vmcs_field field;
	enum msr_answer answer;
	u32 effects;
	bool on;

	if (vmcs_has(v, index, &field)) {
		if (!vmcs_takes(index, value))
			return ERR_FAULT;
		vmcs_write(field, index == MSR_IA32_SYSENTER_CS ? (u32)value : value);
		return 0;
	}
	/* This CPU holds the vCPU's own, and checks the value. */
	if (is_passed(v, index))
		return wrmsr_safe(index, value) ? ERR_FAULT : 0;
	/* Off, as in an exit: what the next entry does may change meanwhile if the vCPU is switched. */
	on = irq_save();
	answer = msr_policy_write(&v->msr, index, rdtsc(), value, &effects);
	if (answer == MSR_DONE)
		apply(v, effects);
	irq_restore(on);
	if (answer == MSR_DONE)
		return 0;
	return answer == MSR_FAULT ? ERR_FAULT : ERR_NOSLOT;
}
