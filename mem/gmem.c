/* SPDX-License-Identifier: MIT */
#include "mem/gmem.h"
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/slab.h"

static u64 chunk_count(const struct gmem *g)
{
	return (g->pages + GMEM_CHUNK_ENTRIES - 1) / GMEM_CHUNK_ENTRIES;
}

int gmem_create(u64 pages, struct gmem **out)
{
	struct gmem *g;

	if (pages == 0 || pages > GMEM_PAGES_MAX)
		return ERR_RANGE;
	g = kmalloc(sizeof(*g));
	if (!g)
		return ERR_NOMEM;
	g->pages = pages;
	g->refs = 1;
	g->slot_phys = kmalloc(chunk_count(g) * sizeof(*g->slot_phys));
	if (!g->slot_phys) {
		kfree(g);
		return ERR_NOMEM;
	}
	spin_init(&g->lock, "slot_phys_lock", LOCK_SLOT_PHYS);
	wait_queue_init(&g->busy);
	*out = g;
	return 0;
}

void gmem_ref(struct gmem *g)
{
	BUG_ON(__atomic_fetch_add(&g->refs, 1, __ATOMIC_RELAXED) == 0);
}

static void free_chunk(u64 *chunk)
{
	for (u32 i = 0; i < GMEM_CHUNK_ENTRIES; i++) {
		if (chunk[i] == GMEM_ABSENT)
			continue;
		/* Nothing makes any other state yet, and nobody may still be changing it. */
		BUG_ON(gmem_entry_state(chunk[i]) != GMEM_GOT_PAGE);
		frame_free(gmem_entry_pfn(chunk[i]), 0);
	}
	frame_free_page(chunk);
}

void gmem_unref(struct gmem *g)
{
	u32 before = __atomic_fetch_sub(&g->refs, 1, __ATOMIC_ACQ_REL);

	BUG_ON(before == 0);
	if (before > 1)
		return;
	BUG_ON(g->pins);
	for (u64 i = 0; i < chunk_count(g); i++) {
		if (g->slot_phys[i])
			free_chunk(g->slot_phys[i]);
	}
	kfree(g->slot_phys);
	kfree(g);
}

/* --- Entries ------------------------------------------------------------------------------- */

/* Where the entry is, or NULL while its chunk is not there. index < pages. */
static u64 *entry_find(const struct gmem *g, u64 index)
{
	u64 *chunk = __atomic_load_n(&g->slot_phys[index / GMEM_CHUNK_ENTRIES], __ATOMIC_ACQUIRE);

	return chunk ? &chunk[index % GMEM_CHUNK_ENTRIES] : NULL;
}

