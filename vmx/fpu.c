/* SPDX-License-Identifier: MIT */
/*
 * Vector state. Weir is built without vector registers, so they hold a guest's values from the
 * moment its thread is given the CPU. Every component that any guest may use is loaded at once:
 * nothing of the guest before is left to be seen.
 */
#include "kernel/base/string.h"
#include "vmx/features.h"
#include "vmx/vcpu.h"
#include "vmx/xcr0.h"

#define FCW_INITIAL   0x37f
#define MXCSR_INITIAL 0x1f80u
#define AREA_FCW      0
#define AREA_MXCSR    24
static_assert(PAGE_SIZE >= 2696, "one frame holds every component of XCR0_KNOWN");

/* x87 and SSE in their initial state; the header says so of the others. */
void fpu_init_area(struct vmx_vcpu *v)
{
	u8 *area = v->xsave;

	memset(area, 0, PAGE_SIZE);
	*(u16 *)(void *)(area + AREA_FCW) = FCW_INITIAL;
	*(u32 *)(void *)(area + AREA_MXCSR) = MXCSR_INITIAL;
	v->xcr0 = XCR0_X87;
}

void fpu_save(struct vmx_vcpu *v)
{
	u64 all = guest_features.xcr0;

	if (!all) {
		__asm__ volatile("fxsave64 (%0)" ::"r"(v->xsave) : "memory");
		return;
	}
	/* Components that the guest has switched off keep their contents: they are saved too. */
	if (v->xcr0 != all)
		xsetbv(0, all);
	__asm__ volatile("xsave64 (%0)" ::"r"(v->xsave), "a"((u32)all), "d"((u32)(all >> 32))
			 : "memory");
}

void fpu_load(const struct vmx_vcpu *v)
{
	u64 all = guest_features.xcr0;

	if (!all) {
		__asm__ volatile("fxrstor64 (%0)" ::"r"(v->xsave) : "memory");
		return;
	}
	xsetbv(0, all);
	__asm__ volatile("xrstor64 (%0)" ::"r"(v->xsave), "a"((u32)all), "d"((u32)(all >> 32))
			 : "memory");
	if (v->xcr0 != all)
		xsetbv(0, v->xcr0);
}
