/* SPDX-License-Identifier: MIT */
/* Control-register bits by which a CPU helps against mistakes. On each CPU at its bring-up. */
#ifndef KERNEL_BASE_HARDEN_H
#define KERNEL_BASE_HARDEN_H

#include "kernel/base/types.h"

/*
 * Leaves of CPUID above 3, which a setting of the firmware for old systems hides ("Limit CPUID
 * Maximum", IA32_MISC_ENABLE bit 22, SDM 4 table 2-2): without leaf 7 there is neither SMEP nor a
 * mitigation. On each CPU before it looks at them. The two functions are those of smp/, for that
 * MSR may be missing.
 */
void harden_show_cpuid(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64));

/*
 * No-execute pages (IA32_EFER.NXE) where the CPU has them; before page tables with NX are loaded.
 * An Intel CPU whose firmware hid them is told not to (IA32_MISC_ENABLE bit 34, SDM 4 table 2-2),
 * by the two functions of smp/. 0, ERR_NOTSUP: there are none.
 */
int harden_enable_nx(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64));
/* It had to: the other CPUs' firmware hid them too, and EFER.NXE faults until they are told. */
bool harden_nx_was_hidden(void);

/*
 * Write protection for supervisor writes too; machine checks, SMEP, SMAP and UMIP where there
 * (SDM 3A 2.5).
 */
void cpu_harden(void);

#endif
