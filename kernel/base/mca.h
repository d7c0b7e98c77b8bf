/* SPDX-License-Identifier: MIT */
/*
 * Machine checks (SDM 3B chapter 16): each bank of a CPU's registers is told to raise #MC for what
 * cannot be corrected, and what it says then is kept for the panic. Corrected errors are not watched.
 */
#ifndef KERNEL_BASE_MCA_H
#define KERNEL_BASE_MCA_H

#include "kernel/base/types.h"

/*
 * Each CPU as it comes up, the boot CPU first; CPU-local. Errors from before are logged and taken
 * away. The two functions are those of smp/, for what a hypervisor below shows may be incomplete.
 */
void mca_init_cpu(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64));

/*
 * Keeps what this CPU's banks say. After #MC or a VM entry that one ended, on each CPU that it came
 * to: the error may be in the banks of another one than that which panics. Takes no lock.
 */
void mca_record(void);

/* By the panic: what was kept, a line for each. */
void mca_show(void);

#endif
