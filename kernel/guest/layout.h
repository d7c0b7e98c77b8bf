/* SPDX-License-Identifier: MIT */
/*
 * Who occupies what of a guest's RAM below 4 GiB while its loader places kernel, modules and
 * tables; and the memory map it is told. Pure; the loading thread owns it.
 */
#ifndef KERNEL_GUEST_LAYOUT_H
#define KERNEL_GUEST_LAYOUT_H

#include "kernel/base/addr.h"
#include "kernel/guest/memory.h"

/* Of an ELF file's segments, a VM's modules and what a loader adds to them none is one too many. */
#define LAYOUT_USED_MAX 96

struct layout_range {
	u64 start, end; /* end exclusive */
};

struct layout {
	u64 mem;     /* bytes of RAM in all */
	u64 low_top; /* where the RAM below 4 GiB ends */
	u32 count;
	struct layout_range used[LAYOUT_USED_MAX];
};

/* Page 0 and everything from GUEST_LOW_USABLE_TOP to 1 MiB are taken from the start. */
#define GUEST_LOW_USABLE_TOP 0x9f000ull
void layout_init(struct layout *l, u64 mem);

/*
 * No mem= makes RAM of it: none of a VM's lies from GUEST_LOWMEM_TOP to 4 GiB, where kernels are
 * not put.
 */
static inline bool layout_never_holds(u64 start, u64 size)
{
	return size > GUEST_LOWMEM_TOP || start > GUEST_LOWMEM_TOP - size;
}

/* A fixed place. ERR_RANGE: not all of it is low RAM. ERR_EXIST: taken. ERR_NOSPC. */
int layout_reserve(struct layout *l, u64 start, u64 size);

/*
 * A free place, aligned (power of two), at or above from / with its end at or below to; the lowest, or the
 * highest. ERR_NOMEM, ERR_NOSPC. ERR_INVAL: the highest, of no bytes.
 */
int layout_alloc_low(struct layout *l, u64 size, u64 align, u64 from, u64 *out);
int layout_alloc_high(struct layout *l, u64 size, u64 align, u64 to, u64 *out);

/* The guest's memory map in the types of the BIOS call e820 (ACPI 6.4 table 15.4). */
enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
	E820_ACPI = 3
};
#define E820_MAP_MAX 8
struct e820_entry {
	u64 addr, size;
	u32 type;
} __attribute__((packed));
static_assert(sizeof(struct e820_entry) == 20, "the guest's layout");
u32 layout_e820(const struct layout *l, struct e820_entry out[E820_MAP_MAX]);

#endif
