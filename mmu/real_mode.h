/* SPDX-License-Identifier: MIT */
/*
 * What a CPU without unrestricted guest needs in guest memory to run real mode and protected mode
 * without paging: there it enters the guest in virtual-8086 mode, with a TSS, or with paging on, over
 * tables that map each address to itself. Only the contents: mmu/rma_setup.h puts them in place.
 * Pure.
 */
#ifndef MMU_REAL_MODE_H
#define MMU_REAL_MODE_H

#include "kernel/base/types.h"

/*
 * The 32-bit TSS (SDM 3A 8.2.1): its fixed part, the map that says which software interrupts go to
 * the 8086 program's own handlers, and the I/O map with the byte of ones that must end it. The last
 * byte is in the third page.
 */
#define REAL_MODE_TSS_FIXED    0x68u
#define REAL_MODE_REDIRECTION  (256 / 8u)
#define REAL_MODE_IO_MAP       (REAL_MODE_TSS_FIXED + REAL_MODE_REDIRECTION)
#define REAL_MODE_IO_MAP_BYTES (65536 / 8u)
#define REAL_MODE_TSS_LIMIT    (REAL_MODE_IO_MAP + REAL_MODE_IO_MAP_BYTES) /* of TR: its last byte */
#define REAL_MODE_TSS_PAGES    3u

/*
 * All zero but the I/O map's place and its end: every software interrupt is the program's, and no
 * port is kept from it, for VMX has its own say on ports. The pages need not be contiguous here.
 */
void real_mode_build_tss(u8 *const pages[REAL_MODE_TSS_PAGES]);

/* A page directory for 32-bit paging with CR4.PSE: 4 GiB in pages of 4 MiB, each at its own address. */
void real_mode_build_identity_map(u32 directory[1024]);

#endif
