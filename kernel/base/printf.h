/* SPDX-License-Identifier: MIT */
/*
 * Formatting into a bounded buffer: %d %u %x %X %p %s %c %% with l, ll, z, width, '0', '-', '#'
 * and precision for strings. Pure: any context, no locks.
 */
#ifndef KERNEL_BASE_PRINTF_H
#define KERNEL_BASE_PRINTF_H

#include "kernel/base/types.h"

/* Always terminates when size > 0; returns the length the whole text would have had. */
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap) __printf_like(3, 0);
int snprintf(char *buf, size_t size, const char *fmt, ...) __printf_like(3, 4);

#endif
