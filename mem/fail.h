/* SPDX-License-Identifier: MIT */
/*
 * Where the hosted tests make an allocation fail on order. Each allocator of mem/ asks once at
 * the start of each allocation; on the target nothing ever fails on order. Any context.
 */
#ifndef MEM_FAIL_H
#define MEM_FAIL_H

#include "kernel/base/types.h"

#ifdef WEIR_HOSTED
bool hosted_should_fail(void);
#else
static inline bool hosted_should_fail(void)
{
	return false;
}
#endif

#endif
