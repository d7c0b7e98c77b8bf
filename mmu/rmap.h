/* SPDX-License-Identifier: MIT */
/*
 * Reverse maps: from a gfn of a slot to every spte that shows it. A slot has one word for each gfn
 * (sptes of 4 KiB) and one for each 2 MiB of gfns (large sptes). A word:
 *
 *	 0     locked: guards the word, its chain, and linking and unlinking of the sptes in it.
 *	       The two lowest bits are free because a spte is 8 bytes, a descriptor 32
 *	 1     more than one spte: the address is that of a descriptor, a link of a chain
 *	 51:3  physical address of the spte, or of the descriptor; 0: nothing is mapped. Physical,
 *	       since that leaves the bits above MAXPHYADDR free
 *	 57    shadow paging: a table that the guest may write all the same; its pages are out of
 *	       step
 *	 58    shadow paging: what mapped the region large gave way to 4 KiB, and it stays so
 *	 59    a table of the guest's: it has a shadow page, and without bit 57 no spte lets it be
 *	       written
 *	 60    pinned: H_ENTER pinned the page here; goes when the slot does (R37)
 *	 61    protected: the guest asked that it be not written (H_PROTECT)
 *	 62    young: a spte that was taken away had been used since the last look
 *
 * What holds while the lock bit is held: each spte in the chain is present and shows this gfn, and
 * each present leaf that shows this gfn is in the chain. A spte is dropped before its place in the
 * chain is (R22). Nobody sleeps or is preempted with it held: interrupts are off or, with shadow
 * paging, mmu_lock is held. Who holds one may try for others of the same slot but waits for none
 * (R35); except that with a large word held the small ones of its region may be waited for, one at
 * a time: nobody waits the other way round.
 *
 * Words come in chunks of a page (512 gfns) at the first touch, and stay as long as the slot: an
 * untouched gigabyte costs a frame for its chunks' addresses, two for its large words, which are
 * 513, and one for as many counts beside them.
 */
#ifndef MMU_RMAP_H
#define MMU_RMAP_H

#include "kernel/base/addr.h"
#include "smp/rcu.h"

#define RMAP_LOCKED    BIT(0)
#define RMAP_MANY      BIT(1)
#define RMAP_ADDRESS   (BIT(52) - BIT(3))
#define RMAP_UNSYNC    BIT(57)
#define RMAP_SMALL     BIT(58)
#define RMAP_TABLE     BIT(59)
#define RMAP_PINNED    BIT(60)
#define RMAP_PROTECTED BIT(61)
#define RMAP_YOUNG     BIT(62)

#define RMAP_CHUNK_WORDS (PAGE_SIZE / sizeof(u64))
#define LARGE_PAGES	 512ull /* 4 KiB pages of a 2 MiB one */

/*
 * A guest decides how many addresses it has for a page, and whoever looks at the page goes by all of
 * them, some with interrupts off: who would add one to a full chain takes another out before.
 */
#define RMAP_CHAIN_MAX 128u

/* A link of a chain: filled from the front, so only the first of a chain may have room. */
#define RMAP_DESC_SPTES 3
struct rmap_desc {
	u64 *spte[RMAP_DESC_SPTES];
	struct rmap_desc *more;
};
static_assert(sizeof(struct rmap_desc) == 32, "two to a cache line");

/* Descriptors for a vCPU's faults, as its cache of tables. */
#define RMAP_CACHE_MAX 4
struct rmap_cache {
	u32 count;
	struct rmap_desc *desc[RMAP_CACHE_MAX];
};

/* The words of one slot. Copies of the slot in other arrays share them. */
struct slot_maps {
	/* set once */
	u64 pages, chunk_count, large_count;
	u64 *large; /* words, by region: (gfn >> 9) - (base >> 9) */
	/*
	 * atomic: reasons why a region may not be mapped large: its protected pages; guests' tables
	 */
	u32 *small;
	u64 **chunk; /* atomic: pages of words, by the gfn's place in the slot */
};

struct memslot;

/* Thread context. ERR_NOMEM. free: no spte is left, and nobody can get at the slot any more. */
int slot_maps_create(u64 pages, struct slot_maps **out);
void slot_maps_free(struct slot_maps *m);

/*
 * For a slot that moves: large words and counts of their own, for other regions, and the same
 * chunks. When nobody uses the old ones any more slot_maps_part takes the chunks from them.
 * Thread context. ERR_NOMEM. No spte is left.
 */
