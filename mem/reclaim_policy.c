/* SPDX-License-Identifier: MIT */
#include "mem/reclaim_policy.h"

#define PARTS 65536u /* of that time */

static_assert(36 + 7 + 20 < 64, "a charge times shares is a word");

u64 reclaim_charge(const struct reclaim_claim *c, u32 tax)
{
	u64 used = min(c->used, c->pages);

	return used * (100 - tax) + (c->pages - used) * 100;
}

bool reclaim_pays_less(const struct reclaim_claim *a, const struct reclaim_claim *b, u32 tax)
{
	return a->shares * reclaim_charge(b, tax) < b->shares * reclaim_charge(a, tax);
}

u64 reclaim_working_set(u64 before, u64 used, u64 ns)
{
	u64 part = min(ns / (RECLAIM_MEMORY_NS / PARTS), (u64)PARTS);

	if (used >= before)
		return used;
	/* Half of the way in all that time. Rounded up, or it would never get there. */
	return before - ((before - used) * part + 2 * PARTS - 1) / (2 * PARTS);
}
