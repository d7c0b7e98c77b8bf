/* SPDX-License-Identifier: MIT */
/* Guest memory objects: changing what an entry holds. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/share.h"
#include "mem/swap.h"
#include "mem/tier.h"

static bool is_awaited(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_BUSY && (entry & GMEM_WANTED);
}

/* A page that is taken again before a waiter has run is BUSY, and nobody's wish is known. */
void gmem_wait_settled(struct gmem *g, u64 index, u64 *e)
{
	u64 entry = gmem_entry_load(e);

	if (gmem_entry_state(entry) != GMEM_BUSY)
		return;
	/* Before it is marked: who sees the mark sees that, too. */
	__atomic_fetch_add(&g->waiting, 1, __ATOMIC_RELAXED);
	while (gmem_entry_state(entry) == GMEM_BUSY) {
		if (!(entry & GMEM_WANTED) && !gmem_entry_exchange(e, &entry, entry | GMEM_WANTED))
			continue;
		swap_give_back(g, index);
		wait_event(&g->busy, !is_awaited(gmem_entry_load(e)));
		entry = gmem_entry_load(e);
	}
	__atomic_fetch_sub(&g->waiting, 1, __ATOMIC_RELAXED);
}

static bool must_stay(u64 entry)
{
	if (!gmem_entry_resident(entry))
		return false;
	return (entry & GMEM_FOREIGN) ||
	       __atomic_load_n(&frame_of(gmem_entry_pfn(entry))->pins, __ATOMIC_ACQUIRE);
}

bool gmem_stays(const struct gmem *g, u64 index)
{
	const u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;

	return e && must_stay(gmem_entry_load(e));
}

static int may_claim(u64 entry)
{
	switch (gmem_entry_state(entry)) {
	case GMEM_ABSENT:
		return ERR_NOENT;
	case GMEM_BUSY:
		return ERR_AGAIN;
	default:
		return must_stay(entry) ? ERR_BUSY : 0;
	}
}

int gmem_claim_entry(struct gmem *g, u64 index, u64 *e, u64 *entry)
{
	int err;

	spin_lock(&g->lock);
	*entry = gmem_entry_load(e);
	do {
		err = may_claim(*entry);
	} while (!err && !gmem_entry_take(g, e, entry));
	spin_unlock(&g->lock);
	if (!err && gmem_entry_resident(*entry))
		gmem_count_out(g, index);
	return err;
}

void gmem_settle_entry(struct gmem *g, u64 index, u64 *e, u64 entry)
{
	BUG_ON(gmem_entry_state(gmem_entry_load(e)) != GMEM_BUSY);
	BUG_ON(gmem_entry_state(entry) == GMEM_BUSY);
	if (gmem_entry_resident(entry))
		gmem_count_in(g, index);
	gmem_count_state(g, entry, 1);
	__atomic_store_n(e, entry, __ATOMIC_RELEASE);
	gmem_count_state(g, GMEM_BUSY, -1ull);
}

int gmem_claim(struct gmem *g, u64 index, u64 *entry)
{
	u64 *e;
	int err;

	if (index >= g->pages)
		return ERR_RANGE;
	if (g->order)
		return ERR_NOTSUP;
	e = gmem_entry_find(g, index);
	if (!e)
		return ERR_NOENT;
	err = gmem_claim_entry(g, index, e, entry);
	return err == ERR_AGAIN ? ERR_BUSY : err;
}

void gmem_settle(struct gmem *g, u64 index, u64 entry)
{
	u64 *e = gmem_entry_find(g, index);

	BUG_ON(!e);
	gmem_settle_entry(g, index, e, entry);
	wait_wake_all(&g->busy);
}

/* --- Dropping contents ---------------------------------------------------------------------- */

/* The pages of a batch that are claimed, and the states that they were in; ABSENT: not claimed. */
struct claimed {
	u8 state[GMEM_LARGE_PAGES];
	u64 count;
	u64 resident; /* 4 KiB pages of those that were */
};

/* Claims what is there of [first, end). Returns where it stopped, and why. */
static u64 claim_batch(struct gmem *g, u64 first, u64 end, struct claimed *c, int *err)
{
	u64 index;

	for (index = first; index < end; index += gmem_entry_pages(g)) {
		u64 *e = gmem_entry_find(g, index), entry;

		*err = gmem_claim_entry(g, index, e, &entry);
		if (*err && *err != ERR_NOENT)
			return index;
		if (*err)
			continue;
		if (!gmem_entry_resident(entry) && !tier_has(entry)) {
			gmem_settle(g, index, entry);
			*err = ERR_NOTSUP;
			return index;
		}
		c->state[index - first] = (u8)gmem_entry_state(entry);
		c->count++;
		c->resident += gmem_entry_resident(entry) ? gmem_entry_pages(g) : 0;
	}
	*err = 0;
	return index;
}

static void free_own(struct gmem *g, u64 entry)
{
	swap_unkeep(entry);
	frame_free(gmem_entry_pfn(entry), g->order);
}