int slot_maps_share(struct slot_maps *old, struct slot_maps **out);
void slot_maps_part(struct slot_maps *old);
/* Counts what is protected in the regions of a slot that has been moved. Nobody links there yet. */
void slot_maps_recount(const struct memslot *s);

/*
 * The word of a gfn in the slot; NULL: its chunk is not there yet, so nothing is mapped by 4 KiB.
 */
u64 *rmap_word(const struct memslot *s, gfn_t gfn);
/* A look without its lock: one of these flags is set in it. Any context. */
static inline bool rmap_has_flag(const struct memslot *s, gfn_t gfn, u64 flags)
{
	const u64 *word = rmap_word(s, gfn);

	return word && (__atomic_load_n(word, __ATOMIC_ACQUIRE) & flags);
}

/* Makes the chunk. Thread context. ERR_NOMEM. */
int rmap_prepare(const struct memslot *s, gfn_t gfn);
u64 *rmap_large_word(const struct memslot *s, gfn_t gfn);
u32 *rmap_small_count(const struct memslot *s, gfn_t gfn);

/*
 * The lock bit. Interrupts, or preemption, are off. Any context but interrupt. What was tried for
 * is unlocked by rmap_unlock_tried: a debug build keeps only the first on its stack of locks, which
 * is short.
 */
void rmap_lock(u64 *word);
void rmap_unlock(u64 *word);
bool rmap_trylock(u64 *word);
void rmap_unlock_tried(u64 *word);

/*
 * A look without the lock: a spte is there or may be on its way, or one of these flags is set. Who
 * links has set the lock bit by the time it looks at what forbids it (the object's sequence, the
 * region's count of protected pages). So whoever forbids first and looks here second sees the bit,
 * or is seen.
 */
static inline bool rmap_in_use(const u64 *word, u64 flags)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST) & (RMAP_LOCKED | RMAP_ADDRESS | flags);
}

/* --- with the word's lock held --- */

static inline bool rmap_empty(const u64 *word)
{
	return !(__atomic_load_n(word, __ATOMIC_RELAXED) & RMAP_ADDRESS);
}

/* It has RMAP_CHAIN_MAX sptes, or more. */
bool rmap_is_full(const u64 *word);

/* ERR_TOO_HARD: it takes a descriptor and the cache is empty (NULL counts as empty). */
int rmap_add(u64 *word, u64 *spte, struct rmap_cache *cache);
void rmap_remove(u64 *word, u64 *spte); /* a bug where it is not in the chain */
/* The i-th spte of the chain, NULL after the last. Removing the i-th puts another in its place. */
u64 *rmap_spte_of_many(const u64 *word, u32 i);
static inline u64 *rmap_spte(const u64 *word, u32 i)
{
	u64 value = __atomic_load_n(word, __ATOMIC_RELAXED);

	if (unlikely(value & RMAP_MANY))
		return rmap_spte_of_many(word, i);
	value &= RMAP_ADDRESS;
	return value && i == 0 ? phys_to_virt(HPA(value)) : NULL;
}

/*
 * All of a chain, one after the other, each descriptor being read once: by its number each would be
 * looked for from the first descriptor on. Whoever takes some out meanwhile does it by number.
 *
 *	rmap_for_each (spte, word, &at)
 */
struct rmap_cursor {
	const struct rmap_desc *desc; /* NULL: there is one spte at most, or none is left */
	u32 next;
};
u64 *rmap_next_of_many(struct rmap_cursor *at);
static inline u64 *rmap_next(struct rmap_cursor *at)
{
	return unlikely(at->desc) ? rmap_next_of_many(at) : NULL;
}
static inline u64 *rmap_first(const u64 *word, struct rmap_cursor *at)
{
	u64 value = __atomic_load_n(word, __ATOMIC_RELAXED);
	void *first = value & RMAP_ADDRESS ? phys_to_virt(HPA(value & RMAP_ADDRESS)) : NULL;

	*at = (struct rmap_cursor){value & RMAP_MANY ? first : NULL, 0};
	return at->desc ? rmap_next_of_many(at) : first;
}
#define rmap_for_each(spte, word, at) \
	for ((spte) = rmap_first(word, at); (spte); (spte) = rmap_next(at))

/* Drops the whole chain and sets these flags. */
void rmap_clear(u64 *word, u64 set);
void rmap_flag(u64 *word, u64 set, u64 clear);

/* Thread context. ERR_NOMEM. */
int rmap_cache_fill(struct rmap_cache *c);
void rmap_cache_free(struct rmap_cache *c);

#endif
