/* SPDX-License-Identifier: MIT */
/*
 * Debug builds' patterns in memory that nobody should be reading or writing. Only the first
 * JUNK_BYTES of a piece are filled unless WEIR_DEBUG is 2 or more: an emulator pays for each.
 * Pure; whoever owns the memory calls.
 */
#ifndef MEM_JUNK_H
#define MEM_JUNK_H

#include "kernel/base/string.h"

#if defined(WEIR_DEBUG) && WEIR_DEBUG
#define JUNK_ON 1
#else
#define JUNK_ON 0
#endif

#if JUNK_ON && WEIR_DEBUG >= 2
#define JUNK_BYTES PAGE_SIZE
#else
#define JUNK_BYTES 64ull
#endif

static inline void junk_fill(void *p, u8 pattern, u64 size)
{
	memset(p, pattern, min(size, JUNK_BYTES));
}

/* The first byte that is not the pattern, or NULL. */
static inline const u8 *junk_find_damage(const void *p, u8 pattern, u64 size)
{
	const u8 *b = p;

	for (u64 i = 0; i < min(size, JUNK_BYTES); i++) {
		if (b[i] != pattern)
			return b + i;
	}
	return NULL;
}

#endif
