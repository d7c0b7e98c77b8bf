/* SPDX-License-Identifier: MIT */
/*
 * Packed pages that stay cold go on to the swap disk, where memory stays short or the pool has more
 * than half of it: of the target that pays least for each of its pages, from where the last look
 * ended, and of those first that were put away long ago.
 */
#include "mem/pool.h"
#include "mem/reclaim_private.h"

#define PAGES	   64u /* of an effort; the disk takes no more at a time */
#define CHUNKS	   64u /* that are looked at for them: 128 MiB */
#define AGE_STEP   8u
#define FOUND_MANY 64u /* in a look at all of a target */

static u64 packed_pages(const struct reclaim_target *t)
{
	return __atomic_load_n(&t->object->in_state[GMEM_PACKED], __ATOMIC_RELAXED);
}

/* The target has a user then. NULL: there is none. */
static struct reclaim_target *pick(const struct reclaim_ids *passed)
{
	struct reclaim_target *t, *best = NULL;
	struct reclaim_claim least;

	spin_lock(&reclaim.lock);
	list_for_each_entry (t, &reclaim.targets, link) {
		struct reclaim_claim c = reclaim_claim_of(t);

		if (reclaim_ids_have(passed, t->id) || !packed_pages(t))
			continue;
		if (best && !reclaim_pays_less(&c, &least, reclaim.tax))
			continue;
		best = t;
		least = c;
	}
	if (best)
		reclaim_use(best);
	spin_unlock(&reclaim.lock);
	return best;
}

/*
 * Where a look at all of it found much, only older ones are wanted in the next; where it found
 * nothing, younger ones will do. reclaim.lock.
 */
static void end_look(struct reclaim_target *t)
{
	if (t->disk_found >= FOUND_MANY)
		t->disk_age = min(t->disk_age + AGE_STEP, RECLAIM_DISK_AGE);
	else if (!t->disk_found)
		t->disk_age -= min(t->disk_age, AGE_STEP);
	t->disk_found = 0;
}

static u64 next_chunk(struct reclaim_target *t, u32 least, u32 *age)
{
	u64 chunk;

	spin_lock(&reclaim.lock);
	if (t->disk_next >= reclaim_chunks(t)) {
		t->disk_next = 0;
		end_look(t);
	}
	chunk = t->disk_next++;
	*age = max(t->disk_age, least);
	spin_unlock(&reclaim.lock);
	return chunk;
}

/* more: the chunk may have others, and is the next again. */
static void note_found(struct reclaim_target *t, u64 chunk, u64 found, bool more)
{
	spin_lock(&reclaim.lock);
	t->disk_found += found;
	if (more)
		t->disk_next = chunk;
	spin_unlock(&reclaim.lock);
}

/* Of one target, up to a look at all of it. Returns how many are under way. */
static u64 write_of(struct reclaim_target *t, u32 least, u64 most, u32 *chunks)
{
	u64 left = reclaim_chunks(t), n = 0;

	for (; left && *chunks && n < most && swap_takes(); left--, (*chunks)--) {
		u32 age;
		u64 chunk = next_chunk(t, least, &age), first = chunk * GMEM_LARGE_PAGES;
		u64 pages = min(t->object->pages - first, (u64)GMEM_LARGE_PAGES);
		u64 found = gmem_write_packed(t->object, first, pages, age, most - n);

		n += found;
		note_found(t, chunk, found, n == most);
	}
	return n;
}

static bool pool_is_large(void)
{
	struct frame_stats frames;
	struct pool_stats pool;

	frame_get_stats(&frames);
	pool_get_stats(&pool);
	return pool.frames > frames.total / 2;
}

void reclaim_write_packed(const struct reclaim_effort *e)
{
	struct reclaim_target *t;
	/* Of what was put away lately some is wanted soon: it goes only where nothing else does. */
	u32 chunks = CHUNKS, least = e->freed ? AGE_STEP : 0;
	struct reclaim_ids passed = {0};
	u64 n = 0;

	if (e->only || !swap_takes() || (e->freed >= e->want && !pool_is_large()))
		return;
	while (n < PAGES && chunks && (t = pick(&passed)) != NULL) {
		n += write_of(t, least, PAGES - n, &chunks);
		reclaim_ids_add(&passed, t->id);
		reclaim_put(t);
	}
}
