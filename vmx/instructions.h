/* SPDX-License-Identifier: MIT */
/*
 * The VMX instructions (SDM 3C chapter 31) as functions. In VMX root operation; those that touch
 * VMCS fields work on the CPU's current VMCS: the caller's thread is switched in, or interrupts
 * are off. A field access that fails is Weir's own error and panics.
 */
#ifndef VMX_INSTRUCTIONS_H
#define VMX_INSTRUCTIONS_H

#include "kernel/base/addr.h"
#include "vmx/vmcs.h"

static inline u64 vmcs_read(enum vmcs_field field)
{
	u64 value;

	/* In entry.S; it panics. */
	__asm__ volatile("vmread %1, %0\n\t"
			 "jbe vmcs_access_failed"
			 : "=r"(value)
			 : "r"((u64)field)
			 : "cc", "memory");
	return value;
}

static inline void vmcs_write(enum vmcs_field field, u64 value)
{
	__asm__ volatile("vmwrite %0, %1\n\t"
			 "jbe vmcs_access_failed" ::"r"(value),
			 "r"((u64)field)
			 : "cc", "memory");
}

/* false: this CPU has no such field. */
static inline bool vmcs_try_read(enum vmcs_field field, u64 *value)
{
	bool failed;

	__asm__ volatile("vmread %2, %1"
			 : "=@ccbe"(failed), "=r"(*value)
			 : "r"((u64)field)
			 : "memory");
	return !failed;
}

/* The rest return true when the CPU refused. */
static inline bool vmxon(hpa_t region)
{
	bool failed;

	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region) : "memory");
	return failed;
}

static inline void vmxoff(void)
{
	__asm__ volatile("vmxoff" ::: "cc", "memory");
}

static inline bool vmclear(hpa_t vmcs)
{
	bool failed;

	__asm__ volatile("vmclear %1" : "=@ccbe"(failed) : "m"(vmcs) : "memory");
	return failed;
}

static inline bool vmptrld(hpa_t vmcs)
{
	bool failed;

	__asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs) : "memory");
	return failed;
}

/* Debug registers: those of whoever has them in the CPU. Interrupts off. */
#define READ_DR(n)                                                   \
	({                                                           \
		u64 dr_;                                             \
		__asm__ volatile("movq %%dr" #n ", %0" : "=r"(dr_)); \
		dr_;                                                 \
	})
#define WRITE_DR(n, value) __asm__ volatile("movq %0, %%dr" #n ::"r"((u64)(value)))

#endif
