/* SPDX-License-Identifier: MIT */
/*
 * Turns the firmware's memory map (unsorted, overlapping, empty, wrapping) and a list of ranges
 * to keep (image, modules, ACPI) into sorted, disjoint, page-aligned free ranges. Pure.
 */
#ifndef MEM_MEMMAP_H
#define MEM_MEMMAP_H

#include "kernel/base/boot_info.h"

#define MEMMAP_RANGES_MAX 512

struct mem_range {
	u64 start, end; /* bytes, page-aligned, end exclusive */
};

struct memmap {
	u32 count;
	struct mem_range ranges[MEMMAP_RANGES_MAX];
	u64 highest_ram; /* end of the highest RAM of any type that the direct map should show */
	u32 ignored;	 /* malformed entries that were passed over */
};

/*
 * Where types overlap anything but AVAILABLE wins. AVAILABLE is rounded inwards, everything else
 * and reserved[] outwards. The first 1 MiB is never free. 0 or ERR_NOSPC (what fitted is valid).
 */
int memmap_build(struct memmap *out, const struct boot_mmap_entry *entries, u32 count,
		 const struct mem_range *reserved, u32 reserved_count);

#endif
