/* SPDX-License-Identifier: MIT */
#include "kernel/guest/layout.h"
#include "kernel/guest/memory.h"

#include "kernel/base/error.h"

static int take(struct layout *l, u64 start, u64 end)
{
	if (l->count == LAYOUT_USED_MAX)
		return ERR_NOSPC;
	l->used[l->count++] = (struct layout_range){start, end};
	return 0;
}

void layout_init(struct layout *l, u64 mem)
{
	l->mem = mem;
	l->low_top = min(mem, (u64)GUEST_LOWMEM_TOP);
	l->count = 0;
	take(l, 0, PAGE_SIZE);
	take(l, GUEST_LOW_USABLE_TOP, MIB(1));
}

static const struct layout_range *overlap(const struct layout *l, u64 start, u64 end)
{
	for (u32 i = 0; i < l->count; i++) {
		if (start < l->used[i].end && l->used[i].start < end)
			return &l->used[i];
	}
	return NULL;
}

int layout_reserve(struct layout *l, u64 start, u64 size)
{
	if (size > l->low_top || start > l->low_top - size)
		return ERR_RANGE;
	if (!size)
		return 0;
	if (overlap(l, start, start + size))
		return ERR_EXIST;
	return take(l, start, start + size);
}

/* Each round passes one taken range for good, so there are at most count + 1. */
int layout_alloc_low(struct layout *l, u64 size, u64 align, u64 from, u64 *out)
{
	const struct layout_range *r;
	u64 at = align_up(from, align);

	if (at < from) /* it wrapped */
		return ERR_NOMEM;
	while (size <= l->low_top && at <= l->low_top - size) {
		r = overlap(l, at, at + max(size, (u64)1));
		if (!r) {
			*out = at;
			return take(l, at, at + size);
		}
		at = align_up(r->end, align);
	}
	return ERR_NOMEM;
}

int layout_alloc_high(struct layout *l, u64 size, u64 align, u64 to, u64 *out)
{
	const struct layout_range *r;
	u64 top = min(to, l->low_top), at;

	if (!size) /* a taken range would be met at its start again, without an end */
		return ERR_INVAL;
	while (size <= top) {
		at = align_down(top - size, align);
		r = overlap(l, at, at + size);
		if (!r) {
			*out = at;
			return take(l, at, at + size);
		}
		top = r->start;
	}
	return ERR_NOMEM;
}

u32 layout_e820(const struct layout *l, struct e820_entry out[E820_MAP_MAX])
{
	u32 n = 0;

	out[n++] = (struct e820_entry){0, GUEST_LOW_USABLE_TOP, E820_RAM};
	out[n++] = (struct e820_entry){GUEST_LOW_USABLE_TOP,
				       GUEST_LEGACY_HOLE - GUEST_LOW_USABLE_TOP, E820_RESERVED};
	out[n++] = (struct e820_entry){GUEST_BIOS_AREA, MIB(1) - GUEST_BIOS_AREA, E820_RESERVED};
	if (l->low_top > MIB(1))
		out[n++] = (struct e820_entry){MIB(1), l->low_top - MIB(1), E820_RAM};
	out[n++] = (struct e820_entry){GUEST_IOAPIC_PAGE, PAGE_SIZE, E820_RESERVED};
	out[n++] = (struct e820_entry){GUEST_LAPIC_PAGE, PAGE_SIZE, E820_RESERVED};
	if (l->mem > l->low_top)
		out[n++] = (struct e820_entry){GUEST_HIGH_BASE, l->mem - l->low_top, E820_RAM};
	return n;
}
