/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/string.h"

/*
 * Copies and fills use the string instructions by eight bytes, then by one: good enough on every
 * CPU with VT-x, and one instruction to an emulator. The direction flag is clear everywhere in C
 * (System V ABI); entry code sees to it.
 */
void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;
	size_t count = n / 8;

	__asm__ volatile("rep movsq" : "+D"(d), "+S"(src), "+c"(count)::"memory");
	count = n % 8;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(count)::"memory");
	return dst;
}

static void copy_backwards(u8 *dst, const u8 *src, size_t n)
{
	u8 *d = dst + n;
	const u8 *s = src + n;

	for (; n >= 8; n -= 8) {
		u64 word;

		d -= 8;
		s -= 8;
		__builtin_memcpy(&word, s, 8);
		__builtin_memcpy(d, &word, 8);
	}
	while (n--)
		*--d = *--s;
}

void *memmove(void *dst, const void *src, size_t n)
{
	if ((uintptr_t)dst - (uintptr_t)src >= n)
		return memcpy(dst, src, n); /* dst is below src, or beyond its end */
	copy_backwards(dst, src, n);
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *d = dst;
	u64 word = (u8)c * 0x0101010101010101ull;
	size_t count = n / 8;

	__asm__ volatile("rep stosq" : "+D"(d), "+c"(count) : "a"(word) : "memory");
	count = n % 8;
	__asm__ volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(word) : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++) {
		if (*x != *y)
			return *x < *y ? -1 : 1;
	}
	return 0;
}

void *memchr(const void *s, int c, size_t n)
{
	const u8 *p = s;

	for (; n; n--, p++) {
		if (*p == (u8)c)
			return (void *)(uintptr_t)p;
	}
	return NULL;
}

size_t strlen(const char *s)
{
	const char *p = s;

	while (*p)
		p++;
	return (size_t)(p - s);
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (int)(u8)*a - (int)(u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		if (*a != *b)
			return (int)(u8)*a - (int)(u8)*b;
		if (!*a)
			break;
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

char *strstr(const char *haystack, const char *needle)
{
	size_t n = strlen(needle);

	for (;; haystack++) {
		if (strncmp(haystack, needle, n) == 0)
			return (char *)(uintptr_t)haystack;
		if (!*haystack)
			return NULL;
	}
}

size_t strlcpy(char *dst, const char *src, size_t size)
{
	size_t len = strlen(src);
	size_t n = min(len, size - 1);

	memcpy(dst, src, n);
	dst[n] = '\0';
	return len;
}

/* The value of a hexadecimal digit, or 16 where it is none. */
static u32 digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (u32)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (u32)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (u32)(c - 'A') + 10;
	return 16;
}

int parse_u64(const char *s, const char *end, u64 *out)
{
	u32 base = 10;
	u64 value = 0;

	if (end - s > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		s += 2;
	}
	if (s >= end)
		return ERR_INVAL;
	/* All of it is read before a range error is reported: "99999999999999999999z" is no number. */
	bool over = false;

	for (; s < end; s++) {
		u32 digit = digit_value(*s);

		if (digit >= base)
			return ERR_INVAL;
		if (__builtin_mul_overflow(value, (u64)base, &value) ||
		    __builtin_add_overflow(value, (u64)digit, &value))
			over = true;
	}
	if (over)
		return ERR_RANGE;
	*out = value;
	return 0;
}

static u32 suffix_shift(char c)
{
	switch (c) {
	case 'k':
	case 'K':
		return 10;
	case 'm':
	case 'M':
		return 20;
	case 'g':
	case 'G':
		return 30;
	case 't':
	case 'T':
		return 40;
	default:
		return 0;
	}
}

int parse_size(const char *s, const char *end, u64 *out)
{
	u32 shift = 0;
	u64 value;
	int err;

	if (s < end)
		shift = suffix_shift(end[-1]);
	err = parse_u64(s, shift ? end - 1 : end, &value);
	if (err)
		return err;
	if (value > (~0ull >> shift))
		return ERR_RANGE;
	*out = value << shift;
	return 0;
}
