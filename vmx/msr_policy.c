/* SPDX-License-Identifier: MIT */
#include "kernel/base/msr.h"
#include "vmx/msr_policy.h"

#define MTRR_TYPE_WB	  6u
#define MTRR_CAP_VALUE	  (MTRR_VARIABLE | BIT(8) | BIT(10)) /* fixed ranges, write combining */
#define MTRR_DEF_FIXED	  BIT(10)
#define MTRR_DEF_ENABLE	  BIT(11)
#define MTRR_DEF_WRITABLE (0xffull | MTRR_DEF_FIXED | MTRR_DEF_ENABLE)
#define MTRR_MASK_VALID	  BIT(11)
#define MTRR_ALL_WB	  0x0606060606060606ull
#define PAT_UC_MINUS	  7u

enum read_policy {
	READ_FAULT,
	READ_CONST,
	READ_STATE,
	READ_TSC,
};

enum write_policy {
	WRITE_FAULT,
	WRITE_IGNORED,
	WRITE_ZERO, /* only 0, which it is already */
	WRITE_EFER,
	WRITE_TSC,
	WRITE_TSC_ADJUST,
	WRITE_DEBUGCTL,
	WRITE_MISC_ENABLE,
	WRITE_SPEC_CTRL,
	WRITE_PRED_CMD,
	WRITE_PAT,
	WRITE_MTRR_DEF_TYPE,
	WRITE_MTRR_FIXED,
	WRITE_MTRR_VARIABLE,
};

enum msr_need {
	MSR_ALWAYS,
	MSR_NEEDS_SPEC_CTRL,
	MSR_NEEDS_IBPB,
	MSR_NEEDS_ARCH_CAPABILITIES,
};

struct msr_row {
	u32 first, last;
	enum msr_need need;
	enum read_policy read;
	enum write_policy write;
	u64 constant; /* READ_CONST */
	size_t state; /* READ_STATE: offset of the first one's value, others follow */
};

#define STATE(field) offsetof(struct msr_state, field)

/* Ascending. */
static const struct msr_row rows[] = {
	{MSR_IA32_TSC, MSR_IA32_TSC, MSR_ALWAYS, READ_TSC, WRITE_TSC, 0, 0},
	{MSR_PLATFORM_ID, MSR_PLATFORM_ID, MSR_ALWAYS, READ_CONST, WRITE_FAULT, 0, 0},
	{MSR_SMI_COUNT, MSR_SMI_COUNT, MSR_ALWAYS, READ_CONST, WRITE_FAULT, 0, 0},
	/* Locked with VMX off, in accord with CPUID. */
	{MSR_IA32_FEATURE_CONTROL, MSR_IA32_FEATURE_CONTROL, MSR_ALWAYS, READ_CONST, WRITE_FAULT,
	 FEATURE_CONTROL_LOCKED, 0},
	{MSR_IA32_TSC_ADJUST, MSR_IA32_TSC_ADJUST, MSR_ALWAYS, READ_STATE, WRITE_TSC_ADJUST, 0,
	 STATE(tsc_adjust)},
	{MSR_IA32_SPEC_CTRL, MSR_IA32_SPEC_CTRL, MSR_NEEDS_SPEC_CTRL, READ_STATE, WRITE_SPEC_CTRL,
	 0, STATE(spec_ctrl)},
	{MSR_IA32_PRED_CMD, MSR_IA32_PRED_CMD, MSR_NEEDS_IBPB, READ_FAULT, WRITE_PRED_CMD, 0, 0},
	/* Writing 0 before CPUID is how its revision is asked for (SDM 3A 9.11.7). */
	{MSR_IA32_BIOS_SIGN_ID, MSR_IA32_BIOS_SIGN_ID, MSR_ALWAYS, READ_STATE, WRITE_IGNORED, 0,
	 STATE(microcode)},
	{MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, MSR_ALWAYS, READ_CONST, WRITE_FAULT, 0, 0},
	{MSR_IA32_MTRRCAP, MSR_IA32_MTRRCAP, MSR_ALWAYS, READ_CONST, WRITE_FAULT, MTRR_CAP_VALUE,
	 0},
	{MSR_IA32_ARCH_CAPABILITIES, MSR_IA32_ARCH_CAPABILITIES, MSR_NEEDS_ARCH_CAPABILITIES,
	 READ_STATE, WRITE_FAULT, 0, STATE(arch_capabilities)},
	{MSR_MISC_FEATURES, MSR_MISC_FEATURES, MSR_ALWAYS, READ_CONST, WRITE_ZERO, 0, 0},
	/* No banks of machine-check registers. */
	{MSR_IA32_MCG_CAP, MSR_IA32_MCG_CAP, MSR_ALWAYS, READ_CONST, WRITE_FAULT, 0, 0},
	{MSR_IA32_MCG_STATUS, MSR_IA32_MCG_STATUS, MSR_ALWAYS, READ_CONST, WRITE_ZERO, 0, 0},
	{MSR_IA32_MISC_ENABLE, MSR_IA32_MISC_ENABLE, MSR_ALWAYS, READ_STATE, WRITE_MISC_ENABLE, 0,
	 STATE(misc_enable)},
	{MSR_IA32_DEBUGCTL, MSR_IA32_DEBUGCTL, MSR_ALWAYS, READ_STATE, WRITE_DEBUGCTL, 0,
	 STATE(debugctl)},
	{MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE - 1, MSR_ALWAYS, READ_STATE,
	 WRITE_MTRR_VARIABLE, 0, STATE(mtrr_variable)},
	{MSR_MTRR_FIX64K, MSR_MTRR_FIX64K, MSR_ALWAYS, READ_STATE, WRITE_MTRR_FIXED, 0,
	 STATE(mtrr_fixed[0])},
	{MSR_MTRR_FIX16K, MSR_MTRR_FIX16K + 1, MSR_ALWAYS, READ_STATE, WRITE_MTRR_FIXED, 0,
	 STATE(mtrr_fixed[1])},
	{MSR_MTRR_FIX4K, MSR_MTRR_FIX4K + 7, MSR_ALWAYS, READ_STATE, WRITE_MTRR_FIXED, 0,
	 STATE(mtrr_fixed[3])},
	{MSR_IA32_PAT, MSR_IA32_PAT, MSR_ALWAYS, READ_STATE, WRITE_PAT, 0, STATE(pat)},
	{MSR_IA32_MTRR_DEF_TYPE, MSR_IA32_MTRR_DEF_TYPE, MSR_ALWAYS, READ_STATE,
	 WRITE_MTRR_DEF_TYPE, 0, STATE(mtrr_def_type)},
	{MSR_EFER, MSR_EFER, MSR_ALWAYS, READ_STATE, WRITE_EFER, 0, STATE(efer)},
};

