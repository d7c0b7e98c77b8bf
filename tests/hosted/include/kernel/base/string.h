/* SPDX-License-Identifier: MIT */
/*
 * Hosted: the C library's functions stand for Weir's, so that the sanitizers see them. Weir's own
 * are compiled under the names below for the test that compares the two.
 */
#ifndef KERNEL_BASE_STRING_H
#define KERNEL_BASE_STRING_H

#include <string.h>
#include "kernel/base/types.h"

size_t strlcpy(char *dst, const char *src, size_t size);
int parse_u64(const char *s, const char *end, u64 *out);
int parse_size(const char *s, const char *end, u64 *out);

#ifndef HOSTED_RENAMED
void *weir_memcpy(void *dst, const void *src, size_t n);
void *weir_memmove(void *dst, const void *src, size_t n);
void *weir_memset(void *dst, int c, size_t n);
int weir_memcmp(const void *a, const void *b, size_t n);
void *weir_memchr(const void *s, int c, size_t n);
size_t weir_strlen(const char *s);
size_t weir_strnlen(const char *s, size_t max);
int weir_strcmp(const char *a, const char *b);
int weir_strncmp(const char *a, const char *b, size_t n);
char *weir_strchr(const char *s, int c);
char *weir_strstr(const char *haystack, const char *needle);
#endif

#endif
