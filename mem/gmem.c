/* SPDX-License-Identifier: MIT */
/* The life of guest memory objects, and their entries. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/share.h"
#include "mem/slab.h"
#include "mem/swap.h"
#include "mem/tier.h"

static u64 chunk_count(const struct gmem *g)
{
	u64 entries = g->pages >> g->order;

	return (entries + GMEM_CHUNK_ENTRIES - 1) / GMEM_CHUNK_ENTRIES;
}

int gmem_create_order(u64 pages, u32 order, struct gmem **out)
{
	struct gmem *g;

	if (order != 0 && order != GMEM_LARGE_ORDER)
		return ERR_INVAL;
	if (pages == 0 || pages > GMEM_PAGES_MAX)
		return ERR_RANGE;
	if (!is_aligned(pages, 1ull << order))
		return ERR_ALIGN;
	g = kmalloc(sizeof(*g));
	if (!g)
		return ERR_NOMEM;
	g->pages = pages;
	g->order = order;
	g->refs = 1;
	g->slot_phys = kmalloc(chunk_count(g) * sizeof(*g->slot_phys));
	if (!g->slot_phys) {
		kfree(g);
		return ERR_NOMEM;
	}
	g->resident_max = ~0ull;
	g->own.pins_max = GMEM_PINS_MAX;
	g->account = &g->own;
	spin_init(&g->lock, "slot_phys_lock", LOCK_SLOT_PHYS);
	rwsem_init(&g->notify_sem, "notify_sem", LOCK_NOTIFY);
	list_init(&g->notifiers);
	wait_queue_init(&g->busy);
	wait_queue_init(&g->idle);
	*out = g;
	return 0;
}

int gmem_create(u64 pages, struct gmem **out)
{
	return gmem_create_order(pages, 0, out);
}

int gmem_on_free(struct gmem *g, void (*fn)(void *arg), void *arg)
{
	if (g->on_free)
		return ERR_EXIST;
	g->on_free = fn;
	g->on_free_arg = arg;
	return 0;
}

void gmem_set_share_group(struct gmem *g, u32 group)
{
	BUG_ON(group > UINT16_MAX);
	g->share_group = group;
}

void gmem_on_lost(struct gmem *g, void (*fn)(void *arg, u64 index, u64 block, int err), void *arg)
{
	g->on_lost = fn;
	g->on_lost_arg = arg;
}

void gmem_ref(struct gmem *g)
{
	BUG_ON(__atomic_fetch_add(&g->refs, 1, __ATOMIC_RELAXED) == 0);
}

static void free_chunk(struct gmem *g, u64 *entries)
{
	for (u32 i = 0; i < GMEM_CHUNK_ENTRIES; i++) {
		if (gmem_entry_state(entries[i]) == GMEM_ABSENT)
			continue;
		if (tier_has(entries[i])) {
			tier_free(g, entries[i]);
			continue;
		}
		if (gmem_entry_state(entries[i]) == GMEM_SHARED) {
			(void)share_put(g, gmem_entry_pfn(entries[i]));
			continue;
		}
		/* What is left is resident: nobody may still be changing it. */
		BUG_ON(gmem_entry_state(entries[i]) != GMEM_GOT_PAGE);
		swap_unkeep(entries[i]);
		if (!(entries[i] & GMEM_FOREIGN))
			frame_free(gmem_entry_pfn(entries[i]), g->order);
	}
	frame_free_page(entries);
}

void gmem_unref(struct gmem *g)
{
	u32 before = __atomic_fetch_sub(&g->refs, 1, __ATOMIC_ACQ_REL);

	BUG_ON(before == 0);
	if (before > 1)
		return;
	swap_forget(g);
	BUG_ON(g->pins || !list_empty(&g->notifiers));
	for (u32 i = 0; i < GMEM_SEQ_BUCKETS; i++)
		BUG_ON(!gmem_seq_idle(g->seq[i]));
	for (u64 i = 0; i < chunk_count(g); i++) {
		if (g->slot_phys[i].entries)
			free_chunk(g, g->slot_phys[i].entries);
	}
	BUG_ON(g->alone);
	kfree(g->slot_phys);
	if (g->on_free)
		g->on_free(g->on_free_arg);
	kfree(g);
}

/* --- Entries ------------------------------------------------------------------------------- */