static bool need_met(const struct msr_state *s, enum msr_need need)
{
	switch (need) {
	case MSR_NEEDS_SPEC_CTRL:
		return s->has_spec_ctrl;
	case MSR_NEEDS_IBPB:
		return s->has_ibpb;
	case MSR_NEEDS_ARCH_CAPABILITIES:
		return s->has_arch_capabilities;
	case MSR_ALWAYS:
		break;
	}
	return true;
}

static const struct msr_row *find(u32 index)
{
	u32 low = 0, high = ARRAY_SIZE(rows);

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (index > rows[middle].last)
			low = middle + 1;
		else if (index < rows[middle].first)
			high = middle;
		else
			return &rows[middle];
	}
	return NULL;
}

void msr_state_reset(struct msr_state *s)
{
	s->cr0_pg = 0;
	s->efer = 0;
	s->tsc_adjust = 0;
	s->debugctl = 0;
	s->misc_enable = MISC_ENABLE_RESET;
	s->spec_ctrl = 0;
	s->pat = PAT_INITIAL;
	/* As a PC's firmware leaves them: all memory write-back. */
	s->mtrr_def_type = MTRR_DEF_ENABLE | MTRR_DEF_FIXED | MTRR_TYPE_WB;
	for (u32 i = 0; i < MTRR_FIXED; i++)
		s->mtrr_fixed[i] = MTRR_ALL_WB;
	for (u32 i = 0; i < 2 * MTRR_VARIABLE; i++)
		s->mtrr_variable[i] = 0;
}

enum msr_answer msr_policy_read(const struct msr_state *s, u32 index, u64 host_tsc, u64 *value)
{
	const struct msr_row *row = find(index);

	if (!row)
		return MSR_UNKNOWN;
	if (!need_met(s, row->need))
		return MSR_FAULT;
	switch (row->read) {
	case READ_CONST:
		*value = row->constant;
		return MSR_DONE;
	case READ_STATE:
		*value = ((const u64 *)(const void *)((const char *)s +
						      row->state))[index - row->first];
		return MSR_DONE;
	case READ_TSC:
		*value = host_tsc + s->tsc_offset;
		return MSR_DONE;
	case READ_FAULT:
		break;
	}
	return MSR_FAULT;
}

static bool mtrr_type_valid(u64 type)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static bool write_efer(struct msr_state *s, u64 value, u32 *effects)
{
	if (value & ~s->efer_offered)
		return false;
	if (s->cr0_pg && ((value ^ s->efer) & EFER_LME))
		return false;
	/* LMA is the CPU's own to change. */
	s->efer = (value & ~EFER_LMA) | (s->efer & EFER_LMA);
	*effects |= MSR_EFFECT_EFER;
	return true;
}

