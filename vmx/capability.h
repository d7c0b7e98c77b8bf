/* SPDX-License-Identifier: MIT */
/*
 * What the CPU's VMX can do: its capability MSRs (SDM 3D appendix A), and the controls that Weir
 * chooses by them. Read on each CPU; the boot CPU's copy is written once by vmx_probe and read-only
 * after. Pure but for the reading.
 */
#ifndef VMX_CAPABILITY_H
#define VMX_CAPABILITY_H

#include "kernel/base/types.h"
#include "vmx/apicv.h"

/* Each control word's capability: low half the bits that must be 1, high half those that may. */
struct vmx_capability {
	u64 basic;
	u64 pin, proc, proc2, exit, entry;
	u64 ept_vpid;
	u64 misc;
	u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	u64 xcr0; /* what a guest may be offered of it: each CPU loads all of it */
};

/* The control words of every vCPU, before what changes at run time. */
struct vmx_controls {
	u32 pin, proc, proc2, exit, entry;
	enum vmx_apicv apicv; /* the limit, for capability_choose; then what it came to */
};

/* In a VMX-capable CPU with IA32_VMX_BASIC. Any context. Absent MSRs read as 0. */
void capability_read(struct vmx_capability *c);

/* What is not on another CPU as it has to be. */
struct capability_difference {
	const char *what;
	u64 boot, here;
};

/*
 * Can vCPUs whose controls were chosen by the boot CPU's capabilities run where these are? Only what
 * Weir uses counts: cores of two kinds in one CPU may differ in the rest. False: d says the first
 * that stands in the way. Pure.
 */
bool capability_serves(const struct vmx_capability *boot, const struct vmx_capability *here,
		       struct capability_difference *d);

/* May this control be 1? */
static inline bool capability_allows(u64 capability, u64 bits)
{
	return ((u32)(capability >> 32) & (u32)bits) == (u32)bits;
}

/*
 * A control word with the required bits, those of the optional ones that the CPU has, and those
 * it insists on. ERR_NOTSUP: a required bit may not be 1; *missing says which.
 */
int control_adjust(u64 capability, u32 required, u32 optional, u32 *out, u32 *missing);

/* How much of a local APIC such a CPU can do by itself, up to the limit. */
enum vmx_apicv capability_apicv(const struct vmx_capability *c, enum vmx_apicv limit);

/* As apicv= names it. */
const char *capability_apicv_name(enum vmx_apicv level);

/* All of Weir's controls. ERR_NOTSUP after naming the word and the bits by log_error. */
int capability_choose(const struct vmx_capability *c, struct vmx_controls *out);

/* VPIDs are of use only when all can be flushed, before numbers are used again. */
bool capability_has_vpid(const struct vmx_capability *c);

/* The CPU can log what a guest makes dirty, which it knows by EPT's dirty bits. */
bool capability_has_pml(const struct vmx_capability *c);

extern struct vmx_capability vmx_boot_capability;
extern struct vmx_controls vmx_boot_controls;

#endif
