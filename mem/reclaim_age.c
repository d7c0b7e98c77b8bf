/* SPDX-License-Identifier: MIT */
/*
 * Rounds of aging. A round goes over all of an object, 2 MiB after 2 MiB; whoever has time for it
 * takes the next. What a round has counted so far is what pages are taken by.
 *
 * Who is held up for long between taking 2 MiB and looking at them may look in a later round: their
 * pages' ages are as of then, or may have wrapped and look young once.
 */
#include "kernel/base/string.h"
#include "mem/reclaim_private.h"
#include "smp/thread.h"

#define ROUND_GAP_NS  20000000ull /* between two rounds over one object, */
#define URGENT_GAP_NS 2000000ull  /* and where guests wait */
/* Pages that cannot go are looked at so often: to be used they may be. */
#define WHOLE_GAP_NS 10000000000ull
/* At rest, where a look at a page takes its mapping, one of so many chunks is looked at in a round. */
#define SAMPLE	  4u
#define GAP_MOST  8u  /* pages that need not be looked at, between two that are looked at at once */
#define SKIP_MOST 64u /* chunks without a page that are passed over under the lock */

/* 2 MiB of an object, and what was found in them. */
struct piece {
	struct reclaim_target *t;
	u64 chunk;
	bool looks;	   /* or all is said to be as it was */
	bool whole, stale; /* stale: of pages that were passed over nothing says how old they are */
	u64 aged, young, used, used_staying, passed;
	u64 by_age[FRAME_NODES_MAX][RECLAIM_AGES];
};

/* As it was when it was looked at last, though a round has begun since; or as when it came. */
static u32 age_before(u64 entry, u32 age)
{
	return max(age - min(age, 1u), entry & GMEM_COLD ? GMEM_COLD_AGE : 0);
}

/*
 * How old the page is after this look: what was used twice is young, what is as old as it can be
 * stays that old. What says how old a page is that was passed over has wrapped, also where the disk
 * takes it now.
 */
static u32 age_after(const struct piece *p, u64 entry, bool young, bool wrapped)
{
	u32 age = gmem_entry_age(p->t->object, entry);

	if (young)
		return entry & GMEM_COLD ? GMEM_COLD_AGE : 0;
	if (!p->looks)
		age = age_before(entry, age);
	return wrapped ? RECLAIM_AGES - 2u : min(age, RECLAIM_AGES - 2u);
}

static void age_entry(struct piece *p, u64 *e, bool young)
{
	struct gmem *g = p->t->object;
	u64 entry = gmem_entry_load(e), now = gmem_generation_bits(g), new;
	bool stays;
	u32 age;

	do {
		if (!gmem_entry_resident(entry))
			return;
		stays = reclaim_stays(entry);
		age = age_after(p, entry, young, stays || (p->stale && reclaim_wants_disk(entry)));
		new = (entry & ~GMEM_GEN_MASK) |
		      ((now - ((u64)age << GMEM_GEN_SHIFT)) & GMEM_GEN_MASK);
		if (young)
			new &= ~GMEM_COLD;
		if (new == entry)
			break;
	} while (!gmem_entry_exchange(e, &entry, new));
	p->aged += p->looks;
	p->young += young;
	/* What stays was counted in the last round that looked at all of it. */
	p->used += age < 2 && (p->whole || !stays);
	p->used_staying += age < 2 && stays;
	if (reclaim_may_go(entry))
		p->by_age[frame_node_of(gmem_entry_pfn(entry))][age]++;
}

/*
 * By kaged, at rest. All that are in use there wait until the small mappings are gone: they do not
 * wait for the turn of a small weight.
 */
static void join(struct gmem *g, u64 first)
{
	thread_lift(thread_current(), WEIGHT_LIFT);
	gmem_join(g, first, GMEM_LARGE_PAGES);
	thread_lower(thread_current(), WEIGHT_LIFT);
}

/*
 * A mapping of 2 MiB is used or not as a whole. Where memory is short it gives way to single ones,
 * which say in the next round which pages are used; where it is not, single ones that are all used
 * give way to one again.
 */
