/* SPDX-License-Identifier: MIT */
/*
 * RIP, RSP and RFLAGS of the guest. They are in the VMCS, and most exits need none of them but to
 * step over an instruction, so they come into struct guest_regs only when somebody asks for it;
 * what was changed there goes back before the next entry. The VMCS is current.
 */
#ifndef VMX_REGS_H
#define VMX_REGS_H

#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#define RFLAGS_TF BIT(8)
#define RFLAGS_RF BIT(16)

/* regs.c */
void regs_pull(struct vmx_vcpu *v);
void regs_push(struct vmx_vcpu *v);
void vcpu_skip_slowly(struct vmx_vcpu *v, u64 length);
/* Past an instruction of this length whose access faulted and was done in its place. */
void vcpu_skip_fault(struct vmx_vcpu *v, u64 length);

/* All registers, to be read and changed. */
static inline struct guest_regs *vcpu_regs(struct vmx_vcpu *v)
{
	if (!v->regs_here)
		regs_pull(v);
	return &v->regs;
}

/* Only to be looked at. */
static inline u64 vcpu_rflags(const struct vmx_vcpu *v)
{
	return v->regs_here ? v->regs.rflags : vmcs_read(GUEST_RFLAGS);
}

/*
 * Past the instruction of this exit. It is over, so the shadow that STI or MOV SS laid on it ends,
 * RF was for it alone, and a single step traps after it: all rare, and so is an instruction that
 * crosses 4 GiB, where a RIP of 32 bits wraps.
 */
static inline void vcpu_skip(struct vmx_vcpu *v)
{
	u64 rip, next;

	if (unlikely(v->regs_here) || unlikely(vmcs_read(GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_RF)) ||
	    unlikely(vmcs_read(GUEST_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS))) {
		vcpu_skip_slowly(v, vmcs_read(EXIT_INSTRUCTION_LENGTH));
		return;
	}
	rip = vmcs_read(GUEST_RIP);
	next = rip + vmcs_read(EXIT_INSTRUCTION_LENGTH);
	if (unlikely((rip ^ next) >> 32)) {
		vcpu_skip_slowly(v, vmcs_read(EXIT_INSTRUCTION_LENGTH));
		return;
	}
	vmcs_write(GUEST_RIP, next);
}

/* By the size of a port access: what it carries, and what IN leaves of RAX. */
extern const u32 io_bits[5];
extern const u64 io_kept[5];

static inline void vcpu_set_io_value(struct vmx_vcpu *v, u32 size, u32 value)
{
	v->regs.gpr[RAX] = (v->regs.gpr[RAX] & io_kept[size]) | (value & io_bits[size]);
}

#endif
