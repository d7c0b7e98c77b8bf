/* SPDX-License-Identifier: MIT */
/* Between trampoline.S and trampoline.c: selectors and register values on the way up. */
#ifndef SMP_TRAMPOLINE_H
#define SMP_TRAMPOLINE_H

#define TRAMPOLINE_CODE32 0x08
#define TRAMPOLINE_DATA	  0x10
#define TRAMPOLINE_CODE64 0x18

#define TRAMPOLINE_CR0_PE   0x00000011 /* PE, ET; leaves CD and NW clear: caches on */
#define TRAMPOLINE_CR0	    0x80010033 /* PG, WP, NE, ET, MP, PE */
#define TRAMPOLINE_CR4	    0x00000020 /* PAE */
#define TRAMPOLINE_MSR_EFER 0xc0000080
#define TRAMPOLINE_EFER	    0x00000900 /* LME, NXE */

/* The firmware may have hidden no-execute pages: bit 34 of this MSR, in EDX (SDM 4 table 2-2). */
#define TRAMPOLINE_MSR_MISC_ENABLE 0x1a0
#define TRAMPOLINE_XD_DISABLE_HIGH 0x4

#ifndef __ASSEMBLY__
#include "kernel/base/boot_info.h"

#define TRAMPOLINE_NONE 0

/*
 * Pure: the lowest page from 64 to 640 KiB, or else below, but not page 0, that lies wholly in
 * available memory, touches nothing that any entry of the map calls something else, and none of the
 * ranges to keep. Its address, or TRAMPOLINE_NONE.
 */
struct trampoline_keep {
	u64 start, end;
};
u64 trampoline_choose(const struct boot_mmap_entry *map, u32 count,
		      const struct trampoline_keep *keep, u32 keep_count);

/*
 * A page to begin in, by boot_info, and its end as one. Where modules fill all of low memory it is
 * one of theirs, whose bytes are put aside and put back; else it is zeroed. Its address, or
 * TRAMPOLINE_NONE. Boot CPU, one at a time, while nobody reads modules.
 */
u64 trampoline_page_take(void);
void trampoline_page_give_back(u64 taken);

/*
 * Copies the code to its page and makes page tables that show it and Weir. cr3: of the tables
 * CPUs live on after. ERR_NOENT: no page is to be had. Boot CPU.
 */
int trampoline_prepare(u64 cr3);
u8 trampoline_page(void); /* number of the page, for SIPI */
/* What the next CPU to start finds: its stack pointer and what ap_main is called with. */
void trampoline_set(u64 stack_top, void *argument);
void trampoline_wipe(void);

void __attribute__((noreturn)) ap_main(void *argument);
#endif

#endif
