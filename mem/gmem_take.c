/* SPDX-License-Identifier: MIT */
/* Guest memory objects: taking the frames of pages that are not used. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/share.h"
#include "mem/swap.h"
#include "mem/tier.h"

#define RUN_MAX 32 /* pages that are BUSY at a time */
static_assert(RUN_MAX <= 32, "a word says which of a run are left");

/* Neighbours that are claimed. */
struct run {
	u64 first;
	u32 count;
	u64 *e; /* of the first */
	u64 entry[RUN_MAX];
};

static bool is_marked(const u64 *marked, u64 at)
{
	return marked[at / 64] & BIT(at % 64);
}

/*
 * Claims marked pages from [first + at, first + pages) on until one cannot be. Returns how far it
 * looked.
 */
static u64 claim_run(struct gmem *g, u64 first, u64 at, u64 pages, const u64 *marked, struct run *r,
		     struct gmem_taken *t)
{
	r->count = 0;
	r->first = first + at;
	r->e = gmem_entry_find(g, r->first);
	for (; at < pages && r->count < RUN_MAX && is_marked(marked, at); at++) {
		u64 *entry = &r->entry[r->count];

		if (gmem_claim_entry(g, first + at, r->e + r->count, entry)) {
			t->kept++;
			return at + 1;
		}
		if (!gmem_entry_resident(*entry)) {
			gmem_settle(g, first + at, *entry);
			t->kept++;
			return at + 1;
		}
		r->count++;
	}
	return at;
}

/* It leaves a frame of several. What is nowhere else stays. */
static u64 cool(struct gmem *g, u64 entry, struct gmem_taken *t)
{
	pfn_t pfn = gmem_entry_pfn(entry);
	bool last;

	if (!tier_cool(g, &entry, &last)) {
		t->kept++;
		return entry;
	}
	gmem_keep_promised(g, 1);
	if (last)
		frame_free(pfn, 0);
	t->packed++;
	t->freed += last;
	__atomic_fetch_add(&g->taken, 1, __ATOMIC_RELAXED);
	return entry | gmem_stamp_bits(g);
}

/* A page that does not pack goes to the disk, unless others have its frame. False: it stays. */
static bool to_disk(struct gmem *g, u64 index, u64 *e, u64 *entry, struct list *batch)
{
	pfn_t pfn = gmem_entry_pfn(*entry);

	if (!swap_takes())
		return false;
	if (gmem_entry_state(*entry) == GMEM_SHARED) {
		if (!share_own(g, pfn))
			return false;
		*entry = (*entry & ~GMEM_STATE_MASK) | GMEM_GOT_PAGE;
	}
	return swap_write(g, index, e, *entry, batch);
}

static void count_put(u64 put, struct gmem_taken *t)
{
	t->zero += gmem_entry_state(put) == GMEM_ABSENT;
	t->filled += gmem_entry_state(put) == GMEM_FILLED;
	t->packed += gmem_entry_state(put) == GMEM_PACKED;
	t->shared += gmem_entry_state(put) == GMEM_SHARED;
	t->freed++;
}

/*
 * What is on the disk is not what the page holds any more, or may not come back from there: the page
 * goes as any other does. That it was there says nothing of whether it packs.
 */
static u64 unkeep(u64 entry)
{
	if (gmem_entry_clean(entry) && swap_kept_packs(gmem_entry_pfn(entry)))
		entry &= ~GMEM_HARD;
	swap_unkeep(entry);
	return entry & ~GMEM_KEPT;
}

/* The disk has it already. */
static u64 put_back(struct gmem *g, pfn_t pfn, struct gmem_taken *t)
{
	u64 entry = swap_put_back(pfn);

	gmem_keep_promised(g, 1);
	frame_free(pfn, 0);
	t->freed++;
	entry |= gmem_stamp_bits(g);
	__atomic_fetch_add(&g->taken, 1, __ATOMIC_RELAXED);
	return entry;
}

/* The page shows the frame of another, who may have had it alone, or could without a frame more. */
static bool may_be_anothers(u64 put)
{
	return gmem_entry_state(put) == GMEM_SHARED ||
	       (gmem_entry_state(put) == GMEM_PACKED && share_is_shown(put >> GMEM_PFN_SHIFT));
}

/* Of a page that is put away, or stays and shows the frame of another. */
static void free_taken(struct gmem *g, pfn_t pfn, u64 put)
{
	if (may_be_anothers(put))
		watermark_keep_copy(g->share_group);
	if (gmem_entry_state(put) != GMEM_SHARED)
		gmem_keep_promised(g, 1);
	frame_free(pfn, 0);
}

/*
 * *entry is what the page's is to be, its frame being unmapped; the frame is freed if it is not in
 * it. False: the page is on its way to the swap disk, and settles by itself.
 */
