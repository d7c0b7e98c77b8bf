/* SPDX-License-Identifier: MIT */
/*
 * The end: prints registers, symbolised backtrace, CPU and the log ring's last lines, stops the
 * other CPUs, then halts (or reboots where told to). BUG_ON is for what only Weir's own error can
 * cause, never for anything a guest, GRUB or the firmware says. Any context.
 */
#ifndef KERNEL_BASE_PANIC_H
#define KERNEL_BASE_PANIC_H

#include "kernel/base/types.h"

void __noreturn panic(const char *fmt, ...) __printf_like(1, 2);

#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (unlikely(cond))                                                                \
			panic("BUG: %s (%s:%d)", #cond, __FILE__, __LINE__);                       \
	} while (0)

/* Checked in debug builds only; the condition is compiled in both. */
#if defined(WEIR_DEBUG) && WEIR_DEBUG
#define ASSERT(cond) BUG_ON(!(cond))
#else
#define ASSERT(cond) ((void)sizeof(!(cond)))
#endif

#endif
