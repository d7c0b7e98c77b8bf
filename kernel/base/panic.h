/* SPDX-License-Identifier: MIT */
/*
 * The end: prints registers, symbolised backtrace, CPU and the log ring's last lines, stops the
 * other CPUs, then halts (or reboots where told to). BUG_ON is for what only Weir's own error can
 * cause, never for anything a guest, GRUB or the firmware says. Any context. Takes no lock that it
 * does not break; a panic inside a panic prints one line and halts.
 */
#ifndef KERNEL_BASE_PANIC_H
#define KERNEL_BASE_PANIC_H

#include "kernel/base/types.h"

struct interrupt_frame;

/* Registers are those of the exception that this CPU is in, else the caller's (panic_entry.S). */
void __noreturn panic(const char *fmt, ...) __printf_like(1, 2);

/* The other CPUs once a panic has told them to stop. */
struct panic_others {
	u32 count;  /* how many had been started */
	u32 halted; /* of these */
	u32 silent; /* the first that does not answer; valid where halted < count */
};

/* What the floors above lend a panic. Each may be NULL. */
struct panic_hooks {
	void (*stop_others)(struct panic_others *others); /* the other CPUs halt; bounded */
	/* The frame of the exception that this CPU is in, or NULL. */
	const struct interrupt_frame *(*fault)(void);
};

/* Boot CPU, at boot. The structure stays. */
void panic_set_hooks(const struct panic_hooks *hooks);

/* What comes after a panic: a reboot once the text had time to be read, or a halt (the default). */
void panic_set_reboot(bool reboot);

#define BUG_ON(cond)                                                         \
	do {                                                                 \
		if (unlikely(cond))                                          \
			panic("BUG: %s (%s:%d)", #cond, __FILE__, __LINE__); \
	} while (0)

/* Checked in debug builds only; the condition is compiled in both. */
#if defined(WEIR_DEBUG) && WEIR_DEBUG
#define ASSERT(cond) BUG_ON(!(cond))
#else
#define ASSERT(cond) ((void)sizeof(!(cond)))
#endif

#endif
