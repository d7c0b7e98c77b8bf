/* SPDX-License-Identifier: MIT */
/*
 * The MSRs that this floor answers, as a table of what reading and writing each does to a vCPU's
 * struct msr_state. Pure: what must follow in the machine is returned as effects. Those that the
 * CPU switches by itself or with the thread never come here: see msr_bitmap.h.
 */
#ifndef VMX_MSR_POLICY_H
#define VMX_MSR_POLICY_H

#include "kernel/base/types.h"

#define MSR_PLATFORM_ID	   0x17
#define MSR_SMI_COUNT	   0x34
#define MSR_PLATFORM_INFO  0xce
#define MSR_MISC_FEATURES  0x140
#define MSR_MTRR_PHYSBASE0 0x200
#define MSR_MTRR_FIX64K	   0x250
#define MSR_MTRR_FIX16K	   0x258
#define MSR_MTRR_FIX4K	   0x268

#define PAT_INITIAL 0x0007040600070406ull /* SDM 3A 12.12.4 */

#define MTRR_VARIABLE 8
#define MTRR_FIXED    11

#define SPEC_CTRL_IBRS	BIT(0)
#define SPEC_CTRL_STIBP BIT(1)
#define SPEC_CTRL_SSBD	BIT(2)
#define SPEC_CTRL_BHI	BIT(10) /* BHI_DIS_S; not for guests to set */
#define PRED_CMD_IBPB	BIT(0)

/* Fast strings on; branch trace and precise event sampling are not there. */
#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define MISC_ENABLE_RESET	 (MISC_ENABLE_FAST_STRINGS | BIT(11) | BIT(12))
#define MISC_ENABLE_WRITABLE	 MISC_ENABLE_FAST_STRINGS

#define DEBUGCTL_BTF BIT(1)

/* A vCPU's MSRs. Own thread. */
struct msr_state {
	/* limits, set at creation */
	u64 efer_offered, spec_ctrl_bits;
	bool has_spec_ctrl, has_ibpb, has_arch_capabilities;
	u32 maxphyaddr;
	u64 arch_capabilities, microcode;
	/* values */
	u64 cr0_pg; /* CR0.PG, by which EFER.LME is held */
	u64 efer;
	u64 tsc_offset; /* guest TSC = host TSC + this */
	u64 tsc_adjust;
	u64 debugctl;
	u64 misc_enable;
	u64 spec_ctrl;
	u64 pat; /* with shadow paging only: else it is in the VMCS */
	u64 mtrr_def_type;
	u64 mtrr_fixed[MTRR_FIXED];
	u64 mtrr_variable[2 * MTRR_VARIABLE]; /* base, mask */
};

enum msr_answer {
	MSR_DONE,
	MSR_FAULT,   /* #GP(0) */
	MSR_UNKNOWN, /* not one of this floor's */
};

/* What a write leaves to be done in the machine. */
enum msr_effect {
	MSR_EFFECT_EFER = BIT(0),
	MSR_EFFECT_TSC = BIT(1),
	MSR_EFFECT_DEBUGCTL = BIT(2),
	MSR_EFFECT_SPEC_CTRL = BIT(3),
	MSR_EFFECT_IBPB = BIT(4),
	MSR_EFFECT_CPUID = BIT(5), /* it answers otherwise */
};

/* Power-on values; the limits stay. */
void msr_state_reset(struct msr_state *s);

/* host_tsc: now. */
enum msr_answer msr_policy_read(const struct msr_state *s, u32 index, u64 host_tsc, u64 *value);
enum msr_answer msr_policy_write(struct msr_state *s, u32 index, u64 host_tsc, u64 value,
				 u32 *effects);

#endif
