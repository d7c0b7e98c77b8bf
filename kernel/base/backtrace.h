/* SPDX-License-Identifier: MIT */
/*
 * The calls that led here, for a panic: follows frame pointers, and never faults in turn, for each
 * address is looked up in the live page tables first. Any context.
 */
#ifndef KERNEL_BASE_BACKTRACE_H
#define KERNEL_BASE_BACKTRACE_H

#include "kernel/base/types.h"

/* rip 0: the caller has none to show. One log line for each call. */
void backtrace_log(u64 rip, u64 rbp);

/* Whether size bytes at addr can be read without a fault. */
bool backtrace_readable(u64 addr, u64 size);

#endif
