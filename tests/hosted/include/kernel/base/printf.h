/* SPDX-License-Identifier: MIT */
/* Hosted: the C library's; Weir's own are weir_snprintf and weir_vsnprintf. */
#ifndef KERNEL_BASE_PRINTF_H
#define KERNEL_BASE_PRINTF_H

#include <stdio.h>
#include "kernel/base/types.h"

#ifndef HOSTED_RENAMED
int weir_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap) __printf_like(3, 0);
int weir_snprintf(char *buf, size_t size, const char *fmt, ...) __printf_like(3, 4);
#endif

#endif