/* Both move together (SDM 3B 17.17.3). */
static bool move_tsc(struct msr_state *s, u64 delta, u32 *effects)
{
	s->tsc_offset += delta;
	s->tsc_adjust += delta;
	*effects |= MSR_EFFECT_TSC;
	return true;
}

/* Also UC-, which MTRRs do not know (SDM 3A table 12-10). */
static bool pat_valid(u64 value)
{
	for (u32 i = 0; i < 64; i += 8) {
		u64 type = (value >> i) & 0xff;

		if (!mtrr_type_valid(type) && type != PAT_UC_MINUS)
			return false;
	}
	return true;
}

static bool write_mtrr_fixed(u64 *slot, u64 value)
{
	for (u32 i = 0; i < 64; i += 8) {
		if (!mtrr_type_valid((value >> i) & 0xff))
			return false;
	}
	*slot = value;
	return true;
}

static bool write_mtrr_variable(struct msr_state *s, u32 n, u64 value)
{
	u64 address = (BIT(s->maxphyaddr) - 1) & PAGE_MASK;
	bool is_mask = n & 1;

	if (value & ~(address | (is_mask ? MTRR_MASK_VALID : 0xffull)))
		return false;
	if (!is_mask && !mtrr_type_valid(value & 0xff))
		return false;
	s->mtrr_variable[n] = value;
	return true;
}

static bool write_mtrr_def_type(struct msr_state *s, u64 value)
{
	if ((value & ~MTRR_DEF_WRITABLE) || !mtrr_type_valid(value & 0xff))
		return false;
	s->mtrr_def_type = value;
	return true;
}

/* The guest may set what it was offered, and must leave the rest as it reads it. */
static bool write_misc_enable(struct msr_state *s, u64 value, u32 *effects)
{
	if ((value ^ s->misc_enable) & ~MISC_ENABLE_WRITABLE)
		return false;
	s->misc_enable = value;
	*effects |= MSR_EFFECT_CPUID;
	return true;
}

static bool write_masked(u64 *slot, u64 value, u64 allowed, u32 effect, u32 *effects)
{
	if (value & ~allowed)
		return false;
	*slot = value;
	*effects |= effect;
	return true;
}

static bool write_pred_cmd(u64 value, u32 *effects)
{
	if (value & ~PRED_CMD_IBPB)
		return false;
	if (value)
		*effects |= MSR_EFFECT_IBPB;
	return true;
}

static bool apply(struct msr_state *s, const struct msr_row *row, u32 index, u64 host_tsc,
		  u64 value, u32 *effects)
{
	u32 n = index - row->first;

	switch (row->write) {
	case WRITE_FAULT:
		break;
	case WRITE_IGNORED:
		return true;
	case WRITE_ZERO:
		return value == 0;
	case WRITE_EFER:
		return write_efer(s, value, effects);
	case WRITE_TSC:
		return move_tsc(s, value - (host_tsc + s->tsc_offset), effects);
	case WRITE_TSC_ADJUST:
		return move_tsc(s, value - s->tsc_adjust, effects);
	case WRITE_DEBUGCTL:
		return write_masked(&s->debugctl, value, DEBUGCTL_BTF, MSR_EFFECT_DEBUGCTL,
				    effects);
	case WRITE_MISC_ENABLE:
		return write_misc_enable(s, value, effects);
	case WRITE_SPEC_CTRL:
		return write_masked(&s->spec_ctrl, value, s->spec_ctrl_bits, MSR_EFFECT_SPEC_CTRL,
				    effects);
	case WRITE_PRED_CMD:
		return write_pred_cmd(value, effects);
	case WRITE_PAT:
		if (!pat_valid(value))
			return false;
		s->pat = value;
		return true;
	case WRITE_MTRR_DEF_TYPE:
		return write_mtrr_def_type(s, value);
	case WRITE_MTRR_FIXED:
		return write_mtrr_fixed((u64 *)(void *)((char *)s + row->state) + n, value);
	case WRITE_MTRR_VARIABLE:
		return write_mtrr_variable(s, n, value);
	}
	return false;
}

enum msr_answer msr_policy_write(struct msr_state *s, u32 index, u64 host_tsc, u64 value,
				 u32 *effects)
{
	const struct msr_row *row = find(index);

	*effects = 0;
	if (!row)
		return MSR_UNKNOWN;
	if (!need_met(s, row->need))
		return MSR_FAULT;
	return apply(s, row, index, host_tsc, value, effects) ? MSR_DONE : MSR_FAULT;
}
