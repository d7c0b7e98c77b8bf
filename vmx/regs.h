/* SPDX-License-Identifier: MIT */
/*
 * RIP, RSP and RFLAGS of the guest. They are in the VMCS, and most exits need none of them but to
 * step over an instruction, so they come into struct guest_regs only when somebody asks for it;
 * what was changed there goes back before the next entry. The VMCS is current.
 */
#ifndef VMX_REGS_H
#define VMX_REGS_H

#include "kernel/base/panic.h"
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
 * crosses 4 GiB, where a RIP of 32 bits wraps. False: it is one of these, and nothing was done.
 */
static inline bool skip_at_once(struct vmx_vcpu *v)
{
	u64 next, length;

	ASSERT(!v->regs_here);
	if (unlikely(vmcs_read(GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_RF)) ||
	    unlikely(vmcs_read(GUEST_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		return false;
	length = vmcs_read(EXIT_INSTRUCTION_LENGTH);
	next = vmcs_read(GUEST_RIP) + length;
	if (unlikely((u32)next < (u32)length))
		return false;
	vmcs_write(GUEST_RIP, next);
	return true;
}

static inline void vcpu_skip(struct vmx_vcpu *v)
{
	if (unlikely(v->regs_here) || unlikely(!skip_at_once(v)))
		vcpu_skip_slowly(v, vmcs_read(EXIT_INSTRUCTION_LENGTH));
}

/* The same as a handler's last act; and of one who knows that nobody asked for the registers. */
enum exit_verdict exit_done_slowly(struct vmx_vcpu *v);
static inline enum exit_verdict exit_done_alone(struct vmx_vcpu *v)
{
	return likely(skip_at_once(v)) ? EXIT_RESUME : exit_done_slowly(v);
}
static inline enum exit_verdict exit_done(struct vmx_vcpu *v)
{
	return likely(!v->regs_here) ? exit_done_alone(v) : exit_done_slowly(v);
}

/* By the size of a port access: what it carries, and what IN leaves of RAX. */
extern const u32 io_bits[5];
extern const u64 io_kept[5];

static inline void vcpu_set_io_value(struct vmx_vcpu *v, u32 size, u32 value)
{
	v->regs.gpr[RAX] = (v->regs.gpr[RAX] & io_kept[size]) | (value & io_bits[size]);
}

#endif
