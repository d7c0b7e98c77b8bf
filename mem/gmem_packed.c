/* SPDX-License-Identifier: MIT */
/* Guest memory objects: packed pages that stay cold go on to the swap disk. */
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/share.h"
#include "mem/swap.h"
#include "mem/tier.h"

/*
 * What is written is the page itself: so it is read as any other, and what is damaged there is found
 * by the sum of its block. The frame for it comes from the reserve that what is taken comes back to.
 */
static bool write_busy(struct gmem *g, u64 index, u64 *e, u64 entry, struct list *batch)
{
	pfn_t pfn;

	/* Lent until it is written: also of what is kept for others. */
	if (share_has_many(entry >> GMEM_PFN_SHIFT) || !watermark_admits_owed(1) ||
	    frame_alloc(0, FRAME_FOR(SWAP), &pfn))
		return false;
	tier_get(entry, pfn_to_virt(pfn));
	if (swap_write_packed(g, index, e, entry, pfn, batch))
		return true;
	frame_free(pfn, 0);
	return false;
}

static bool write_one(struct gmem *g, u64 index, u64 *e, u64 entry, struct list *batch)
{
	if (!gmem_entry_take(g, e, &entry))
		return false;
	if (write_busy(g, index, e, entry, batch))
		return true;
	gmem_settle(g, index, entry);
	return false;
}

u64 gmem_write_packed(struct gmem *g, u64 first, u64 pages, u32 steps, u64 most)
{
	struct list batch = LIST_INIT(batch);
	u64 *e, n = 0;

	BUG_ON(!gmem_range_ok(g, first, pages));
	BUG_ON(pages && first / GMEM_LARGE_PAGES != (first + pages - 1) / GMEM_LARGE_PAGES);
	e = g->order ? NULL : gmem_entry_find(g, first);
	for (u64 i = 0; e && i < pages && n < most && swap_takes(); i++) {
		u64 entry = gmem_entry_load(e + i);

		if (gmem_entry_state(entry) == GMEM_PACKED && gmem_stamp_age(g, entry) >= steps)
			n += write_one(g, first + i, e + i, entry, &batch);
	}
	swap_submit(&batch);
	return n;
}
