/* SPDX-License-Identifier: MIT */
/*
 * What is counted of sharing, from nothing but the entries of all objects and who holds which frame.
 * While nobody changes any.
 */
#ifndef TESTS_UNIT_MEM_SHARE_RECOUNT_H
#define TESTS_UNIT_MEM_SHARE_RECOUNT_H

#include <cmocka.h>
#include "mem/gmem_private.h"
#include "mem/share.h"

/* Objects of a test; NULL: one that is gone. */
struct recount {
	struct gmem *const *objects;
	u32 count;
	const pfn_t *held;
	u32 held_count;
};

/* The entry's contents are those that the frame has: in it, or where it has them from. */
static inline bool recount_same(u64 entry, pfn_t pfn)
{
	const struct frame *f = frame_of(pfn);

	if (gmem_entry_state(entry) == GMEM_SHARED)
		return gmem_entry_pfn(entry).v == pfn.v;
	return gmem_entry_state(entry) == GMEM_PACKED && (f->share.owners & 1) &&
	       entry >> GMEM_PFN_SHIFT == f->share.origin;
}

/* Who has the contents of the frame, and of those who the frame; checks what the frame says of them. */
static inline u64 recount_frame(const struct recount *r, pfn_t pfn, u64 *in_frame)
{
	u64 owners = frame_of(pfn)->share.owners & 1, users = 0;

	*in_frame = 0;
	for (u32 i = 0; i < r->count; i++) {
		for (u64 at = 0; r->objects[i] && at < r->objects[i]->pages; at++) {
			u64 entry = gmem_entry(r->objects[i], at);

			if (!recount_same(entry, pfn))
				continue;
			users++;
			if (gmem_entry_state(entry) != GMEM_SHARED)
				continue;
			owners ^= (uintptr_t)r->objects[i];
			++*in_frame;
		}
	}
	for (u32 i = 0; i < r->held_count; i++) {
		users += r->held[i].v == pfn.v;
		*in_frame += r->held[i].v == pfn.v;
	}
	assert_int_equal(frame_of(pfn)->share.owners, owners);
	assert_int_equal(frame_of(pfn)->refs, *in_frame);
	return users;
}

/* How many of the object's pages are alone in their frames. */
static inline u64 recount_alone(const struct recount *r, const struct gmem *g, double *saved)
{
	u64 alone = 0, in_frame;

	for (u64 at = 0; at < g->pages; at++) {
		u64 entry = gmem_entry(g, at);

		if (gmem_entry_state(entry) != GMEM_SHARED)
			continue;
		alone += recount_frame(r, gmem_entry_pfn(entry), &in_frame) == 1;
		/* Each has its part of one. */
		*saved += 1 - 1 / (double)in_frame;
	}
	return alone;
}

/* All that is counted is right, all objects being of one group. How many are alone in all. */
static inline u64 recount(const struct recount *r, u32 group)
{
	double saved = 0;
	u64 sum = 0, in_frame;

	for (u32 i = 0; i < r->count; i++) {
		u64 alone;

		if (!r->objects[i])
			continue;
		alone = recount_alone(r, r->objects[i], &saved);
		assert_int_equal(r->objects[i]->alone, alone);
		sum += alone;
	}
	for (u32 i = 0; i < r->held_count; i++) {
		if (!share_is_frame(r->held[i]))
			continue;
		(void)recount_frame(r, r->held[i], &in_frame);
		saved += 1 - 1 / (double)in_frame;
	}
	assert_int_equal(share_saved(group), (u64)(saved + 0.5));
	return sum;
}

#endif
