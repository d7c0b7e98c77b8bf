/* SPDX-License-Identifier: MIT */
/*
 * The C library's memory and string functions that Weir uses, with the C library's meanings,
 * and a few of its own. Pure: any context, no locks.
 */
#ifndef KERNEL_BASE_STRING_H
#define KERNEL_BASE_STRING_H

#include "kernel/base/types.h"

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strstr(const char *haystack, const char *needle);

/* Copies at most size-1 bytes and always terminates (size > 0). Returns strlen(src). */
size_t strlcpy(char *dst, const char *src, size_t size);

/*
 * Parses an unsigned number (decimal, 0x hex), all of s up to end (exclusive).
 * 0, ERR_INVAL (not a number) or ERR_RANGE (over 64 bits).
 */
int parse_u64(const char *s, const char *end, u64 *out);

/* As parse_u64, with an optional suffix K, M, G or T (powers of 1024). */
int parse_size(const char *s, const char *end, u64 *out);

#endif
