/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's integer registers while it is outside guest mode, in the order in which instructions
 * encode them (SDM 2A table 2-2), so that a decoder's register number is the index. The entry
 * code in vmx/ relies on the layout. Owned by the vCPU's thread; no lock.
 */
#ifndef MMU_REGS_H
#define MMU_REGS_H

#include "kernel/base/types.h"

enum gpr {
	RAX,
	RCX,
	RDX,
	RBX,
	RSP,
	RBP,
	RSI,
	RDI,
	R8,
	R9,
	R10,
	R11,
	R12,
	R13,
	R14,
	R15,
	GPR_COUNT
};

struct guest_regs {
	u64 gpr[GPR_COUNT]; /* gpr[RSP], rip and rflags are copies of the VMCS's */
	u64 rip;
	u64 rflags;
	u64 cr2; /* to be looked at: it is in the CPU */
};

static_assert(sizeof(struct guest_regs) == 152, "entry.S knows this layout");

/* Another one after each instruction, but in a loop whose turns leave all registers as they were. */
static inline u64 guest_regs_digest(const struct guest_regs *r)
{
	u64 d = r->rip;

	for (u32 i = 0; i < GPR_COUNT; i++)
		d = (d ^ r->gpr[i]) * 0x9e3779b97f4a7c15ull + (d >> 29);
	return d;
}

#endif
