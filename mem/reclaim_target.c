/* SPDX-License-Identifier: MIT */
/* Objects that pages may be taken from: what they were promised, and what is left for others. */
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/reclaim_private.h"

/* A part of memory for each watermark, and bounds in frames. */
#define MIN_PART  256
#define MIN_LEAST 256u
#define MIN_MOST  16384u

/* Of min nobody but reclaim has this part: for the pool that pages are packed into, and what leads there. */
#define RESERVE_PART 4u

struct reclaim reclaim = {.targets = LIST_INIT(reclaim.targets)};

/*
 * So many frames are there for copies, of those that are owed; where they are too few each group
 * has its part. What is taken meanwhile counts.
 */
static void give_copies(const u64 *copies, u64 all, u64 frames)
{
	for (u32 i = 0; i < SHARE_GROUPS; i++) {
		u64 n = all > frames ? copies[i] * frames / all : copies[i];
		s64 had = __atomic_load_n(&watermarks.copies[i], __ATOMIC_RELAXED);

		__atomic_fetch_add(&watermarks.copies[i], (s64)n - had, __ATOMIC_RELAXED);
		all -= copies[i];
		frames -= n;
	}
}

/*
 * Under the lock. Who is under what he was promised is owed the rest, and copies of what others pay
 * for in so far as his own is less: in a group no more in all than sharing saves there. What comes
 * to be owed meanwhile is kept: counted twice until the next time rather than not at all.
 */
static void count_owed(void)
{
	u64 before = __atomic_load_n(&watermarks.owed, __ATOMIC_RELAXED), owed = 0, all = 0;
	u64 promised = 0, copies[SHARE_GROUPS] = {0}, free = frame_free_estimate();
	struct reclaim_target *t;

	list_for_each_entry (t, &reclaim.targets, link) {
		struct gmem *g = t->object;
		u64 resident, own;

		/* Before the look: of pages that go behind it gmem_keep_promised finds none owed. */
		__atomic_exchange_n(&g->owed, 0, __ATOMIC_SEQ_CST);
		resident = __atomic_load_n(&g->resident, __ATOMIC_RELAXED);
		own = resident - min(resident, gmem_borrowed(g));
		if (t->terms.min)
			promised |= BIT(g->share_group % SHARE_GROUPS);
		owed += t->terms.min - min(t->terms.min, resident);
		__atomic_fetch_add(&g->owed, t->terms.min - min(t->terms.min, resident),
				   __ATOMIC_RELAXED);
		copies[g->share_group % SHARE_GROUPS] += min(t->terms.min, resident) -
							 min(t->terms.min, own);
	}
	for (u32 i = 0; i < SHARE_GROUPS; i++) {
		copies[i] = copies[i] ? min(copies[i], share_saved(i)) : 0;
		all += copies[i];
	}
	/* Pages that were promised come first, and what leads to them: a quarter of min. */
	free -= min(free, owed + watermarks.min / 4 * 3);
	give_copies(copies, all, free);
	__atomic_store_n(&watermarks.promised, promised, __ATOMIC_RELAXED);
	__atomic_fetch_add(&watermarks.owed, owed + all - before, __ATOMIC_RELAXED);
}

void reclaim_count_owed(void)
{
	spin_lock(&reclaim.lock);
	count_owed();
	spin_unlock(&reclaim.lock);
}

void reclaim_put(struct reclaim_target *t)
{
	if (__atomic_fetch_sub(&t->users, 1, __ATOMIC_RELEASE) == 1)
		wait_wake_all(&reclaim.unused);
}

static_assert(RECLAIM_TARGETS_MAX % 64 == 0, "whole words of ids");

/* reclaim.lock */
static u32 take_id(void)
{
	u32 id = 0;

	while (id < RECLAIM_TARGETS_MAX && reclaim_ids_have(&reclaim.ids, id))
		id++;
	BUG_ON(id == RECLAIM_TARGETS_MAX);
	reclaim_ids_add(&reclaim.ids, id);
	return id;
}

