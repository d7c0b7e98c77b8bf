/* SPDX-License-Identifier: MIT */
/*
 * The log: one line a call, "[   1.234567] cpu0 info: text". Sinks: serial, VGA text, framebuffer
 * (kernel/base/console.h) and a memory ring that a panic prints. Any context, NMI too; takes the
 * console lock (LOCK_LOG, the highest level), so it may be called under any other lock.
 */
#ifndef KERNEL_BASE_LOG_H
#define KERNEL_BASE_LOG_H

#include "kernel/base/types.h"

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG
};

/*
 * fmt without a newline: log adds it. Lines are cut at 480 bytes. Control characters in the text
 * (a guest's, GRUB's) are shown as '?', so that nobody forges a line or drives the terminal.
 */
void log_write(enum log_level level, const char *fmt, ...) __printf_like(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* Lines above this level go to the ring only. Boot time and monitor. LOG_INFO at first. */
void log_set_level(enum log_level level);

/*
 * Where time stamps come from (nanoseconds) and CPU numbers, for floors above to say once theirs
 * work: until then lines show 0.000000 and cpu0. Both must be callable from any context.
 */
void log_set_clock(u64 (*clock_ns)(void));
void log_set_cpu_id(u32 (*cpu_id)(void));
u32 log_cpu_id(void);
u64 log_clock_ns(void);

/* Sends the lines that no sink has shown yet and the level lets through. When a sink is new. */
void log_replay(void);

/*
 * For who prints what no line of the log may come between: from log_hold on lines wait in the ring, of
 * which there are the last 64 KiB, until log_release shows them. A panic's do not. One at a time: the
 * console's thread. Releasing what is not held is harmless.
 */
void log_hold(void);
void log_release(void);

/*
 * For a panic: how far the ring has come, and its last lines before that point, straight to the
 * sinks, if one of them was never shown. Any context.
 */
u64 log_mark(void);
void log_show_last(u64 mark, u32 lines);

/*
 * Reading the ring, any context but NMI. Where its last lines begin, now; and the line at *at,
 * terminated, which moves *at on. line has LOG_PREFIX_MAX + LOG_LINE_MAX bytes (log_ring.h). Lines
 * that are lost by now are passed over; false: there is none any more.
 */
u64 log_tail(u32 lines);
bool log_next(u64 *at, char *line);

#endif
