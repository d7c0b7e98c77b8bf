/* SPDX-License-Identifier: MIT */
/* From swap= on Weir's command line to a disk that mem/swap.c puts pages on. Boot thread. */
#ifndef KERNEL_DISK_SWAP_DISK_H
#define KERNEL_DISK_SWAP_DISK_H

#include "kernel/disk/disk.h"

/*
 * Finds it, looks at its signature and attaches it; one line says which and how large, or why not:
 * Weir goes on without then. Empty: nothing is done, and no disk is looked for.
 */
void swap_start(const char *name);

/* What pages go to, for the self-test; NULL: there is none. */
struct disk_area *swap_area(u64 *blocks);

#endif
