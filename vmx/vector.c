/* SPDX-License-Identifier: MIT */
/*
 * Single registers of a vCPU's vector state, for instructions that are run in software. The CPU holds
 * them while the vCPU's thread runs (fpu.c), so each is moved by one instruction; whoever interrupts
 * it gives them back. Of the guest's wider registers the upper parts stay as they are.
 */
#include "vmx/vmx.h"

#define XMM(n)                                                                     \
	case n:                                                                    \
		if (store)                                                         \
			__asm__ volatile("movups %%xmm" #n ", %0" : "=m"(*value)); \
		else                                                               \
			__asm__ volatile("movups %0, %%xmm" #n : : "m"(*value));   \
		break

struct xmm {
	u64 half[2];
};

static void move(u32 n, struct xmm *value, bool store)
{
	switch (n) {
		XMM(0);
		XMM(1);
		XMM(2);
		XMM(3);
		XMM(4);
		XMM(5);
		XMM(6);
		XMM(7);
		XMM(8);
		XMM(9);
		XMM(10);
		XMM(11);
		XMM(12);
		XMM(13);
		XMM(14);
		XMM(15);
	}
}

void vmx_read_xmm(struct vmx_vcpu *v, u32 n, u64 half[2])
{
	struct xmm value = {{0, 0}};

	(void)v;
	move(n, &value, true);
	half[0] = value.half[0];
	half[1] = value.half[1];
}

void vmx_write_xmm(struct vmx_vcpu *v, u32 n, const u64 half[2])
{
	struct xmm value = {{half[0], half[1]}};

	(void)v;
	move(n, &value, false);
}

u16 vmx_x87_status(struct vmx_vcpu *v)
{
	u16 value;

	(void)v;
	__asm__ volatile("fnstsw %0" : "=m"(value));
	return value;
}

u16 vmx_x87_control(struct vmx_vcpu *v)
{
	u16 value;

	(void)v;
	__asm__ volatile("fnstcw %0" : "=m"(value));
	return value;
}

/* No exception waits, as the caller has seen: FLDCW would raise it here. */
void vmx_set_x87_control(struct vmx_vcpu *v, u16 value)
{
	(void)v;
	__asm__ volatile("fldcw %0" : : "m"(value));
}

void vmx_init_x87(struct vmx_vcpu *v)
{
	(void)v;
	__asm__ volatile("fninit");
}
