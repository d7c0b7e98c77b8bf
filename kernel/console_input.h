/* SPDX-License-Identifier: MIT */
/*
 * What is typed, on the serial line or the machine's keyboard, byte by byte as a terminal sends it.
 * One thread reads: it passes it on to the VM that has the console, or runs the monitor.
 */
#ifndef KERNEL_CONSOLE_INPUT_H
#define KERNEL_CONSOLE_INPUT_H

#include "kernel/base/types.h"

/*
 * By the UART's interrupt, else by polling. Thread context, once; makes the console's thread, also
 * where there is nothing to type on.
 */
void console_input_start(void);

/* As if Ctrl-] were typed. Any thread. */
void console_call_monitor(void);

/* --- the console's thread --- */

/* The next byte, or -1: none came by the deadline (on clock_ns's scale; ~0: it waits). */
int console_getc(u64 deadline_ns);
bool console_input_waits(void); /* there is one */

/* Ctrl-C was typed: it is taken, and all before it. */
bool console_interrupted(void);

/* --- the keyboard's interrupt --- */

void console_input_put(u8 byte);

#endif
