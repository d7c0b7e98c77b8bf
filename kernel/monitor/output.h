/* SPDX-License-Identifier: MIT */
/* What commands say to the operator. The console's thread, while it has the console. */
#ifndef KERNEL_MONITOR_OUTPUT_H
#define KERNEL_MONITOR_OUTPUT_H

#include "kernel/monitor/keys.h"

#define MONITOR_LINE_MAX 480

/* One line; the end of line is added. Control characters in it become '?'. By the pager (pager.h). */
void monitor_print(const char *fmt, ...) __printf_like(1, 2);

/* For the pager: a line of printable characters to the console, in one piece and at once. */
void monitor_emit(const char *line, size_t n);

/* Bytes that draw, as they are: none of them may be a guest's. */
void monitor_draw(const char *bytes, size_t n);

/*
 * True once the operator has typed Ctrl-C during this command: it ends soon, and what it says from
 * then on is not shown.
 */
bool monitor_stopped(void);

/* A key, or KEY_NONE when none came by the deadline (clock_ns). */
enum key monitor_key(u64 deadline_ns, char *c);

#endif
