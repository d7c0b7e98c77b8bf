/* SPDX-License-Identifier: MIT */
#include "mem/tier.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/lz4.h"
#include "mem/pool.h"
#include "mem/share.h"
#include "mem/swap.h"

static_assert(POOL_HANDLE_BITS + GMEM_PFN_SHIFT <= 64, "a handle goes where a pfn goes");

#define PAGE_WORDS (PAGE_SIZE / sizeof(u64))

/* --- One word all over ---------------------------------------------------------------------- */

/*
 * How the word of a FILLED page is told in the upper 52 bits of its entry. Others, which are no
 * small number, no kernel's address and no repetition of 32 bits, are packed: to some 30 bytes.
 */
#define FILLED_VALUE_BITS 48
#define FILLED_VALUE_MASK (BIT(FILLED_VALUE_BITS) - 1)
enum filled {
	FILLED_POSITIVE, /* the upper 16 bits are 0, */
	FILLED_NEGATIVE, /* or 1 */
	FILLED_TWICE,	 /* 32 bits, twice */
};
static_assert(GMEM_PFN_SHIFT + FILLED_VALUE_BITS + 2 <= 64, "a word goes where a pfn goes");

static bool is_zero(const u64 *p)
{
	for (u32 i = 0; i < PAGE_WORDS; i += 8) {
		if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] |
		    p[i + 7])
			return false;
	}
	return true;
}

/* Most are zero, and whether they are costs half as much to see. */
static bool is_filled(const u64 *p)
{
	u64 word = p[0];

	if (p[PAGE_WORDS - 1] != word)
		return false;
	if (!word)
		return is_zero(p);
#pragma GCC unroll 8
	for (u32 i = 0; i < PAGE_WORDS; i++) {
		if (p[i] != word)
			return false;
	}
	return true;
}

static u64 filled_entry(enum filled how, u64 word)
{
	u64 value = (word & FILLED_VALUE_MASK) | (u64)how << FILLED_VALUE_BITS;

	return value << GMEM_PFN_SHIFT | GMEM_FILLED;
}

/* False: the word has no such entry. */
static inline bool put_filled(u64 word, u64 *entry)
{
	u64 upper = word >> FILLED_VALUE_BITS;

	if (word == 0)
		*entry = GMEM_ABSENT;
	else if (upper == 0)
		*entry = filled_entry(FILLED_POSITIVE, word);
	else if (upper == ~0ull >> FILLED_VALUE_BITS)
		*entry = filled_entry(FILLED_NEGATIVE, word);
	else if (word >> 32 == (u32)word)
		*entry = filled_entry(FILLED_TWICE, (u32)word);
	else
		return false;
	return true;
}

bool tier_fill(u64 word, u64 *entry)
{
	return put_filled(word, entry);
}

static u64 filled_word(u64 entry)
{
	u64 value = entry >> GMEM_PFN_SHIFT, low = value & FILLED_VALUE_MASK;

	switch ((enum filled)(value >> FILLED_VALUE_BITS)) {
	case FILLED_POSITIVE:
		return low;
	case FILLED_NEGATIVE:
		return low | ~FILLED_VALUE_MASK;
	case FILLED_TWICE:
		return low << 32 | low;
	}
	panic("entry %#llx tells of no word", (unsigned long long)entry);
}

static void get_filled(u64 entry, u64 *page)
{
	u64 word = filled_word(entry);

	for (u32 i = 0; i < PAGE_WORDS; i++)
		page[i] = word;
}

/* --- Packed --------------------------------------------------------------------------------- */

static u64 packed_entry(u64 handle)
{
	return handle << GMEM_PFN_SHIFT | GMEM_PACKED;
}

static u64 handle_of(u64 entry)
{
	return entry >> GMEM_PFN_SHIFT;
}

/* What it is packed to; 0: it is not. */
static u64 packed_size(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_PACKED ? pool_size(handle_of(entry)) : 0;
}

/* The page leads there, or does no more. */
static void count_packed(struct gmem *g, u64 size)
{
	__atomic_fetch_add(&g->packed_bytes, size, __ATOMIC_RELAXED);
}

static void count_unpacked(struct gmem *g, u64 size)
{
	__atomic_fetch_sub(&g->packed_bytes, size, __ATOMIC_RELAXED);
}

static int store(void *arg, const void *bytes, u32 size)
{
	return pool_store(bytes, size, arg);
}

static u32 copy(void *arg, void *bytes)
{
	return pool_copy(*(const u64 *)arg, bytes);
}

static u64 shared_entry(pfn_t pfn)
{
	return pfn.v << GMEM_PFN_SHIFT | GMEM_SHARED;
}

/* It does not pack: read-only from now on, so that the next with these contents finds it. */
static u64 keep_hard(struct gmem *g, pfn_t pfn, u64 key)
{
	if (!key)
		return pfn.v << GMEM_PFN_SHIFT | GMEM_HARD | GMEM_GOT_PAGE;
	share_keep(g, pfn, key);
	return shared_entry(pfn) | GMEM_HARD;
}

int tier_put(struct gmem *g, const void *page, u64 *entry)
{
	u64 key, handle;
	int err;

	if (is_filled(page) && put_filled(*(const u64 *)page, entry))
		return 0;
	key = share_key(g->share_group, page);
	if (share_find(g, &key, page, entry)) {
		count_packed(g, packed_size(*entry));
		return 0;
	}
	err = lz4_pack(page, POOL_OBJECT_MAX, store, &handle);
	if (!err) {
		share_offer(handle, key);
		*entry = packed_entry(handle);
		count_packed(g, packed_size(*entry));
	} else if (err == ERR_NOSPC) {
		*entry = keep_hard(g, virt_to_pfn(page), key);
	}
	return err;
}

bool tier_show(struct gmem *g, u64 entry, u64 *resident)
{
	u64 size = packed_size(entry);
	pfn_t pfn;

	if (!size || !share_shown(g, handle_of(entry), &pfn))
		return false;
	count_unpacked(g, size);
	*resident = shared_entry(pfn);
	return true;
}

u64 tier_bring(struct gmem *g, u64 entry, pfn_t pfn, bool write)
{
	u64 size = packed_size(entry);

	tier_get(entry, pfn_to_virt(pfn));
	if (!write && size && share_show(g, handle_of(entry), &pfn)) {
		count_unpacked(g, size);
		return shared_entry(pfn);
	}
	tier_free(g, entry);
	return pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE;
}

bool tier_cool(struct gmem *g, u64 *entry, bool *last)
{
	u64 handle;

	if (!share_cool(g, gmem_entry_pfn(*entry), &handle, last))
		return false;
	*entry = packed_entry(handle);
	count_packed(g, packed_size(*entry));
	return true;
}

void tier_get(u64 entry, void *page)
{
	u64 handle = handle_of(entry);

	if (gmem_entry_state(entry) == GMEM_FILLED) {
		get_filled(entry, page);
		return;
	}
	BUG_ON(gmem_entry_state(entry) != GMEM_PACKED);
	BUG_ON(!lz4_unpack(copy, &handle, page));
}

static void free_packed(struct gmem *g, u64 entry)
{
	count_unpacked(g, packed_size(entry));
	share_free_packed(handle_of(entry));
}

void tier_free(struct gmem *g, u64 entry)
{
	if (gmem_entry_state(entry) == GMEM_PACKED)
		free_packed(g, entry);
	else if (gmem_entry_state(entry) == GMEM_SWAPPED)
		swap_free(entry);
}
