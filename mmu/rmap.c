/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mmu/memslot.h"
#include "mmu/rmap.h"
#include "smp/lock_order.h"

/* --- The words --- */

/* A slot of n pages lies in at most this many 2 MiB regions, wherever it is moved. */
static u64 regions_max(u64 pages)
{
	return (pages + LARGE_PAGES - 1) / LARGE_PAGES + 1;
}

/* All but the chunks' addresses. */
static struct slot_maps *make(u64 pages)
{
	struct slot_maps *m = kmalloc(sizeof(*m));

	if (!m)
		return NULL;
	m->pages = pages;
	m->chunk_count = (pages + RMAP_CHUNK_WORDS - 1) / RMAP_CHUNK_WORDS;
	m->large_count = regions_max(pages);
	m->large = kmalloc(m->large_count * sizeof(*m->large));
	m->small = kmalloc(m->large_count * sizeof(*m->small));
	if (!m->large || !m->small) {
		slot_maps_free(m);
		return NULL;
	}
	return m;
}

int slot_maps_create(u64 pages, struct slot_maps **out)
{
	struct slot_maps *m = make(pages);

	if (!m)
		return ERR_NOMEM;
	m->chunk = kmalloc(m->chunk_count * sizeof(*m->chunk));
	if (!m->chunk) {
		slot_maps_free(m);
		return ERR_NOMEM;
	}
	*out = m;
	return 0;
}

int slot_maps_share(struct slot_maps *old, struct slot_maps **out)
{
	struct slot_maps *m = make(old->pages);

	if (!m)
		return ERR_NOMEM;
	m->chunk = old->chunk;
	*out = m;
	return 0;
}

void slot_maps_part(struct slot_maps *old)
{
	old->chunk = NULL;
}

void slot_maps_free(struct slot_maps *m)
{
	for (u64 i = 0; m->chunk && i < m->chunk_count; i++) {
		if (m->chunk[i])
			frame_free_page(m->chunk[i]);
	}
	kfree(m->chunk);
	kfree(m->large);
	kfree(m->small);
	kfree(m);
}

static u64 *chunk_of(const struct slot_maps *m, u64 index)
{
	return __atomic_load_n(&m->chunk[index / RMAP_CHUNK_WORDS], __ATOMIC_ACQUIRE);
}

u64 *rmap_word(const struct memslot *s, gfn_t gfn)
{
	u64 index = gfn.v - s->base.v;
	u64 *chunk = chunk_of(s->maps, index);

	return chunk ? &chunk[index % RMAP_CHUNK_WORDS] : NULL;
}

int rmap_prepare(const struct memslot *s, gfn_t gfn)
{
	u64 index = gfn.v - s->base.v;
	u64 *none = NULL, *chunk;

	if (chunk_of(s->maps, index))
		return 0;
	chunk = frame_alloc_page(FRAME_ZERO | FRAME_FOR(RMAPS));
	if (!chunk)
		return ERR_NOMEM;
	if (!__atomic_compare_exchange_n(&s->maps->chunk[index / RMAP_CHUNK_WORDS], &none, chunk,
					 false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE))
		frame_free_page(chunk);
	return 0;
}

static u64 region_of(const struct memslot *s, gfn_t gfn)
{
	return gfn.v / LARGE_PAGES - s->base.v / LARGE_PAGES;
}

u64 *rmap_large_word(const struct memslot *s, gfn_t gfn)
{
	return &s->maps->large[region_of(s, gfn)];
}

u32 *rmap_small_count(const struct memslot *s, gfn_t gfn)
{
	return &s->maps->small[region_of(s, gfn)];
}

void slot_maps_recount(const struct memslot *s)
{
	for (u64 i = 0; i < s->pages; i++) {
		gfn_t gfn = GFN(s->base.v + i);
		const u64 *word = rmap_word(s, gfn);

		if (!word)
			i |= RMAP_CHUNK_WORDS - 1; /* on to the next chunk */
		else if (__atomic_load_n(word, __ATOMIC_RELAXED) & RMAP_PROTECTED)
			(*rmap_small_count(s, gfn))++;
	}
}

/* --- The lock --- */

/* Stands for all the lock bits in the order of locks: who has one takes another by trying. */
static struct spinlock rmap_class = SPINLOCK_INIT("rmap chain", LOCK_RMAP);

static bool take(u64 *word)
{
	return !(__atomic_fetch_or(word, RMAP_LOCKED, __ATOMIC_SEQ_CST) & RMAP_LOCKED);
}

void rmap_lock(u64 *word)
{
	/* Who has it is not preempted: others may wait for it with interrupts off. */
	ASSERT(!irq_enabled() || this_cpu()->preempt_off);
	lock_order_spin_check(&rmap_class);
	while (unlikely(!take(word))) {
		while (__atomic_load_n(word, __ATOMIC_RELAXED) & RMAP_LOCKED)
			cpu_relax();
	}
	lock_order_spin_taken(&rmap_class);
}

bool rmap_trylock(u64 *word)
{
	return !(__atomic_load_n(word, __ATOMIC_RELAXED) & RMAP_LOCKED) && take(word);
}

void rmap_unlock(u64 *word)
{
	lock_order_spin_dropped(&rmap_class);
	rmap_unlock_tried(word);
}

void rmap_unlock_tried(u64 *word)
{
	u64 old = __atomic_fetch_and(word, ~RMAP_LOCKED, __ATOMIC_SEQ_CST);

	ASSERT(old & RMAP_LOCKED);
	(void)old;
}

