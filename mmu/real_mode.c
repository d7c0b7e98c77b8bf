/* SPDX-License-Identifier: MIT */
#include "mmu/real_mode.h"
#include "kernel/base/string.h"

#define TSS_IO_MAP_BASE 0x66 /* where the I/O map's offset is, 16 bits */

static_assert(REAL_MODE_TSS_LIMIT / PAGE_SIZE == REAL_MODE_TSS_PAGES - 1, "it ends in the third");

void real_mode_build_tss(u8 *const pages[REAL_MODE_TSS_PAGES])
{
	u16 io_map = REAL_MODE_IO_MAP;

	for (u32 i = 0; i < REAL_MODE_TSS_PAGES; i++)
		memset(pages[i], 0, PAGE_SIZE);
	memcpy(pages[0] + TSS_IO_MAP_BASE, &io_map, sizeof(io_map));
	pages[REAL_MODE_TSS_LIMIT / PAGE_SIZE][REAL_MODE_TSS_LIMIT % PAGE_SIZE] = 0xff;
}

/* SDM 3A table 4-4. Accessed and dirty, so that the CPU has nothing to write there. */
#define PDE_PRESENT  BIT(0)
#define PDE_WRITE    BIT(1)
#define PDE_USER     BIT(2)
#define PDE_ACCESSED BIT(5)
#define PDE_DIRTY    BIT(6)
#define PDE_4M	     BIT(7)

void real_mode_build_identity_map(u32 directory[1024])
{
	u32 bits = PDE_PRESENT | PDE_WRITE | PDE_USER | PDE_ACCESSED | PDE_DIRTY | PDE_4M;

	for (u32 i = 0; i < 1024; i++)
		directory[i] = i << 22 | bits;
}
