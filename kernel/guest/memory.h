/* SPDX-License-Identifier: MIT */
/*
 * The guest physical map: RAM fills [0, 3 GiB) and goes on at 4 GiB. The legacy hole
 * 0xa0000-0xdffff is no RAM; 0xe0000-0xfffff, a PC's BIOS, is RAM that holds the tables Weir
 * gives the guest. Constants only.
 */
#ifndef KERNEL_GUEST_MEMORY_H
#define KERNEL_GUEST_MEMORY_H

#include "kernel/base/types.h"

#define GUEST_LOWMEM_TOP  GIB(3)
#define GUEST_LEGACY_HOLE 0xa0000ull
#define GUEST_BIOS_AREA	  0xe0000ull
#define GUEST_HIGH_BASE	  GIB(4)
#define GUEST_IOAPIC_PAGE 0xfec00000ull
#define GUEST_LAPIC_PAGE  0xfee00000ull

/*
 * In the BIOS area: the ACPI tables from its start, the first GDT on its last page, and between
 * them what the real-mode area holds for CPUs without unrestricted guest (mmu/real_mode.h).
 */
#define GUEST_ACPI_BASE	    0xe0000ull
#define GUEST_ACPI_SIZE	    0x10000ull
#define GUEST_GDT	    0xff000ull
#define GUEST_REAL_MODE_TSS 0xf0000ull
#define GUEST_IDENTITY_MAP  0xf3000ull

#endif
