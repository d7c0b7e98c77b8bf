/* SPDX-License-Identifier: MIT */
/* What entry.S and the C of boot/ tell each other. Not for other floors. */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "kernel/base/types.h"

/* Entered by entry.S on a small stack, the early page tables loaded, interrupts off. */
void __noreturn boot_main(u32 magic, u64 info_phys);

/* Goes on in fn with the stack that ends at top; nothing of the old one is used again. */
void __noreturn boot_switch_stack(void *top, void (*fn)(void));

/* console.c: the sinks that the command line and the boot information name; early mappings. */
void boot_console_init(void);
/*
 * Around vmap_init_cpu: the early mapping of the screen is about to go; a lasting one is made. False:
 * there is no memory for that now.
 */
void boot_console_unmap(void);
bool boot_console_map(void);

#endif