/* As entry_find, making the chunk. Of two that do at once one's goes back. NULL: no memory. */
static u64 *entry_make(struct gmem *g, u64 index)
{
	u64 **slot = &g->slot_phys[index / GMEM_CHUNK_ENTRIES];
	u64 *e = entry_find(g, index), *chunk, *there = NULL;

	if (e)
		return e;
	chunk = frame_alloc_page(FRAME_ZERO);
	if (!chunk)
		return NULL;
	if (!__atomic_compare_exchange_n(slot, &there, chunk, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		frame_free_page(chunk);
		chunk = there;
	}
	return &chunk[index % GMEM_CHUNK_ENTRIES];
}

static u64 entry_load(const u64 *e)
{
	return __atomic_load_n(e, __ATOMIC_ACQUIRE);
}

/* On failure *old is what was found. */
static bool entry_exchange(u64 *e, u64 *old, u64 new)
{
	return __atomic_compare_exchange_n(e, old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

u64 gmem_entry(const struct gmem *g, u64 index)
{
	const u64 *e = index < g->pages ? entry_find(g, index) : NULL;

	return e ? entry_load(e) : GMEM_ABSENT;
}

static bool fit_for(u64 entry, bool write)
{
	enum gmem_state state = gmem_entry_state(entry);

	return state == GMEM_GOT_PAGE || (state == GMEM_SHARED && !write);
}

/* --- Getting pages ------------------------------------------------------------------------- */

/* Dirty before the caller can write: reclaim never sees a written page that looks clean. */
static bool use(u64 *e, u64 entry, bool write, pfn_t *out)
{
	if (write && !(entry & GMEM_DIRTY) && !entry_exchange(e, &entry, entry | GMEM_DIRTY))
		return false;
	*out = gmem_entry_pfn(entry);
	return true;
}

int gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	u64 *e = index < g->pages ? entry_find(g, index) : NULL;
	u64 entry = e ? entry_load(e) : GMEM_ABSENT;

	return fit_for(entry, write) && use(e, entry, write, out) ? 0 : ERR_TOO_HARD;
}

static void count_resident(struct gmem *g)
{
	u64 now = __atomic_add_fetch(&g->resident, 1, __ATOMIC_RELAXED);
	u64 peak = __atomic_load_n(&g->touched_peak, __ATOMIC_RELAXED);

	while (now > peak && !__atomic_compare_exchange_n(&g->touched_peak, &peak, now, false,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* First touch. Whoever loses finds out by reading the entry again. */
static int fill_absent(struct gmem *g, u64 *e)
{
	u64 absent = GMEM_ABSENT;
	pfn_t pfn;
	int err = frame_alloc(0, FRAME_ZERO, &pfn);

	if (err)
		return err;
	if (entry_exchange(e, &absent, pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE))
		count_resident(g);
	else
		frame_free(pfn, 0);
	return 0;
}

int gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	u64 *e;

	if (index >= g->pages)
		return ERR_RANGE;
	e = entry_make(g, index);
	if (!e)
		return ERR_NOMEM;
	for (;;) {
		u64 entry = entry_load(e);
		int err = 0;

		if (fit_for(entry, write)) {
			if (use(e, entry, write, out))
				return 0;
			continue;
		}
		switch (gmem_entry_state(entry)) {
		case GMEM_ABSENT:
			err = fill_absent(g, e);
			break;
		case GMEM_BUSY:
			wait_event(&g->busy, gmem_entry_state(entry_load(e)) != GMEM_BUSY);
			break;
		default:
			err = ERR_NOTSUP;
		}
		if (err)
			return err;
	}
}

/* --- Pins ---------------------------------------------------------------------------------- */

/* The lock keeps gmem_claim from taking the page between the look at it and the pin (R37). */
static int pin_resident(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	int err = ERR_NOSPC;

	spin_lock(&g->lock);
	if (g->pins < GMEM_PINS_MAX) {
		err = gmem_lookup(g, index, write, out);
		if (!err) {
			struct frame *f = frame_of(*out);

			BUG_ON(__atomic_fetch_add(&f->pins, 1, __ATOMIC_RELAXED) == UINT16_MAX);
			g->pins++;
		}
	}
	spin_unlock(&g->lock);
	return err;
}

static_assert(GMEM_PINS_MAX < UINT16_MAX, "a page has at most all pins of its object");

int gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	int err;

	do {
		err = gmem_get_page(g, index, write, out);
		if (!err)
			err = pin_resident(g, index, write, out);
		/* It went between the two, or changed under the exchange: once more. */
	} while (err == ERR_TOO_HARD);
	return err;
}

void gmem_unpin(struct gmem *g, u64 index, pfn_t pfn, bool dirty)
{
	struct frame *f = frame_of(pfn);
	u64 *e = index < g->pages ? entry_find(g, index) : NULL;

	BUG_ON(!f || !e);
	spin_lock(&g->lock);
	BUG_ON(gmem_entry_pfn(entry_load(e)).v != pfn.v || !g->pins);
	if (dirty)
		__atomic_fetch_or(e, GMEM_DIRTY, __ATOMIC_RELEASE);
	BUG_ON(__atomic_fetch_sub(&f->pins, 1, __ATOMIC_RELEASE) == 0);
	g->pins--;
	spin_unlock(&g->lock);
}

/* --- Changing what an entry holds ----------------------------------------------------------- */

int gmem_claim(struct gmem *g, u64 index, u64 *entry)
{
	u64 *e;
	int err = 0;

	if (index >= g->pages)
		return ERR_RANGE;
	e = entry_find(g, index);
	if (!e)
		return ERR_NOENT;
	spin_lock(&g->lock);
	*entry = entry_load(e);
	/* Only the dirty bit can change under us, and only to set. */
	do {
		struct frame *f = NULL;

		if (fit_for(*entry, false))
			f = frame_of(gmem_entry_pfn(*entry));
		if (gmem_entry_state(*entry) == GMEM_ABSENT)
			err = ERR_NOENT;
		else if (gmem_entry_state(*entry) == GMEM_BUSY ||
			 (f && __atomic_load_n(&f->pins, __ATOMIC_ACQUIRE)))
			err = ERR_BUSY;
	} while (!err && !entry_exchange(e, entry, GMEM_BUSY));
	spin_unlock(&g->lock);
	return err;
}

void gmem_settle(struct gmem *g, u64 index, u64 entry)
{
	u64 *e = entry_find(g, index);

	BUG_ON(!e || gmem_entry_state(entry_load(e)) != GMEM_BUSY);
	BUG_ON(gmem_entry_state(entry) == GMEM_BUSY);
	__atomic_store_n(e, entry, __ATOMIC_RELEASE);
	wait_wake_all(&g->busy);
}