/* Of two that make a chunk at once one's goes back. */
u64 *gmem_entry_make(struct gmem *g, u64 index)
{
	u64 **slot = &gmem_chunk_of(g, index)->entries;
	u64 *e = gmem_entry_find(g, index), *entries, *there = NULL;

	if (e)
		return e;
	entries = frame_alloc_page(FRAME_ZERO | FRAME_FOR(ENTRIES));
	if (!entries)
		return gmem_entry_find(g, index);
	if (!__atomic_compare_exchange_n(slot, &there, entries, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		frame_free_page(entries);
	return gmem_entry_find(g, index);
}

u64 gmem_entry(const struct gmem *g, u64 index)
{
	const u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;
	u64 entry = e ? gmem_entry_load(e) : GMEM_ABSENT;

	if (gmem_entry_resident(entry))
		entry += (index & (gmem_entry_pages(g) - 1)) << GMEM_PFN_SHIFT;
	return entry;
}

/* --- How many are resident ------------------------------------------------------------------ */

void gmem_count_in(struct gmem *g, u64 index)
{
	/* Release: who sees all of a chunk resident also sees the chunk. */
	__atomic_fetch_add(&gmem_chunk_of(g, index)->resident, 1, __ATOMIC_RELEASE);
	__atomic_fetch_add(&g->resident, gmem_entry_pages(g), __ATOMIC_RELAXED);
}

u64 gmem_count_undo(struct gmem *g, u64 index)
{
	struct gmem_chunk *chunk = gmem_chunk_of(g, index);
	u16 before = __atomic_fetch_sub(&chunk->resident, 1, __ATOMIC_RELAXED);

	BUG_ON(before == 0);
	if (before == 1)
		__atomic_store_n(&chunk->place, GMEM_PLACE_OPEN, __ATOMIC_RELAXED);
	return __atomic_fetch_sub(&g->resident, gmem_entry_pages(g), __ATOMIC_RELAXED);
}

/* The way down keeps the peak, so that a first touch has one word less to share with others. */
void gmem_count_out(struct gmem *g, u64 index)
{
	u64 before = gmem_count_undo(g, index);
	u64 peak = __atomic_load_n(&g->peak, __ATOMIC_RELAXED);

	__atomic_store_n(&gmem_chunk_of(g, index)->scattered, 0, __ATOMIC_RELAXED);
	while (before > peak && !__atomic_compare_exchange_n(&g->peak, &peak, before, false,
							     __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void gmem_count_states(const struct gmem *g, u64 pages[GMEM_STATES])
{
	u64 sum = 0;

	for (u32 i = 0; i < GMEM_STATES; i++)
		pages[i] = __atomic_load_n(&g->in_state[i], __ATOMIC_RELAXED) << g->order;
	pages[GMEM_GOT_PAGE] = __atomic_load_n(&g->resident, __ATOMIC_RELAXED);
	/* What is under way may be counted twice or not at all. */
	pages[GMEM_GOT_PAGE] -= min(pages[GMEM_GOT_PAGE], pages[GMEM_SHARED]);
	for (u32 i = 0; i < GMEM_STATES; i++)
		sum += pages[i];
	pages[GMEM_ABSENT] = g->pages - min(g->pages, sum);
}

static u64 given_in(const struct gmem_chunk *chunk)
{
	const u64 *entries = __atomic_load_n(&chunk->entries, __ATOMIC_ACQUIRE);
	u64 n = 0;

	if (!entries || __atomic_load_n(&chunk->resident, __ATOMIC_RELAXED) == GMEM_CHUNK_ENTRIES)
		return 0;
	for (u32 i = 0; i < GMEM_CHUNK_ENTRIES; i++)
		n += gmem_entry_load(&entries[i]) == GMEM_GIVEN;
	return n;
}

u64 gmem_given_back(const struct gmem *g)
{
	u64 n = 0;

	if (!__atomic_load_n(&g->removed, __ATOMIC_RELAXED))
		return 0;
	for (u64 i = 0; i < chunk_count(g); i++)
		n += given_in(&g->slot_phys[i]);
	return n << g->order;
}

u64 gmem_resident_peak(const struct gmem *g)
{
	return max(__atomic_load_n(&g->peak, __ATOMIC_RELAXED),
		   __atomic_load_n(&g->resident, __ATOMIC_RELAXED));
}
