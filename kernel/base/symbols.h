/* SPDX-License-Identifier: MIT */
/* Names of the image's functions, from the table that the build links in. Pure; any context. */
#ifndef KERNEL_BASE_SYMBOLS_H
#define KERNEL_BASE_SYMBOLS_H

#include "kernel/base/types.h"

/* Ascending by offset; both made by tests/tools/symbols.py. */
struct symbol {
	u32 offset; /* address less IMAGE_BASE */
	u32 name;   /* where the name starts among the names */
};

struct symbols {
	const struct symbol *table;
	u32 count;
	const char *names;
};

/* The function that holds offset (the last that starts at or below it), or NULL. */
const char *symbols_find(const struct symbols *s, u32 offset, u32 *within);

/* In the image: "name+0x12", or the bare number where the address is not in Weir's text. */
void symbol_print(char *buf, size_t size, u64 addr);
bool symbol_is_text(u64 addr);

#endif