/* --- The chain --- */

/* Only the lock's holder changes the other bits, and others only read or try the lock bit. */
static u64 load(const u64 *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void store(u64 *word, u64 value)
{
	ASSERT((load(word) & RMAP_LOCKED) && (value & RMAP_LOCKED));
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static void *address(u64 value)
{
	return phys_to_virt(HPA(value & RMAP_ADDRESS));
}

static void set_address(u64 *word, const void *p, u64 many)
{
	u64 rest = load(word) & ~(RMAP_ADDRESS | RMAP_MANY);

	store(word, rest | (p ? virt_to_phys(p).v : 0) | many);
}

static int __noinline add_many(u64 *word, u64 *spte, struct rmap_cache *cache)
{
	struct rmap_desc *d = load(word) & RMAP_MANY ? address(load(word)) : NULL;

	for (u32 i = 0; d && i < RMAP_DESC_SPTES; i++) {
		if (!d->spte[i]) {
			d->spte[i] = spte;
			return 0;
		}
	}
	if (!cache || !cache->count)
		return ERR_TOO_HARD;
	cache->count--;
	*cache->desc[cache->count] = (struct rmap_desc){.more = d};
	if (d) {
		d = cache->desc[cache->count];
		d->spte[0] = spte;
	} else {
		d = cache->desc[cache->count];
		d->spte[0] = address(load(word));
		d->spte[1] = spte;
	}
	set_address(word, d, RMAP_MANY);
	return 0;
}

/* Each fault comes this way: an empty chain's word has no RMAP_MANY to take away. */
int rmap_add(u64 *word, u64 *spte, struct rmap_cache *cache)
{
	u64 value = load(word);

	if (unlikely(value & RMAP_ADDRESS))
		return add_many(word, spte, cache);
	ASSERT(!(value & RMAP_MANY));
	store(word, value | virt_to_phys(spte).v);
	return 0;
}

/* Where spte stands in the chain. */
static u64 **find(struct rmap_desc *d, const u64 *spte)
{
	for (; d; d = d->more) {
		for (u32 i = 0; i < RMAP_DESC_SPTES; i++) {
			if (d->spte[i] == spte)
				return &d->spte[i];
		}
	}
	return NULL;
}

/* The last one of the first descriptor moves to where the removed one was. */
static void remove_many(u64 *word, const u64 *spte)
{
	struct rmap_desc *first = address(load(word));
	u64 **place = find(first, spte);
	u32 last = RMAP_DESC_SPTES - 1;

	BUG_ON(!place);
	while (!first->spte[last])
		last--;
	*place = first->spte[last];
	first->spte[last] = NULL;
	if (last == 1 && !first->more) {
		set_address(word, first->spte[0], 0);
		kfree(first);
	} else if (last == 0) {
		/* A chain of one descriptor never gets here: it has two sptes or more. */
		set_address(word, first->more, RMAP_MANY);
		kfree(first);
	}
}

void rmap_remove(u64 *word, u64 *spte)
{
	if (load(word) & RMAP_MANY) {
		remove_many(word, spte);
		return;
	}
	BUG_ON(rmap_empty(word) || address(load(word)) != spte);
	set_address(word, NULL, 0);
}

u64 *rmap_spte_of_many(const u64 *word, u32 i)
{
	const struct rmap_desc *d;

	/* All descriptors but the first are full. */
	for (d = address(load(word)); d; d = d->more) {
		u32 used = 0;

		while (used < RMAP_DESC_SPTES && d->spte[used])
			used++;
		if (i < used)
			return d->spte[i];
		i -= used;
	}
	return NULL;
}

/* No descriptor is empty. */
u64 *rmap_next_of_many(struct rmap_cursor *at)
{
	if (at->next == RMAP_DESC_SPTES || !at->desc->spte[at->next]) {
		at->desc = at->desc->more;
		at->next = 0;
	}
	return at->desc ? at->desc->spte[at->next++] : NULL;
}

bool rmap_is_full(const u64 *word)
{
	const struct rmap_desc *d = load(word) & RMAP_MANY ? address(load(word)) : NULL;
	u32 sptes = 0;

	for (; d && sptes < RMAP_CHAIN_MAX; d = d->more) {
		for (u32 i = 0; i < RMAP_DESC_SPTES && d->spte[i]; i++)
			sptes++;
	}
	return sptes >= RMAP_CHAIN_MAX;
}

static void __noinline free_many(struct rmap_desc *d)
{
	while (d) {
		struct rmap_desc *more = d->more;

		kfree(d);
		d = more;
	}
}

void rmap_clear(u64 *word, u64 set)
{
	u64 value = load(word);

	store(word, (value & ~(RMAP_ADDRESS | RMAP_MANY)) | set);
	if (unlikely(value & RMAP_MANY))
		free_many(address(value));
}

void rmap_flag(u64 *word, u64 set, u64 clear)
{
	store(word, (load(word) & ~clear) | set);
}

/* --- Descriptors for a vCPU --- */

int rmap_cache_fill(struct rmap_cache *c)
{
	while (c->count < RMAP_CACHE_MAX) {
		struct rmap_desc *d = kmalloc(sizeof(*d));

		if (!d)
			return ERR_NOMEM;
		c->desc[c->count++] = d;
	}
	return 0;
}

void rmap_cache_free(struct rmap_cache *c)
{
	while (c->count)
		kfree(c->desc[--c->count]);
}
