/* SPDX-License-Identifier: MIT */
/*
 * Tests that run on the target itself: locks, threads, timers, IPIs, memory, page tables. Boot
 * CPU, thread "main", after smp_bring_up and before any VM.
 */
#ifndef KERNEL_SELFTEST_H
#define KERNEL_SELFTEST_H

#include "kernel/base/types.h"

/*
 * Runs the tests named (separated by commas), or all of them for "all" or "". Those that end in a
 * panic on purpose, fill the log, or measure run only by name. One line for each, then "N passed,
 * N failed, N skipped". Returns how many failed; a name that no test has is a failure.
 */
u32 selftest_run(const char *names);

#endif
