/* SPDX-License-Identifier: MIT */
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "vmx/regs.h"

const u32 io_bits[5] = {[1] = 0xff, [2] = 0xffff, [4] = 0xffffffff};
const u64 io_kept[5] = {[1] = ~0xffull, [2] = ~0xffffull, [4] = 0};

void regs_pull(struct vmx_vcpu *v)
{
	v->regs.rip = v->vmcs_rip = vmcs_read(GUEST_RIP);
	v->regs.gpr[RSP] = v->vmcs_rsp = vmcs_read(GUEST_RSP);
	v->regs.rflags = v->vmcs_rflags = vmcs_read(GUEST_RFLAGS);
	v->regs.cr2 = read_cr2();
	v->regs_here = true;
	v->unprepared = true;
}

void regs_push(struct vmx_vcpu *v)
{
	if (v->regs.rip != v->vmcs_rip)
		vmcs_write(GUEST_RIP, v->regs.rip);
	if (v->regs.gpr[RSP] != v->vmcs_rsp)
		vmcs_write(GUEST_RSP, v->regs.gpr[RSP]);
	if (v->regs.rflags != v->vmcs_rflags)
		vmcs_write(GUEST_RFLAGS, v->regs.rflags);
	v->regs_here = false;
}

void vcpu_end_shadow(struct vmx_vcpu *v)
{
	u64 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

	if (blocking & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS))
		vmcs_write(GUEST_INTERRUPTIBILITY,
			   blocking & ~(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
	if (unlikely(vcpu_rflags(v) & RFLAGS_TF) && !(vmcs_read(GUEST_DEBUGCTL) & DEBUGCTL_BTF))
		vmcs_write(GUEST_PENDING_DEBUG, vmcs_read(GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

bool vcpu_in_64bit(struct vmx_vcpu *v)
{
	return (v->msr.efer & EFER_LMA) && (vmcs_read(GUEST_CS_ACCESS) & ACCESS_LONG);
}

void vcpu_skip_slowly(struct vmx_vcpu *v, u64 length)
{
	struct guest_regs *r = vcpu_regs(v);
	u64 rip = r->rip + length;

	/* Outside 64-bit code RIP has 32 bits; the VM entry would refuse more. */
	if ((rip >> 32) && !vcpu_in_64bit(v))
		rip = (u32)rip;
	r->rip = rip;
	/* It was for the instruction that is over (SDM 3B 17.3.1.1). */
	r->rflags &= ~RFLAGS_RF;
	vcpu_end_shadow(v);
}

enum exit_verdict exit_done_slowly(struct vmx_vcpu *v)
{
	vcpu_skip_slowly(v, vmcs_read(EXIT_INSTRUCTION_LENGTH));
	return EXIT_RESUME;
}

/* After a fault the saved RF is set (SDM 3C 28.3.3): that is no reason for the slow way. */
void vcpu_skip_fault(struct vmx_vcpu *v, u64 length)
{
	u64 rflags = vmcs_read(GUEST_RFLAGS), rip = vmcs_read(GUEST_RIP);

	if (unlikely(v->regs_here || (rflags & RFLAGS_TF) || ((rip ^ (rip + length)) >> 32) ||
		     (vmcs_read(GUEST_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))) {
		vcpu_skip_slowly(v, length);
		return;
	}
	if (rflags & RFLAGS_RF)
		vmcs_write(GUEST_RFLAGS, rflags & ~RFLAGS_RF);
	vmcs_write(GUEST_RIP, rip + length);
}