static void split_or_join(struct reclaim_effort *e, struct gmem *g, u64 first, const u64 *young)
{
	for (u32 i = 0; i < GMEM_LARGE_PAGES / 64; i++) {
		if (~young[i])
			return;
	}
	if (!gmem_looks_large(g, first))
		return;
	/* A split takes frames, which the last ones are not for: with them memory is made. */
	if (e->splits && watermark_admits_back()) {
		e->splits--;
		gmem_split(g, first, GMEM_LARGE_PAGES);
	} else if (e->rest) {
		join(g, first);
	}
}

/* Neighbours; entries: that of the first. */
static void age_run(struct reclaim_effort *e, struct piece *p, u64 first, u64 pages, u64 *entries)
{
	u64 young[GMEM_LARGE_PAGES / 64] = {0};

	if (p->looks)
		gmem_age_marked(p->t->object, first, pages, young);
	for (u64 i = 0; i < pages; i++)
		age_entry(p, entries + i, young[i / 64] & BIT(i % 64));
	if (p->looks && pages == GMEM_LARGE_PAGES)
		split_or_join(e, p->t->object, first, young);
}

/* From `at` on the next run that has a page to be looked at, with few others; its length, or 0. */
static u64 next_run(struct piece *p, const u64 *entries, u64 *at, u64 pages)
{
	u64 end = *at, passed = 0;

	for (u64 i = *at; i < pages && (end == *at || i - end <= GAP_MOST); i++) {
		u64 entry = gmem_entry_load(entries + i);

		if (!gmem_entry_resident(entry))
			continue;
		if (reclaim_stays(entry)) {
			passed++;
			continue;
		}
		if (end == *at) {
			p->passed += passed;
			*at = i;
		}
		passed = 0;
		end = i + 1;
	}
	if (end == *at)
		p->passed += passed;
	return end - *at;
}

static void age_chunk(struct reclaim_effort *e, struct piece *p)
{
	struct gmem *g = p->t->object;
	u64 first = p->chunk * GMEM_LARGE_PAGES, run;
	u64 pages = min(g->pages - first, (u64)GMEM_LARGE_PAGES);
	u64 *entries = gmem_entry_find(g, first);

	if (!entries)
		return;
	if (p->whole) {
		age_run(e, p, first, pages, entries);
		return;
	}
	for (u64 at = 0; (run = next_run(p, entries, &at, pages)) != 0; at += run)
		age_run(e, p, first + at, run, entries + at);
}

static bool under_way(const struct reclaim_target *t)
{
	return t->age_next < reclaim_chunks(t);
}

/* Another may have begun the last round after `now`. */
static u64 since_round(const struct reclaim_target *t, u64 now)
{
	return now - min(now, t->aged_ns);
}

static bool is_due(const struct reclaim_target *t, u64 now, u64 gap)
{
	return t->age_done == reclaim_chunks(t) && (!t->aged_ns || since_round(t, now) >= gap);
}

static void begin_round(struct reclaim_target *t, u64 now)
{
	for (u32 node = 0; node < frame_node_count; node++) {
		memset(t->in[node].by_age, 0, sizeof(t->in[node].by_age));
		memset(t->in[node].gone_through, 0, sizeof(t->in[node].gone_through));
	}
	t->gap_ns = t->aged_ns ? now - t->aged_ns : RECLAIM_MEMORY_NS;
	t->aged_ns = now;
	t->whole = !t->whole_ns || now - t->whole_ns >= WHOLE_GAP_NS;
	if (t->whole) {
		t->whole_ns = now;
		t->used_staying = 0;
	}
	t->passed = t->passes;
	t->passes = false;
	t->used = t->used_staying;
	t->age_next = 0;
	t->age_done = 0;
	__atomic_fetch_add(&t->object->generation, 1, __ATOMIC_RELAXED);
}

static void end_chunks(struct reclaim_target *t, u64 n)
{
	u64 before = t->working_set;

	t->age_done += n;
	if (t->age_done < reclaim_chunks(t))
		return;
	t->working_set = reclaim_working_set(before, t->used, t->gap_ns);
	if (t->working_set != before)
		__atomic_fetch_add(&reclaim.found_other, 1, __ATOMIC_RELAXED);
	reclaim_count(&reclaim.stats.rounds, 1);
}

