/* SPDX-License-Identifier: MIT */
/*
 * CPUs whose TSC deadline timer comes wrong once their TSC was set (Intel's HSD, BDM, SKL errata).
 * Pure.
 */
#ifndef SMP_TSC_ERRATA_H
#define SMP_TSC_ERRATA_H

#include "kernel/base/types.h"

/*
 * The least microcode revision with which the deadline is good although IA32_TSC_ADJUST was
 * written, by the firmware or by Weir. 0: any. signature: EAX of CPUID leaf 1.
 */
u32 tsc_deadline_microcode(u32 signature);

#endif
