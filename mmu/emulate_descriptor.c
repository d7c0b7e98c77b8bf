/* SPDX-License-Identifier: MIT */
/* Segment descriptors in the guest's tables (SDM 3A 3.4.5). */
#include "mmu/emulate_internal.h"

#define SELECTOR_INDEX	0xfff8u
#define DESCRIPTOR_SIZE 8

static void unpack(struct descriptor *d, u16 selector)
{
	u64 raw = d->raw;
	u32 limit = (u32)(raw & 0xffff) | (u32)(raw >> 32 & 0xf0000);

	if (raw & BIT(55))
		limit = limit << 12 | 0xfff;
	d->segment = (struct emulate_segment){
		.base = (raw >> 16 & 0xffffff) | (raw >> 56) << 24,
		.limit = limit,
		.access = (u32)(raw >> 40) & 0xf0ff,
		.selector = selector,
	};
}

bool replay_find_descriptor(struct emulate *e, u16 selector, struct descriptor *d, bool *found)
{
	const struct emulate_segment *ldt = &e->sys.segment[EMULATE_LDTR];
	u64 base = e->sys.gdt.base, limit = e->sys.gdt.limit;

	*found = false;
	if (selector & SELECTOR_TI) {
		if (ldt->access & ACCESS_UNUSABLE)
			return true;
		base = ldt->base;
		limit = ldt->limit;
	}
	if ((selector & SELECTOR_INDEX) + DESCRIPTOR_SIZE - 1u > limit)
		return true;
	d->linear = base + (selector & SELECTOR_INDEX);
	if (!replay_read_table(e, d->linear, DESCRIPTOR_SIZE, &d->raw))
		return false;
	unpack(d, selector);
	*found = true;
	return true;
}

bool replay_read_descriptor(struct emulate *e, u16 selector, struct descriptor *d)
{
	bool found;

	if (!replay_find_descriptor(e, selector, d, &found))
		return false;
	return found || replay_fault(e, EMULATE_VECTOR_GP, selector & ~3u);
}

bool replay_mark_descriptor(struct emulate *e, struct descriptor *d, u32 bits)
{
	if ((d->segment.access & bits) == bits)
		return true;
	d->segment.access |= bits;
	return replay_exchange_table(e, d->linear + 4, 4, d->raw >> 32,
				     d->raw >> 32 | (u64)bits << 8);
}
