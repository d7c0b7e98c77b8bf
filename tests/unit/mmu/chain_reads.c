/* SPDX-License-Identifier: MIT */
#include "mmu/rmap.h"
#include "tests/unit/mmu/chain_reads.h"

u32 chain_reads;

u64 *__real_rmap_spte_of_many(const u64 *word, u32 i);
u64 *__wrap_rmap_spte_of_many(const u64 *word, u32 i);
u64 *__real_rmap_next_of_many(struct rmap_cursor *at);
u64 *__wrap_rmap_next_of_many(struct rmap_cursor *at);

/* All from the first on. */
u64 *__wrap_rmap_spte_of_many(const u64 *word, u32 i)
{
	chain_reads += i / RMAP_DESC_SPTES + 1;
	return __real_rmap_spte_of_many(word, i);
}

/* The one that it is at, or the next. */
u64 *__wrap_rmap_next_of_many(struct rmap_cursor *at)
{
	chain_reads++;
	return __real_rmap_next_of_many(at);
}