static void drop_contents(struct gmem *g, u64 entry)
{
	if (tier_has(entry))
		tier_free(g, entry);
	else if (gmem_entry_state(entry) == GMEM_SHARED)
		(void)share_put(g, gmem_entry_pfn(entry));
	else
		free_own(g, entry);
}

void gmem_keep_promised(struct gmem *g, u64 gone)
{
	u64 lacks, owed, more;

	if (!gone || !__atomic_load_n(&g->resident_min, __ATOMIC_RELAXED))
		return;
	lacks = gmem_lacks(g);
	owed = __atomic_load_n(&g->owed, __ATOMIC_RELAXED);
	/*
	 * Once, however often it gives back what it got again since, but for frames that are kept for
	 * copies of what it gives back: until the next count those are kept twice.
	 */
	do {
		if (lacks <= owed)
			return;
		more = min(lacks - owed, gone);
	} while (!__atomic_compare_exchange_n(&g->owed, &owed, owed + more, false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	__atomic_fetch_add(&watermarks.owed, more, __ATOMIC_RELAXED);
}

static void drop_claimed(struct gmem *g, u64 first, u64 end, const struct claimed *c)
{
	for (u64 index = first; index < end; index += gmem_entry_pages(g)) {
		u64 *e = gmem_entry_find(g, index);
		u8 was = c->state[index - first];

		if (was == GMEM_ABSENT)
			continue;
		/* BUSY is as it was, but for the state. */
		drop_contents(g, (gmem_entry_load(e) & ~GMEM_STATE_MASK) | was);
		gmem_settle_entry(g, index, e, GMEM_GIVEN);
	}
	wait_wake_all(&g->busy);
}

/* The first index of [first, end), which is in one chunk, that is not ABSENT; or end. */
static u64 skip_absent(const struct gmem *g, u64 first, u64 end)
{
	const u64 *e = gmem_entry_find(g, first);

	if (!e)
		return end;
	while (first < end && gmem_entry_state(gmem_entry_load(e++)) == GMEM_ABSENT)
		first += gmem_entry_pages(g);
	return first;
}

/* Frames that nobody else has count as its own while it is reckoned what it lacks without them. */
static void own_shared(const struct gmem *g, u64 first, u64 end, struct claimed *c)
{
	for (u64 index = first; index < end; index += gmem_entry_pages(g)) {
		u8 *was = &c->state[index - first];

		if (*was == GMEM_SHARED &&
		    share_own(g, gmem_entry_pfn(gmem_entry_load(gmem_entry_find(g, index)))))
			*was = GMEM_GOT_PAGE;
	}
}

/*
 * [*first, end) is in one 2 MiB. *first moves up to what is not done yet. The first page is waited
 * for if it is BUSY, while none is held; the others are only tried (R35).
 */
static int drop_batch(struct gmem *g, u64 *first, u64 end)
{
	struct claimed c = {.count = 0};
	u64 from = skip_absent(g, *first, end);
	int err;

	*first = from;
	if (from == end)
		return 0;
	gmem_wait_settled(g, from, gmem_entry_find(g, from));
	gmem_invalidate_begin(g, from, end - from);
	*first = claim_batch(g, from, end, &c, &err);
	if (c.count) {
		gmem_unmap(g, from, *first - from);
		own_shared(g, from, *first, &c);
		gmem_keep_promised(g, c.resident);
		__atomic_fetch_add(&g->removed, c.count << g->order, __ATOMIC_RELAXED);
		drop_claimed(g, from, *first, &c);
	}
	gmem_invalidate_end(g, from, end - from);
	return err == ERR_AGAIN ? 0 : err;
}

int gmem_drop_range(struct gmem *g, u64 first, u64 pages, u64 *done)
{
	u64 at = first, end = first + pages;
	int err = 0;

	if (done)
		*done = 0;
	if (!gmem_range_ok(g, first, pages))
		return ERR_RANGE;
	if (!gmem_range_aligned(g, first, pages))
		return ERR_ALIGN;
	while (at < end && !err)
		err = drop_batch(g, &at,
				 min(end, align_down(at, GMEM_LARGE_PAGES) + GMEM_LARGE_PAGES));
	if (done)
		*done = at - first;
	return err;
}

int gmem_drop(struct gmem *g, u64 index)
{
	return gmem_drop_range(g, index, gmem_entry_pages(g), NULL);
}

/* Nobody has it mapped, so there is nothing to invalidate. */
bool gmem_drop_stored(struct gmem *g, u64 index)
{
	u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;
	u64 entry = e ? gmem_entry_load(e) : GMEM_ABSENT;

	if (!tier_has(entry) || !gmem_entry_take(g, e, &entry))
		return false;
	tier_free(g, entry);
	gmem_settle(g, index, GMEM_ABSENT);
	return true;
}

/* The frame has what the page is to hold instead. False: it is freed. */
static bool replace_stored(struct gmem *g, u64 index, u64 *e, u64 entry, pfn_t pfn)
{
	if (!gmem_entry_take(g, e, &entry)) {
		frame_free(pfn, 0);
		return false;
	}
	tier_free(g, entry);
	gmem_settle(g, index,
		    pfn.v << GMEM_PFN_SHIFT | gmem_come_back(g, entry) | GMEM_DIRTY |
			    GMEM_GOT_PAGE);
	return true;
}

static bool frame_to_replace(const struct gmem *g, pfn_t *pfn)
{
	return gmem_admits_back(g, true) && frame_alloc(0, FRAME_FOR(GUEST), pfn) == 0;
}

bool gmem_write_stored(struct gmem *g, u64 index, const void *page)
{
	u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;
	u64 entry = e ? gmem_entry_load(e) : GMEM_ABSENT;
	pfn_t pfn;

	if (!tier_has(entry) || !frame_to_replace(g, &pfn))
		return false;
	memcpy(pfn_to_virt(pfn), page, PAGE_SIZE);
	return replace_stored(g, index, e, entry, pfn);
}

/*
 * ABSENT its first touch, which mostly comes next, would be refused a frame that a page which comes back
 * may have: then it gets that at once, as if it had come back to be written over.
 */
static bool may_be_absent(const struct gmem *g)
{
	return watermark_admits(1) || gmem_admits_absent(g, 1);
}

/* The stamp stays: nobody has touched the page since but to overwrite it. */
bool gmem_fill_stored(struct gmem *g, u64 index, u64 word)
{
	u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;
	u64 entry = e ? gmem_entry_load(e) : GMEM_ABSENT, filled;
	pfn_t pfn;

	if (!tier_has(entry))
		return false;
	if (!tier_fill(word, &filled) || (filled == GMEM_ABSENT && !may_be_absent(g))) {
		if (!frame_to_replace(g, &pfn))
			return false;
		for (u64 i = 0; i < PAGE_SIZE / sizeof(word); i++)
			((u64 *)pfn_to_virt(pfn))[i] = word;
		return replace_stored(g, index, e, entry, pfn);
	}
	if (!gmem_entry_take(g, e, &entry))
		return false;
	tier_free(g, entry);
	gmem_settle(g, index, filled == GMEM_ABSENT ? filled : filled | (entry & GMEM_STAMP_MASK));
	return true;
}

/* --- Foreign frames ------------------------------------------------------------------------- */

static int fill_check(const struct gmem *g, u64 first, pfn_t pfn, u64 pages)
{
	if (!gmem_range_ok(g, first, pages))
		return ERR_RANGE;
	if (!gmem_range_aligned(g, first, pages) || !is_aligned(pfn.v, gmem_entry_pages(g)))
		return ERR_ALIGN;
	for (u64 i = 0; i < pages; i++) {
		if (!frame_of(PFN(pfn.v + i)))
			return ERR_INVAL;
	}
	return 0;
}

/* Makes all entries BUSY, or none. */
static int reserve(struct gmem *g, u64 first, u64 end)
{
	u64 index;

	for (index = first; index < end; index += gmem_entry_pages(g)) {
		if (!gmem_entry_make(g, index))
			return ERR_NOMEM;
	}
	for (index = first; index < end; index += gmem_entry_pages(g)) {
		u64 *e = gmem_entry_find(g, index), entry = gmem_entry_load(e);

		if (gmem_entry_state(entry) != GMEM_ABSENT || !gmem_entry_take(g, e, &entry))
			break;
	}
	if (index == end)
		return 0;
	while (index > first) {
		index -= gmem_entry_pages(g);
		/* BUSY is as it was, but for the state. */
		gmem_settle(g, index, gmem_entry_load(gmem_entry_find(g, index)) & GMEM_GIVEN);
	}
	return ERR_EXIST;
}

static int fill(struct gmem *g, u64 first, pfn_t pfn, u64 pages, u64 flags)
{
	int err = reserve(g, first, first + pages);

	if (err)
		return err;
	if (!(flags & GMEM_FOREIGN))
		frame_adopt(pfn, pages);
	for (u64 i = 0; i < pages; i += gmem_entry_pages(g))
		gmem_settle_entry(g, first + i, gmem_entry_find(g, first + i),
				  (pfn.v + i) << GMEM_PFN_SHIFT | flags | GMEM_GOT_PAGE);
	wait_wake_all(&g->busy);
	return 0;
}

int gmem_fill(struct gmem *g, u64 first, pfn_t pfn, u64 pages)
{
	int err = fill_check(g, first, pfn, pages);

	return err ? err : fill(g, first, pfn, pages, GMEM_FOREIGN);
}

int gmem_adopt(struct gmem *g, u64 first, pfn_t pfn, u64 pages)
{
	int err = fill_check(g, first, pfn, pages);

	for (u64 i = 0; i < pages && !err; i++) {
		if (!frame_may_adopt(PFN(pfn.v + i)))
			err = ERR_INVAL;
	}
	return err ? err : fill(g, first, pfn, pages, 0);
}