static bool put_away(struct gmem *g, u64 index, u64 *e, u64 *entry, struct list *batch,
		     struct gmem_taken *t)
{
	pfn_t pfn = gmem_entry_pfn(*entry);
	bool shared = gmem_entry_state(*entry) == GMEM_SHARED;
	u64 put, bits;
	int err;

	if (shared && !(*entry & GMEM_HARD)) {
		*entry = cool(g, *entry, t);
		return true;
	}
	if (gmem_entry_clean(*entry) && swap_is_sound()) {
		*entry = put_back(g, pfn, t);
		return true;
	}
	*entry = unkeep(*entry);
	if (t->full)
		return true;
	bits = *entry & (GMEM_GEN_MASK | GMEM_COLD);
	put = *entry;
	if (shared || gmem_entry_hard(put))
		err = ERR_NOSPC;
	else
		err = tier_put(g, pfn_to_virt(pfn), &put);
	if (err == ERR_NOSPC)
		*entry = (put & ~(GMEM_GEN_MASK | GMEM_COLD)) | bits;
	if (err && to_disk(g, index, e, entry, batch)) {
		gmem_keep_promised(g, 1);
		t->writing++;
		return false;
	}
	if (err) {
		t->kept += shared;
		t->hard += err == ERR_NOSPC && !shared;
		t->full = err != ERR_NOSPC;
		return true;
	}
	count_put(put, t);
	free_taken(g, pfn, put);
	if (gmem_entry_resident(put))
		put |= bits;
	else if (put != GMEM_ABSENT)
		put |= gmem_stamp_bits(g);
	__atomic_fetch_add(&g->taken, 1, __ATOMIC_RELAXED);
	*entry = put;
	return true;
}

/*
 * Those that somebody waits for stay as they were, and are used. Returns which of the run are left. Mostly
 * nobody waits for any page: that is seen without a look at each.
 */
static u32 give_back_wanted(struct gmem *g, const struct run *r, u32 left, struct gmem_taken *t)
{
	u32 wanted = 0;

	if (likely(!__atomic_load_n(&g->waiting, __ATOMIC_RELAXED)))
		return left;
	for (u32 i = 0; i < r->count; i++) {
		if (!(left & BIT(i)) || !(gmem_entry_load(r->e + i) & GMEM_WANTED))
			continue;
		wanted |= (u32)BIT(i);
		t->wanted++;
		gmem_settle_entry(g, r->first + i, r->e + i,
				  (r->entry[i] & ~GMEM_GEN_MASK) | gmem_generation_bits(g));
	}
	if (wanted)
		wait_wake_all(&g->busy);
	return left & ~wanted;
}

/*
 * No CPU has the pages mapped, and they are BUSY: nobody links or holds one until it is settled,
 * each as soon as it can be. To put one away takes long: who waits for any comes before that.
 */
static void settle_run(struct gmem *g, struct run *r, struct gmem_taken *t)
{
	struct list batch = LIST_INIT(batch);
	u32 left = (u32)(BIT(r->count) - 1);

	for (u32 i = 0; i < r->count; i++) {
		bool waited;

		left = give_back_wanted(g, r, left, t);
		if (!(left & BIT(i)))
			continue;
		left &= ~(u32)BIT(i);
		if (!put_away(g, r->first + i, r->e + i, &r->entry[i], &batch, t))
			continue;
		waited = gmem_entry_load(r->e + i) & GMEM_WANTED;
		gmem_settle_entry(g, r->first + i, r->e + i, r->entry[i]);
		if (waited)
			wait_wake_all(&g->busy);
	}
	swap_submit(&batch);
	/* Who came between the look and the settling has not been seen. */
	wait_wake_all(&g->busy);
}

/*
 * The sequence counts from before the first claim until after the unmapping: a page that was looked
 * up before is not linked any more. From then on BUSY keeps others off. Returns how far it looked.
 */
static u64 take_run(struct gmem *g, u64 first, u64 at, u64 pages, const u64 *marked,
		    struct gmem_taken *t)
{
	u64 from = first + at, length = min(pages - at, (u64)RUN_MAX);
	struct run r;

	gmem_invalidate_begin(g, from, length);
	at = claim_run(g, first, at, pages, marked, &r, t);
	if (r.count)
		gmem_unmap(g, r.first, r.count);
	gmem_invalidate_end(g, from, length);
	if (r.count)
		settle_run(g, &r, t);
	return at;
}

void gmem_take(struct gmem *g, u64 first, u64 pages, const u64 *marked, struct gmem_taken *t)
{
	u64 at = 0;

	BUG_ON(!gmem_range_ok(g, first, pages));
	BUG_ON(pages && first / GMEM_LARGE_PAGES != (first + pages - 1) / GMEM_LARGE_PAGES);
	if (g->order || !gmem_entry_find(g, first))
		return;
	while (at < pages && !t->full) {
		if (is_marked(marked, at))
			at = take_run(g, first, at, pages, marked, t);
		else
			at++;
	}
}
