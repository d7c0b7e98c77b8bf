/* SPDX-License-Identifier: MIT */
/*
 * Turns the firmware's memory map (unsorted, overlapping, empty, wrapping) and a list of ranges
 * to keep (image, modules, ACPI) into sorted, disjoint, page-aligned free ranges. Pure.
 */
#ifndef MEM_MEMMAP_H
#define MEM_MEMMAP_H

#include "kernel/base/boot_info.h"

#define MEMMAP_RANGES_MAX 512
#define MEMMAP_LOW_END	  MIB(1)  /* nothing below is ever free */
#define MEMMAP_PHYS_END	  BIT(52) /* no processor has wider physical addresses (SDM 3A 4.1.4) */

struct mem_range {
	u64 start, end; /* bytes, page-aligned, end exclusive */
};

/* Sorted, disjoint and not touching one another. Too large for a stack. */
struct memmap {
	u32 count;
	struct mem_range ranges[MEMMAP_RANGES_MAX]; /* free */
	/*
	 * All memory that the direct map should show, in use or not: AVAILABLE and both ACPI types
	 * less everything else. Holds the free ranges.
	 */
	u32 ram_count;
	struct mem_range ram[MEMMAP_RANGES_MAX];
	u64 highest_ram; /* end of the last of ram[], 0 without any */
	u32 ignored;	 /* malformed entries that were passed over */
};

/*
 * Where types overlap anything but AVAILABLE wins. AVAILABLE is rounded inwards, everything else
 * and reserved[] outwards. The first 1 MiB is never free. An AVAILABLE entry that is empty, wraps
 * or lies beyond MEMMAP_PHYS_END is passed over; of another type that wraps, all up to the end of
 * the address space is kept. 0 or ERR_NOSPC (what fitted is valid: memory is lost, none invented).
 */
int memmap_build(struct memmap *out, const struct boot_mmap_entry *entries, u32 count,
		 const struct mem_range *reserved, u32 reserved_count);

/*
 * Takes out all from end on: where the CPU has no addresses there is no memory, whatever the map
 * says. true: something was.
 */
bool memmap_clip(struct memmap *m, u64 end);

/*
 * Bytes of free memory in r; and takes r out of it, while the direct map goes on showing it: 0, or
 * ERR_NOSPC as above.
 */
u64 memmap_free_within(const struct memmap *m, struct mem_range r);
int memmap_withhold(struct memmap *m, struct mem_range r);

/* Will the direct map show all of [start, start + size)? The low 1 MiB it always does. */
bool memmap_shows(const struct memmap *m, u64 start, u64 size);

#endif