void reclaim_add(struct reclaim_target *t, struct gmem *object, const struct reclaim_terms *terms)
{
	memset(t, 0, sizeof(*t));
	t->object = object;
	t->terms = *terms;
	t->age_next = t->age_done = reclaim_chunks(t);
	t->disk_age = RECLAIM_DISK_AGE;
	spin_lock(&reclaim.lock);
	t->id = take_id();
	list_add_tail(&t->link, &reclaim.targets);
	count_owed();
	spin_unlock(&reclaim.lock);
	__atomic_store_n(&object->resident_min, terms->min, __ATOMIC_RELAXED);
	__atomic_store_n(&object->resident_max, terms->max, __ATOMIC_RELAXED);
}

void reclaim_remove(struct reclaim_target *t)
{
	if (!t->object)
		return;
	spin_lock(&reclaim.lock);
	list_del(&t->link);
	reclaim.ids.words[t->id / 64] &= ~BIT(t->id % 64);
	count_owed();
	spin_unlock(&reclaim.lock);
	reclaim_wait_unused(t);
	__atomic_store_n(&t->object->resident_min, 0, __ATOMIC_RELAXED);
	t->object = NULL;
}

bool reclaim_gives_first(const struct reclaim_target *a, const struct reclaim_target *b)
{
	struct reclaim_claim of_a, of_b;

	spin_lock(&reclaim.lock);
	of_a = reclaim_claim_of(a);
	of_b = reclaim_claim_of(b);
	spin_unlock(&reclaim.lock);
	return reclaim_pays_less(&of_a, &of_b, reclaim.tax);
}

bool reclaim_is_short(void)
{
	return watermark_free() < watermarks.low;
}

void reclaim_get_room(struct reclaim_room *out)
{
	struct frame_stats frames;
	struct reclaim_target *t;

	frame_get_stats(&frames);
	*out = (struct reclaim_room){.total = frames.total};
	spin_lock(&reclaim.lock);
	list_for_each_entry (t, &reclaim.targets, link)
		out->promised += t->terms.costs;
	/* What is kept for making memory cannot be promised. */
	out->total -= min(out->total, reclaim.own_frames + watermarks.min);
	spin_unlock(&reclaim.lock);
}

static struct reclaim_options asked; /* set once */

/* Who asks for more than half of memory to be free has guests that wait for ever. */
static bool can_be_had(u64 frames)
{
	return asked.min && asked.high <= frames / 2;
}

static void set_watermarks(u64 frames)
{
	bool given = can_be_had(frames);
	u64 least = min(max(frames / MIN_PART, (u64)MIN_LEAST), (u64)MIN_MOST);

	watermarks.wake = reclaim_wake;
	watermarks.min = given ? asked.min : least;
	watermarks.high = given ? asked.high : 3 * least;
	watermarks.low = given ? asked.low : 2 * least;
	reclaim_set_node_parts();
	frame_leave_to_reclaim(watermarks.min / RESERVE_PART);
}

/* Guests' pages, and modules, have costs of their own. */
static void count_own(const struct frame_stats *frames)
{
	u64 own = frames->total - frames->free, guest = frame_used_for(FRAME_USE_GUEST);

	spin_lock(&reclaim.lock);
	reclaim.own_frames = own - min(own, guest);
	spin_unlock(&reclaim.lock);
}

void reclaim_set_watermarks(const struct reclaim_options *o)
{
	struct frame_stats frames;

	frame_get_stats(&frames);
	asked = *o;
	count_own(&frames);
	set_watermarks(frames.total);
	reclaim_count_owed();
}

void reclaim_memory_is_known(void)
{
	struct frame_stats frames;

	frame_get_stats(&frames);
	count_own(&frames);
	set_watermarks(frames.total);
	if (asked.min && !can_be_had(frames.total))
		log_error("memory: watermarks= is ignored: %lluK free of %lluK is more than half: "
			  "give less",
			  (unsigned long long)(asked.high << PAGE_SHIFT) >> 10,
			  (unsigned long long)(frames.total << PAGE_SHIFT) >> 10);
}
