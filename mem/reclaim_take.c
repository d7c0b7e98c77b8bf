/* SPDX-License-Identifier: MIT */
/*
 * Taking pages: from the target that pays least for each (mem/reclaim_policy.h), as long as it has
 * more than it was promised, its oldest first, from where the last taking ended.
 */
#include "kernel/base/panic.h"
#include "mem/reclaim_private.h"

#define LOOKS_EMPTY 8u	/* what passing over a chunk without a page costs, in looks at entries */
#define SKIP_MOST   64u /* of those under one hold of the lock */

/* Part of an effort: so many pages of one target. */
struct part {
	struct reclaim_target *t;
	u64 pages;
	u32 age; /* no younger ones */
};

struct reclaim_claim reclaim_claim_of(const struct reclaim_target *t)
{
	const struct gmem *g = t->object;
	u64 packed = __atomic_load_n(&g->packed_bytes, __ATOMIC_RELAXED) / PAGE_SIZE;

	return (struct reclaim_claim){
		.pages = __atomic_load_n(&g->resident, __ATOMIC_RELAXED) + packed,
		.used = t->working_set,
		.shares = t->terms.shares,
	};
}

/* --- reclaim.lock --- */

/* What may be taken now; others' parts are on their way out already. */
static u64 spare(const struct reclaim_target *t)
{
	u64 resident = __atomic_load_n(&t->object->resident, __ATOMIC_RELAXED);
	u64 stays = t->terms.min + t->taking;

	return t->object->order || resident <= stays ? 0 : resident - stays;
}

/* The oldest age that there are pages of; 0: of none. */
static u32 oldest_age(const struct reclaim_target *t)
{
	u32 age = RECLAIM_AGES - 1;

	while (age && !t->by_age[age])
		age--;
	return age;
}

static bool has_some(const struct reclaim_effort *e, const struct reclaim_target *t, u32 youngest)
{
	if (reclaim_ids_have(&e->passed, t->id) || (e->only && e->only != t))
		return false;
	return spare(t) && (!youngest || oldest_age(t) >= youngest);
}

static struct reclaim_target *pick(const struct reclaim_effort *e, u32 youngest)
{
	struct reclaim_target *t, *best = NULL;
	struct reclaim_claim least;

	list_for_each_entry (t, &reclaim.targets, link) {
		struct reclaim_claim c = reclaim_claim_of(t);

		if (!has_some(e, t, youngest))
			continue;
		if (best && !reclaim_pays_less(&c, &least, reclaim.tax))
			continue;
		best = t;
		least = c;
	}
	return best;
}

/* Of this age and above nothing is left, as far as anybody knows. */
static void forget_ages(struct reclaim_target *t, u32 from)
{
	for (u32 age = from; age < RECLAIM_AGES; age++)
		t->by_age[age] = 0;
}

/* The next chunk that has a page, if it is not far; ~0: it is not. */
static u64 next_chunk(struct reclaim_target *t, struct reclaim_effort *e, u64 *left)
{
	u64 chunks = reclaim_chunks(t);

	for (u32 i = 0; i < SKIP_MOST && *left && e->looks; i++) {
		u64 chunk = t->take_next;

		(*left)--;
		t->take_next = (chunk + 1) % chunks;
		if (!reclaim_chunk_empty(t, chunk))
			return chunk;
		e->looks -= min(e->looks, (u64)LOOKS_EMPTY);
	}
	return ~0ull;
}

/* --- */

static bool begin_part(struct reclaim_effort *e, u32 youngest, struct part *p)
{
	struct reclaim_target *t;

	spin_lock(&reclaim.lock);
	t = pick(e, youngest);
	if (t) {
		reclaim_use(t);
		p->t = t;
		p->pages = min(e->want - e->freed, spare(t));
		p->age = youngest ? oldest_age(t) : 0;
		t->taking += p->pages;
	}
	spin_unlock(&reclaim.lock);
	return t != NULL;
}

static void end_part(const struct part *p, bool gone_through)
{
	spin_lock(&reclaim.lock);
	p->t->taking -= p->pages;
	if (gone_through)
		forget_ages(p->t, p->age);
	spin_unlock(&reclaim.lock);
	reclaim_put(p->t);
}

