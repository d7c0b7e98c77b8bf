/* SPDX-License-Identifier: MIT */
/* What the tests of guest memory objects share: memory to live in, and a notifier that records. */
#ifndef TESTS_UNIT_MEM_FIXTURE_H
#define TESTS_UNIT_MEM_FIXTURE_H

#include <cmocka.h>
#include "mem/frame.h"
#include "mem/gmem.h"

/* Frames that are free, to see that what a test took came back. */
u64 free_now(void);

/* Fresh memory of so many bytes, nothing failing, no lock held. Returns free_now(). */
u64 start(u64 arena);

/* Every free frame has something in it afterwards. */
void soil_free_memory(void);

/* Whether 2^order pages hold nothing but zero. */
bool all_zero(pfn_t pfn, u32 order);

/* An entry as gmem_settle takes it, for a frame in a state (and flags). */
u64 entry_of(pfn_t pfn, u64 state_and_flags);

/* Takes the pages, all within 2 MiB. */
static inline struct gmem_taken take_range(struct gmem *g, u64 first, u64 pages)
{
	u64 marked[GMEM_LARGE_PAGES / 64];
	struct gmem_taken t = {0};

	for (u32 i = 0; i < ARRAY_SIZE(marked); i++)
		marked[i] = ~0ull;
	gmem_take(g, first, pages, marked, &t);
	return t;
}

struct recorder {
	struct gmem_notifier n;
	u64 answer; /* what it returns */
	u32 calls;
	enum gmem_event event;
	u64 first, pages; /* of the last call */
	void (*in_call)(struct recorder *r, struct gmem *g);
};

/* One that is ready to be added. */
void recorder_init(struct recorder *r, u64 answer);

#endif
