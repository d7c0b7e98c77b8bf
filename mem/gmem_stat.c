/* SPDX-License-Identifier: MIT */
#include "mem/gmem_stat.h"

const struct stat_desc gmem_stat_descs[] = {GMEM_STATS(STAT_DESC)};
STAT_CHECK(gmem_stats, gmem_stat_descs);

#define STAT_INDEX(field) (offsetof(struct gmem_stats, field) / sizeof(u64))

static_assert(STAT_INDEX(absent) == GMEM_ABSENT && STAT_INDEX(got_page) == GMEM_GOT_PAGE &&
		      STAT_INDEX(shared) == GMEM_SHARED && STAT_INDEX(packed) == GMEM_PACKED &&
		      STAT_INDEX(swapped) == GMEM_SWAPPED && STAT_INDEX(busy) == GMEM_BUSY &&
		      STAT_INDEX(filled) == GMEM_FILLED,
	      "an entry's state is the index of its counter");

u64 gmem_stat_read(const void *owner, u32 i)
{
	const struct gmem *g = owner;
	u64 pages[GMEM_STATES];

	switch (i) {
	case STAT_INDEX(peak):
		return gmem_resident_peak(g);
	case STAT_INDEX(pins):
		return READ_ONCE(g->pins);
	case STAT_INDEX(given_back):
		return gmem_given_back(g);
	case STAT_INDEX(removed):
		return __atomic_load_n(&g->removed, __ATOMIC_RELAXED);
	default:
		gmem_count_states(g, pages);
		return pages[i];
	}
}
