/* SPDX-License-Identifier: MIT */
/* XCR0 and which values XSETBV takes (SDM 1 13.3). Pure; any context. */
#ifndef VMX_XCR0_H
#define VMX_XCR0_H

#include "kernel/base/types.h"

#define XCR0_X87    BIT(0)
#define XCR0_SSE    BIT(1)
#define XCR0_AVX    BIT(2)
#define XCR0_AVX512 (BIT(5) | BIT(6) | BIT(7)) /* opmask, ZMM_Hi256, Hi16_ZMM: all or none */
#define XCR0_KNOWN  (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

/* The most of these components that stand together. */
static inline u64 xcr0_largest_valid(u64 components)
{
	if (!(components & XCR0_X87) || !(components & XCR0_SSE))
		return components & XCR0_X87;
	if ((components & XCR0_AVX512) != XCR0_AVX512 || !(components & XCR0_AVX))
		components &= ~XCR0_AVX512;
	return components & XCR0_KNOWN;
}

static inline bool xcr0_valid(u64 value, u64 offered)
{
	if ((value & ~offered) || !(value & XCR0_X87))
		return false;
	return xcr0_largest_valid(value) == value;
}

#endif
