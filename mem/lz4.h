/* SPDX-License-Identifier: MIT */
/*
 * One page by LZ4, which is Debian's liblz4. Exit and thread context, after vector_init; interrupts
 * are off for as long as it takes.
 */
#ifndef MEM_LZ4_H
#define MEM_LZ4_H

#include "kernel/base/types.h"

/*
 * Calls use with what the page at `page` packs to, interrupts off, if that is at most `most` bytes:
 * 0, or what use returned. ERR_NOSPC: it is more; ERR_NOMEM: vector_init had none.
 */
int lz4_pack(const void *page, u32 most, int (*use)(void *arg, const void *bytes, u32 size),
	     void *arg);

/* Copies what a page was packed to, PAGE_SIZE bytes at most; how many. Interrupts are off. */
typedef u32 (*lz4_get_fn)(void *arg, void *bytes);

/* False: the bytes are not of a page that lz4_pack packed. */
bool lz4_unpack(lz4_get_fn get, void *arg, void *page);
/* What `equal` says of what they unpack to, and the page. Panics if they are damaged. */
bool lz4_holds(lz4_get_fn get, void *arg, const void *page,
	       bool (*equal)(const u64 *a, const u64 *b));

#endif
