/* SPDX-License-Identifier: MIT */
/*
 * What the entry stubs push, for exceptions and interrupts alike, and what a panic keeps of its
 * caller: smp/entry.S, panic_entry.S, and push_registers.inc for both.
 */
#ifndef KERNEL_BASE_INTERRUPT_FRAME_H
#define KERNEL_BASE_INTERRUPT_FRAME_H

#include "kernel/base/types.h"

struct interrupt_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error_code;
	u64 rip, cs, rflags, rsp, ss;
};

#endif
