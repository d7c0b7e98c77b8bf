/* SPDX-License-Identifier: MIT */
/*
 * Taking pages: from the target that pays least for each (mem/reclaim_policy.h), as long as it has
 * more than it was promised, its oldest first, from where the last taking ended.
 */
#include "kernel/base/panic.h"
#include "mem/reclaim_private.h"

#define LOOKS_EMPTY 8u	/* what passing over a chunk without a page costs, in looks at entries */
#define SKIP_MOST   64u /* of those under one hold of the lock */
/* Of an effort's, for one target: so that others get their turn where nothing is found, or goes. */
#define PART_LOOKS BIT(16)
#define PART_TRIES 128u
#define GAIN_TRIES 8u /* and so many more for each frame that it gained there */

/* Part of an effort: so many pages of one target. */
struct part {
	struct reclaim_target *t;
	struct reclaim_part *in; /* the effort's node */
	u32 node;
	u64 pages;
	u64 own;    /* of these in frames of its own */
	u32 age;    /* no younger ones */
	u64 looks;  /* of the effort's, left when the part is over */
	u64 tries;  /* likewise, if it gains nothing */
	u64 left;   /* chunks that were not gone through */
	u64 gained; /* frames */
	bool spent; /* all its tries */
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

/*
 * What may be taken now; others' parts are on their way out already. What a VM was promised is left to
 * it by others: for pages of its own, at its max, any of it may go.
 */
static u64 spare_of(const struct reclaim_effort *e, const struct reclaim_target *t, u64 pages)
{
	u64 stays = (e->only ? 0 : t->terms.min) + t->taking;

	return t->object->order || pages <= stays ? 0 : pages - stays;
}

/*
 * Of pages in frames of its own. A page that comes to show another's frame stays resident, and
 * would be wanted back by a copy: without this all of what was promised could end in frames of
 * others.
 */
static u64 spare_own(const struct reclaim_effort *e, const struct reclaim_target *t)
{
	u64 resident = __atomic_load_n(&t->object->resident, __ATOMIC_RELAXED);
	u64 borrowed = e->only ? 0 : gmem_borrowed(t->object);

	return spare_of(e, t, resident - min(resident, borrowed));
}

/* What others may pay for goes all the same, as long as enough is resident. */
static u64 spare(const struct reclaim_effort *e, const struct reclaim_target *t)
{
	u64 all = spare_of(e, t, __atomic_load_n(&t->object->resident, __ATOMIC_RELAXED));
	u64 shared = __atomic_load_n(&t->object->in_state[GMEM_SHARED], __ATOMIC_RELAXED);

	return all ? max(spare_own(e, t), min(all, shared)) : 0;
}

/* The oldest age that there are pages of; 0: of none. */
static u32 oldest_age(const struct reclaim_part *in)
{
	u32 age = RECLAIM_AGES - 1;

	while (age && in->by_age[age] <= 0)
		age--;
	return age;
}

static bool has_some(const struct reclaim_effort *e, const struct reclaim_target *t, u32 youngest)
{
	if (reclaim_ids_have(&e->passed, t->id) || (e->only && e->only != t))
		return false;
	return spare(e, t) && (!youngest || oldest_age(&t->in[e->node]) >= youngest);
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
static void forget_ages(struct reclaim_part *in, u32 from)
{
	for (u32 age = from; age < RECLAIM_AGES; age++)
		in->by_age[age] = 0;
}

/*
 * In this part, or one chunk after the other in several: a count that is wrong, for a guest dropped or
 * wrote pages since, must come to an end, however much there is to go through.
 */
static bool is_gone_through(const struct part *p)
{
	return !p->left || p->in->gone_through[p->age] >= reclaim_chunks(p->t);
}

/* The next chunk that has a page, if it is not far; ~0: it is not. */
static u64 next_chunk(struct reclaim_effort *e, struct part *p)
{
	struct reclaim_target *t = p->t;
	u64 chunks = reclaim_chunks(t);

	for (u32 i = 0; i < SKIP_MOST && !is_gone_through(p) && e->looks > p->looks; i++) {
		u64 chunk = p->in->take_next;

		p->left--;
		p->in->gone_through[p->age]++;
		p->in->take_next = (chunk + 1) % chunks;
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
		p->in = &t->in[e->node];
		p->node = e->node;
		p->pages = min(e->want - e->freed, spare(e, t));
		p->own = spare_own(e, t);
		p->age = youngest ? oldest_age(p->in) : 0;
		p->left = reclaim_chunks(t);
		p->looks = e->looks - min(e->looks, (u64)PART_LOOKS);
		p->tries = e->tries - min(e->tries, (u64)PART_TRIES);
		t->taking += p->pages;
	}
	spin_unlock(&reclaim.lock);
	return t != NULL;
}

/* Of one chunk: what is taken, and what it was counted as. */
struct marked {
	u64 bits[GMEM_LARGE_PAGES / 64];
	u64 n, by_age[RECLAIM_AGES];
	u64 generation; /* as of which */
};

/*
 * Up to `most` of the part's pages of 2 MiB from `from` on that are so old at least, `own` of them at
 * most in frames of their own; where it ended.
 */
static u64 mark_old(const struct part *p, u64 first, u64 from, u64 most, u64 own, struct marked *m)
{
	const struct gmem *g = p->t->object;
	u64 pages = min(g->pages - first, (u64)GMEM_LARGE_PAGES), i;
	const u64 *e = gmem_entry_find(g, first);

	*m = (struct marked){.generation = __atomic_load_n(&g->generation, __ATOMIC_RELAXED)};
	for (i = from; e && i < pages && m->n < most; i++) {
		u64 entry = gmem_entry_load(e + i);
		u32 is = gmem_entry_age(g, entry);

		if (!reclaim_may_go(entry) || is < p->age ||
		    frame_node_of(gmem_entry_pfn(entry)) != p->node)
			continue;
		if (gmem_entry_state(entry) == GMEM_GOT_PAGE) {
			if (!own)
				continue;
			own--;
		}
		m->bits[i / 64] |= BIT(i % 64);
		m->by_age[is]++;
		m->n++;
	}
	return i;
}

/*
 * Of what the round has counted, or has under way: a page that is taken in between makes a count less
 * than 0 until it is counted. `stayed` of them still are what they were. reclaim.lock.
 */
static void uncount(const struct part *p, u64 chunk, const struct marked *m, u64 stayed)
{
	const struct reclaim_target *t = p->t;
	u64 gone = m->n - min(m->n, stayed);

	if (chunk >= t->age_next ||
	    m->generation != __atomic_load_n(&t->object->generation, __ATOMIC_RELAXED))
		return;
	for (u32 age = RECLAIM_AGES; age-- > 0;) {
		u64 n = min(m->by_age[age], gone);

		p->in->by_age[age] -= (s64)n;
		gone -= n;
	}
}

/* more: the chunk may have others. */
static void note_taken(struct part *p, u64 chunk, const struct marked *m, u64 stayed, bool more)
{
	u64 *gone_through = &p->in->gone_through[p->age];

	spin_lock(&reclaim.lock);
	uncount(p, chunk, m, stayed);
	if (more) {
		p->in->take_next = chunk;
		p->left++;
		*gone_through -= min(*gone_through, 1ull);
	}
	spin_unlock(&reclaim.lock);
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

static u64 tries_left(const struct reclaim_effort *e, const struct part *p,
		      const struct gmem_taken *t)
{
	u64 tries = e->tries + GAIN_TRIES * gained(t);

	tries -= min(tries, p->tries);
	return min(e->tries, tries);
}

/*
 * Of one chunk. Where there may be more the next taking begins there again. What is old and does not
 * go is not to keep those behind it.
 */
static void take_chunk(struct reclaim_effort *e, struct part *p, u64 chunk,
		       struct gmem_taken *taken)
{
	u64 first = chunk * GMEM_LARGE_PAGES, before = gained(taken), at = 0, most;
	u64 pages = min(p->t->object->pages - first, (u64)GMEM_LARGE_PAGES);
	struct marked m;

	e->looks -= min(e->looks, pages);
	do {
		u64 still = stayed(taken);

		most = min(p->pages - gained(taken), tries_left(e, p, taken));
		at = mark_old(p, first, at, most, p->own - min(p->own, gained(taken)), &m);
		e->tries -= m.n;
		if (!m.n)
			return;
		gmem_take(p->t->object, first, pages, m.bits, taken);
		/* What the disk does not take now it will. */
		still = swap_is_busy() ? stayed(taken) - still : 0;
		note_taken(p, chunk, &m, still, m.n == most && gained(taken) > before);
	} while (m.n == most && gained(taken) == before && tries_left(e, p, taken) && !taken->full);
}

static void take_part(struct reclaim_effort *e, struct part *p)
{
	struct gmem_taken taken = {0};
	bool over = false;

	while (!over && gained(&taken) < p->pages && !taken.full && tries_left(e, p, &taken) &&
	       e->looks > p->looks) {
		u64 chunk;

		spin_lock(&reclaim.lock);
		chunk = next_chunk(e, p);
		over = chunk == ~0ull && is_gone_through(p);
		spin_unlock(&reclaim.lock);
		if (chunk != ~0ull)
			take_chunk(e, p, chunk, &taken);
	}
	count(&taken);
	reclaim_count(&p->t->zero, taken.zero);
	e->freed += gained(&taken);
	e->full |= taken.full;
	p->gained = gained(&taken);
	p->spent = !tries_left(e, p, &taken);
}

/*
 * Where all was gone through and not enough found there is nothing so old. While the disk is busy
 * pages are passed over that are still old when it takes them.
 */
static void end_part(struct reclaim_effort *e, const struct part *p, u32 youngest, bool busy)
{
	bool enough = p->gained >= p->pages, gone_through;

	spin_lock(&reclaim.lock);
	p->t->taking -= p->pages;
	gone_through = !enough && !e->full && !p->spent && is_gone_through(p);
	if (gone_through && !busy)
		forget_ages(p->in, p->age);
	if (gone_through || busy)
		p->in->gone_through[p->age] = 0;
	spin_unlock(&reclaim.lock);
	/* There it would find nothing younger than what it looked for. */
	if (gone_through && (busy || p->age <= max(youngest, 1u)))
		reclaim_ids_add(&e->passed, p->t->id);
	/* It goes on from there in the next effort. */
	if (!gone_through && !enough && (p->spent || !p->gained) && e->tries) {
		reclaim_ids_add(&e->passed, p->t->id);
		e->more = true;
	}
	reclaim_put(p->t);
}

static bool goes_on(const struct reclaim_effort *e)
{
	return e->freed < e->want && e->tries && e->looks && !e->full;
}

/* A part for each target that has some. Whether one used up its tries. */
static bool take_of_each(struct reclaim_effort *e, u32 youngest)
{
	bool spent = false;
	struct part p;

	e->passed = (struct reclaim_ids){0};
	while (goes_on(e) && begin_part(e, youngest, &p)) {
		bool busy = swap_is_busy();

		take_part(e, &p);
		end_part(e, &p, youngest, busy || swap_is_busy());
		spent |= p.spent;
	}
	return spent;
}

void reclaim_take(struct reclaim_effort *e, u32 youngest)
{
	/* What is left of the tries is for the same ones where the others had nothing. */
	while (take_of_each(e, youngest) && !e->freed && goes_on(e))
		;
	e->more |= !e->tries || !e->looks;
}
