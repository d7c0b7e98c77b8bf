/* SPDX-License-Identifier: MIT */
#include "mem/gmem_stat.h"
#include "mem/gmem_private.h"

const struct stat_desc gmem_stat_descs[] = {GMEM_STATS(STAT_DESC)};
STAT_CHECK(gmem_stats, gmem_stat_descs);

#define STAT_INDEX(field) (offsetof(struct gmem_stats, field) / sizeof(u64))

static_assert(STAT_INDEX(absent) == GMEM_ABSENT && STAT_INDEX(got_page) == GMEM_GOT_PAGE &&
		      STAT_INDEX(shared) == GMEM_SHARED && STAT_INDEX(packed) == GMEM_PACKED &&
		      STAT_INDEX(swapped) == GMEM_SWAPPED && STAT_INDEX(busy) == GMEM_BUSY,
	      "an entry's state is the index of its counter");

static u64 count_state(const struct gmem *g, enum gmem_state state)
{
	u64 step = gmem_entry_pages(g), n = 0;

	for (u64 index = 0; index < g->pages; index += step) {
		const u64 *e = gmem_entry_find(g, index);

		if (!e) {
			/* Nothing of the chunk was touched. */
			u64 chunk = step * GMEM_CHUNK_ENTRIES;
			u64 end = min(align_down(index, chunk) + chunk, g->pages);

			n += state == GMEM_ABSENT ? end - index : 0;
			index = end - step;
		} else if (gmem_entry_state(gmem_entry_load(e)) == state) {
			n += step;
		}
	}
	return n;
}

u64 gmem_stat_read(const void *owner, u32 i)
{
	const struct gmem *g = owner;

	switch (i) {
	case STAT_INDEX(peak):
		return gmem_touched_peak(g);
	case STAT_INDEX(pins):
		return READ_ONCE(g->pins);
	default:
		return count_state(g, i);
	}
}
