/* SPDX-License-Identifier: MIT */
/*
 * Hosted: a VMCS is an array by field; the current one is the thread's. What the CPU would do on
 * entry and exit a test does by hand.
 */
#ifndef VMX_INSTRUCTIONS_H
#define VMX_INSTRUCTIONS_H

#include "kernel/base/addr.h"
#include "vmx/vmcs.h"

#define HOSTED_VMCS_FIELDS 0x7000

extern _Thread_local u64 hosted_vmcs[HOSTED_VMCS_FIELDS];

static inline u64 vmcs_read(enum vmcs_field field)
{
	return hosted_vmcs[field];
}

static inline bool vmcs_try_read(enum vmcs_field field, u64 *value)
{
	*value = hosted_vmcs[field];
	return true;
}

static inline void vmcs_write(enum vmcs_field field, u64 value)
{
	hosted_vmcs[field] = value;
}

/* What the CPU does; VMXON's answer is true where it failed. */
extern bool (*hosted_vmxon)(hpa_t region);
extern void (*hosted_vmxoff)(void);

static inline bool vmxon(hpa_t region)
{
	return hosted_vmxon(region);
}

static inline void vmxoff(void)
{
	hosted_vmxoff();
}

/* Whichever is current is the thread's one. False: it did not fail. */
static inline bool vmclear(hpa_t vmcs)
{
	(void)vmcs;
	return false;
}

static inline bool vmptrld(hpa_t vmcs)
{
	(void)vmcs;
	return false;
}

/* What may happen at an access to a debug register: a switch, where interrupts are on. NULL: nothing. */
extern void (*hosted_on_dr)(void);
extern _Thread_local u64 hosted_dr[8];

static inline u64 *hosted_debug_register(u32 n)
{
	if (hosted_on_dr)
		hosted_on_dr();
	return &hosted_dr[n];
}

#define READ_DR(n)	   (*hosted_debug_register(n))
#define WRITE_DR(n, value) ((void)(*hosted_debug_register(n) = (value)))

#endif
