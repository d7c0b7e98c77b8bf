/* SPDX-License-Identifier: MIT */
/*
 * How fast a CPU may run: performance states (SDM 3B 15.1 and 15.4). Firmware may leave a CPU at
 * its lowest one, where it stays until somebody asks for more.
 */
#ifndef KERNEL_BASE_PSTATE_H
#define KERNEL_BASE_PSTATE_H

#include "kernel/base/types.h"

/* Boot option: what the firmware left stays. Before the first CPU's turn. */
void pstate_keep_firmware(bool keep);

/*
 * Each CPU as it comes up, the boot CPU first, whose line tells what was found and asked; CPU-local.
 * With hardware-controlled states (HWP) the CPU chooses between its lowest and its highest, else
 * (EIST) it is asked for its highest, turbo included. For real machines: emulators have none, or
 * not theirs to change. The two functions are those of smp/: what CPUID shows may not be all there.
 */
void pstate_init_cpu(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64));

#endif
