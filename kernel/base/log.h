/* SPDX-License-Identifier: MIT */
/*
 * The log: one line a call, "[   1.234567] cpu0 info: text". Sinks: serial, VGA text, framebuffer
 * and a memory ring that a panic prints. Any context, interrupt and NMI-free; takes the log lock
 * (LOCK_LOG, the highest level), so it may be called under any other lock.
 */
#ifndef KERNEL_BASE_LOG_H
#define KERNEL_BASE_LOG_H

#include "kernel/base/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* fmt without a newline: log adds it. Lines are cut at 480 bytes. */
void log_write(enum log_level level, const char *fmt, ...) __printf_like(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* Lines above this level go to the ring only. Boot time and monitor. */
void log_set_level(enum log_level level);

#endif