/* Up to `most` of the pages of 2 MiB that are so old at least; how many. */
static u64 mark_old(const struct gmem *g, u64 first, u64 pages, u32 age, u64 most, u64 *marked)
{
	const u64 *e = gmem_entry_find(g, first);
	u64 n = 0;

	for (u64 i = 0; e && i < pages && n < most; i++) {
		u64 entry = gmem_entry_load(e + i);

		if (!reclaim_may_go(entry) || gmem_entry_age(g, entry) < age)
			continue;
		marked[i / 64] |= BIT(i % 64);
		n++;
	}
	return n;
}

/* Frames that are free, or will be when the disk has written the pages. */
static u64 gained(const struct gmem_taken *t)
{
	return t->freed + t->writing;
}

static void count(const struct gmem_taken *t)
{
	reclaim_count(&reclaim.stats.zero, t->zero);
	reclaim_count(&reclaim.stats.filled, t->filled);
	reclaim_count(&reclaim.stats.packed, t->packed);
	reclaim_count(&reclaim.stats.shared, t->shared);
	reclaim_count(&reclaim.stats.hard, t->hard);
	reclaim_count(&reclaim.stats.wanted, t->wanted);
	reclaim_count(&reclaim.stats.kept, t->kept);
}

static u64 stayed(const struct gmem_taken *t)
{
	return t->hard + t->kept;
}

/* Of one chunk. Where there may be more the next taking begins there again, unless they do not go. */
static void take_chunk(struct reclaim_effort *e, const struct part *p, u64 chunk,
		       struct gmem_taken *taken)
{
	struct reclaim_target *t = p->t;
	u64 first = chunk * GMEM_LARGE_PAGES, marked[GMEM_LARGE_PAGES / 64] = {0};
	u64 pages = min(t->object->pages - first, (u64)GMEM_LARGE_PAGES);
	u64 before = gained(taken), stayed_before = stayed(taken), gone;
	u64 most = min(p->pages - before, e->tries);
	u64 n = mark_old(t->object, first, pages, p->age, most, marked);

	e->tries -= n;
	e->looks -= min(e->looks, pages);
	if (!n)
		return;
	gmem_take(t->object, first, pages, marked, taken);
	/* What the disk does not take now it will. */
	gone = n - (swap_is_busy() ? min(n, stayed(taken) - stayed_before) : 0);
	spin_lock(&reclaim.lock);
	t->by_age[p->age] -= min(t->by_age[p->age], gone);
	if (n == most && gained(taken) > before)
		t->take_next = chunk;
	spin_unlock(&reclaim.lock);
}

/* Whether all of the target was gone through. */
static bool take_part(struct reclaim_effort *e, const struct part *p)
{
	u64 left = reclaim_chunks(p->t);
	struct gmem_taken taken = {0};

	while (left && gained(&taken) < p->pages && !taken.full && e->tries && e->looks) {
		u64 chunk;

		spin_lock(&reclaim.lock);
		chunk = next_chunk(p->t, e, &left);
		spin_unlock(&reclaim.lock);
		if (chunk != ~0ull)
			take_chunk(e, p, chunk, &taken);
	}
	count(&taken);
	e->freed += gained(&taken);
	e->full |= taken.full;
	return !left && gained(&taken) < p->pages && !taken.full && e->tries && e->looks;
}

void reclaim_take(struct reclaim_effort *e, u32 youngest)
{
	struct part p;

	e->passed = (struct reclaim_ids){0};
	while (e->freed < e->want && e->tries && e->looks && !e->full &&
	       begin_part(e, youngest, &p)) {
		bool busy = swap_is_busy(), gone_through = take_part(e, &p);

		/* What was passed over is still old when the disk takes it. */
		busy = busy || swap_is_busy();
		/* There it would find nothing younger than what it looked for. */
		if (gone_through && (busy || p.age <= max(youngest, 1u)))
			reclaim_ids_add(&e->passed, p.t->id);
		end_part(&p, gone_through && !busy);
	}
	e->more |= !e->tries || !e->looks;
}
