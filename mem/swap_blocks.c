/* SPDX-License-Identifier: MIT */
#include "mem/swap_blocks.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "smp/spinlock.h"

#define WORD_BLOCKS  64u
#define SUMS_OF_PAGE ((u32)(PAGE_SIZE / sizeof(u32)))
#define LOOK_MAX     4096u /* words that one look for a free block goes through */
#define CLUSTER_LOOK 64u   /* and for a word that is free as a whole */

/* Odd, so that multiplying by them loses nothing. */
#define MIX_1 0x9e3779b97f4a7c15ull
#define MIX_2 0xc2b2ae3d27d4eb4full

static struct spinlock lock = SPINLOCK_INIT("swap blocks", LOCK_SWAP);
/* set once */
static u64 total; /* the header's, too */
static u64 words;
static u64 seed_now;
static u32 **sums; /* a page each */
/* lock */
static u64 *in_use;
static u64 cursor; /* where the next look begins */
static u64 unused; /* atomic */
static u64 bad;

static u64 pages_of_sums(u64 blocks)
{
	return (blocks + SUMS_OF_PAGE - 1) / SUMS_OF_PAGE;
}

static u64 words_of(u64 blocks)
{
	return (blocks + WORD_BLOCKS - 1) / WORD_BLOCKS;
}

u64 swap_blocks_memory(u64 blocks)
{
	return words_of(blocks) * sizeof(u64) + pages_of_sums(blocks) * (PAGE_SIZE + sizeof(*sums));
}

void swap_blocks_end(void)
{
	for (u64 i = 0; sums && i < pages_of_sums(total); i++) {
		if (sums[i])
			frame_free_page(sums[i]);
	}
	kfree(sums);
	kfree(in_use);
	sums = NULL;
	in_use = NULL;
	total = words = cursor = bad = 0;
	__atomic_store_n(&unused, 0, __ATOMIC_RELAXED);
}

static bool make_tables(u64 blocks)
{
	in_use = kmalloc(words * sizeof(u64));
	sums = kmalloc(pages_of_sums(blocks) * sizeof(*sums));
	for (u64 i = 0; sums && i < pages_of_sums(blocks); i++) {
		sums[i] = frame_alloc_page(FRAME_ZERO | FRAME_FOR(SWAP));
		if (!sums[i])
			return false;
	}
	return in_use && sums;
}

int swap_blocks_init(u64 blocks, u64 seed)
{
	BUG_ON(total);
	if (blocks < 2)
		return ERR_RANGE;
	total = blocks;
	words = words_of(blocks);
	if (!make_tables(blocks)) {
		swap_blocks_end();
		return ERR_NOMEM;
	}
	seed_now = seed;
	in_use[0] |= 1;
	if (blocks % WORD_BLOCKS)
		in_use[words - 1] |= ~0ull << blocks % WORD_BLOCKS;
	cursor = 1;
	__atomic_store_n(&unused, blocks - 1, __ATOMIC_RELAXED);
	return 0;
}

/* --- Blocks --------------------------------------------------------------------------------- */

/* lock. Of the words from this one on the first that is free as a whole, or it. */
static u64 free_cluster(u64 word)
{
	for (u64 i = 0; i < CLUSTER_LOOK; i++) {
		if (in_use[(word + i) % words] == 0)
			return (word + i) % words;
	}
	return word;
}

/*
 * lock. Goes on from the cursor; a word is used up before the next is begun. Words that were looked at
 * for one that is free as a whole are gone through before there is another such look, so that an
 * almost full disk costs two looks at each.
 */
static u64 find_free(void)
{
	for (u32 i = 0; i < LOOK_MAX; i++) {
		u64 word = cursor / WORD_BLOCKS, at = cursor % WORD_BLOCKS;
		u64 free = at ? ~in_use[word] >> at << at : ~in_use[word];

		if (free)
			return word * WORD_BLOCKS + (u32)__builtin_ctzll(free);
		word = (word + 1) % words;
		cursor = (i % CLUSTER_LOOK ? word : free_cluster(word)) * WORD_BLOCKS;
	}
	return 0;
}

u64 swap_block_get(void)
{
	u64 block = 0;

	spin_lock(&lock);
	if (unused)
		block = find_free();
	if (block) {
		in_use[block / WORD_BLOCKS] |= BIT(block % WORD_BLOCKS);
		cursor = (block + 1) % (words * WORD_BLOCKS);
		__atomic_store_n(&unused, unused - 1, __ATOMIC_RELAXED);
	}
	spin_unlock(&lock);
	return block;
}

static bool is_given_out(u64 block)
{
	return block && block < total && (in_use[block / WORD_BLOCKS] & BIT(block % WORD_BLOCKS));
}

void swap_block_put(u64 block)
{
	spin_lock(&lock);
	BUG_ON(!is_given_out(block));
	in_use[block / WORD_BLOCKS] &= ~BIT(block % WORD_BLOCKS);
	__atomic_store_n(&unused, unused + 1, __ATOMIC_RELAXED);
	spin_unlock(&lock);
}

void swap_block_retire(u64 block)
{
	spin_lock(&lock);
	BUG_ON(!is_given_out(block));
	bad++;
	spin_unlock(&lock);
}

void swap_blocks_count(struct swap_block_counts *out)
{
	spin_lock(&lock);
	out->blocks = total ? total - 1 : 0;
	out->bad = bad;
	out->used = out->blocks - unused - bad;
	spin_unlock(&lock);
}

u64 swap_blocks_free(void)
{
	return __atomic_load_n(&unused, __ATOMIC_RELAXED);
}

bool swap_blocks_plenty(void)
{
	return swap_blocks_free() > total / 2;
}

/* --- Checksums ------------------------------------------------------------------------------ */

/* Each step can be undone, so that one word which is another makes the sum another. */
static u32 sum_of(u64 block, const void *page)
{
	const u64 *p = page;
	u64 a = seed_now ^ block * MIX_2, b = ~a;

	for (u32 i = 0; i < PAGE_SIZE / sizeof(*p); i += 2) {
		a = (a ^ p[i]) * MIX_1;
		b = (b ^ p[i + 1]) * MIX_2;
		a ^= a >> 29;
		b ^= b >> 31;
	}
	a ^= b << 32 | b >> 32;
	a *= MIX_1;
	return (u32)(a >> 32);
}

/* A block has one owner at a time, who alone has its sum. */
static u32 *sum_at(u64 block)
{
	return &sums[block / SUMS_OF_PAGE][block % SUMS_OF_PAGE];
}

void swap_block_sum(u64 block, const void *page)
{
	*sum_at(block) = sum_of(block, page);
}

bool swap_block_sum_is(u64 block, const void *page)
{
	return *sum_at(block) == sum_of(block, page);
}