/* Passes over what has no page. Whether there is a chunk to look at. */
static bool next_chunk(struct reclaim_target *t, struct piece *p)
{
	for (u32 i = 0; i < SKIP_MOST && under_way(t); i++) {
		p->chunk = t->age_next++;
		if (!reclaim_chunk_empty(t, p->chunk))
			return true;
		end_chunks(t, 1);
	}
	return false;
}

/* Of those that are due the one whose round began longest ago, so that none waits for ever. */
static struct reclaim_target *pick(const struct reclaim_effort *e, u64 now)
{
	u64 gap = e->gap_ns ? e->gap_ns : e->urgent ? URGENT_GAP_NS : ROUND_GAP_NS;
	struct reclaim_target *t, *best = NULL;

	list_for_each_entry (t, &reclaim.targets, link) {
		if (t->object->order || (e->only && e->only != t))
			continue;
		if (e->own && !reclaim_looks_after(e->node, t))
			continue;
		if (!under_way(t) && !is_due(t, now, gap))
			continue;
		if (!best || t->aged_ns < best->aged_ns)
			best = t;
	}
	return best;
}

/* Each chunk in its turn, by the number of the round. */
static bool is_looked_at(const struct reclaim_effort *e, const struct reclaim_target *t, u64 chunk)
{
	u64 round = __atomic_load_n(&t->object->generation, __ATOMIC_RELAXED);

	return !e->rest || !t->terms.sample || (chunk + round) % SAMPLE == 0;
}

/* False: nothing is due. p->t is NULL where what was passed over had no page. */
static bool next_piece(const struct reclaim_effort *e, struct piece *p, u64 now)
{
	struct reclaim_target *t;

	memset(p, 0, sizeof(*p));
	spin_lock(&reclaim.lock);
	t = pick(e, now);
	if (t && !under_way(t))
		begin_round(t, now);
	if (t && next_chunk(t, p)) {
		p->t = t;
		p->looks = is_looked_at(e, t, p->chunk);
		p->whole = t->whole;
		p->stale = t->passed;
		reclaim_use(t);
	}
	spin_unlock(&reclaim.lock);
	return t != NULL;
}

static void add_ages(struct reclaim_part *part, const u64 *by_age)
{
	bool old = false;

	for (u32 i = RECLAIM_AGES; i-- > 0;) {
		part->by_age[i] += (s64)by_age[i];
		old |= by_age[i] != 0;
		/* Who goes through all for pages so old has not seen these. */
		if (old)
			part->gone_through[i] = 0;
	}
}

static void end_piece(const struct piece *p)
{
	struct reclaim_target *t = p->t;

	spin_lock(&reclaim.lock);
	for (u32 node = 0; node < frame_node_count; node++)
		add_ages(&t->in[node], p->by_age[node]);
	t->used += p->used;
	if (p->whole)
		t->used_staying += p->used_staying;
	t->passes |= p->passed != 0;
	end_chunks(t, 1);
	spin_unlock(&reclaim.lock);
	reclaim_count(&reclaim.stats.aged, p->aged);
	reclaim_count(&reclaim.stats.young, p->young);
	reclaim_count(&reclaim.stats.passed, p->passed);
}

bool reclaim_aged_since(u32 node, u64 ns)
{
	struct reclaim_target *t;
	bool all = true;

	spin_lock(&reclaim.lock);
	list_for_each_entry (t, &reclaim.targets, link) {
		if (!t->object->order && reclaim_looks_after(node, t))
			all &= t->aged_ns >= ns && t->age_done == reclaim_chunks(t);
	}
	spin_unlock(&reclaim.lock);
	return all;
}

bool reclaim_age(struct reclaim_effort *e)
{
	u64 now = clock_ns();
	struct piece p;
	bool any = false;

	while (e->ages && next_piece(e, &p, now)) {
		e->ages--;
		any = true;
		if (!p.t)
			continue;
		age_chunk(e, &p);
		end_piece(&p);
		reclaim_put(p.t);
	}
	e->more |= e->ages == 0;
	return any;
}
