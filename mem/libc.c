/* SPDX-License-Identifier: MIT */
/*
 * What liblz4 asks of a C library beside kernel/base/string.h. The functions of it that Weir calls
 * take no memory; those that do are in the same object file.
 */
#include "kernel/base/panic.h"

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void free(void *p);
void __noreturn __stack_chk_fail(void);

void *malloc(size_t size)
{
	(void)size;
	panic("a library takes memory, which none should");
}

void *calloc(size_t count, size_t size)
{
	return malloc(count * size);
}

void free(void *p)
{
	if (p)
		panic("a library frees memory, which none should");
}

void __stack_chk_fail(void)
{
	panic("a library wrote past an array on its stack");
}
