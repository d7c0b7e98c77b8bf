/* SPDX-License-Identifier: MIT */
/* Guest memory objects: the sequence of invalidations, and who is told of them. */
#include "kernel/base/panic.h"
#include "mem/gmem_private.h"

#define SEQ_ENDED (1ull << GMEM_SEQ_COUNT_BITS)

/* The words that the range hashes to are neighbours; each is named once. */
static u32 buckets_of(const struct gmem *g, u64 first, u64 pages)
{
	u64 regions;

	BUG_ON(!gmem_range_ok(g, first, pages));
	if (pages == 0)
		return 0;
	regions = ((first + pages - 1) >> GMEM_LARGE_ORDER) - (first >> GMEM_LARGE_ORDER) + 1;
	return min(regions, (u64)GMEM_SEQ_BUCKETS);
}

void gmem_invalidate_begin(struct gmem *g, u64 first, u64 pages)
{
	u32 bucket = gmem_seq_bucket(first);

	for (u32 n = buckets_of(g, first, pages); n; n--, bucket++) {
		u64 *seq = &g->seq[bucket % GMEM_SEQ_BUCKETS];
		u64 before = __atomic_fetch_add(seq, 1, __ATOMIC_SEQ_CST);

		BUG_ON((before & GMEM_SEQ_COUNT_MASK) == GMEM_SEQ_COUNT_MASK);
	}
}

void gmem_invalidate_end(struct gmem *g, u64 first, u64 pages)
{
	u32 bucket = gmem_seq_bucket(first);
	bool idle = false;

	for (u32 n = buckets_of(g, first, pages); n; n--, bucket++) {
		u64 *seq = &g->seq[bucket % GMEM_SEQ_BUCKETS];
		u64 before = __atomic_fetch_add(seq, SEQ_ENDED - 1, __ATOMIC_SEQ_CST);

		BUG_ON((before & GMEM_SEQ_COUNT_MASK) == 0);
		idle |= (before & GMEM_SEQ_COUNT_MASK) == 1;
	}
	if (idle)
		wait_wake_all(&g->idle);
}

void gmem_wait_idle(struct gmem *g, u64 index)
{
	wait_event(&g->idle, gmem_seq_idle(gmem_seq_sample(g, index)));
}

/* --- Notifiers ------------------------------------------------------------------------------ */

void gmem_notifier_add(struct gmem *g, struct gmem_notifier *n)
{
	rwsem_write_lock(&g->notify_sem);
	list_add_tail(&n->link, &g->notifiers);
	rwsem_write_unlock(&g->notify_sem);
}

void gmem_notifier_remove(struct gmem *g, struct gmem_notifier *n)
{
	rwsem_write_lock(&g->notify_sem);
	BUG_ON(list_empty(&n->link));
	list_del(&n->link);
	rwsem_write_unlock(&g->notify_sem);
}

/* Goes no further than the sum `enough`. */
static u64 notify(struct gmem *g, enum gmem_event event, u64 first, u64 pages, u64 enough,
		  u64 *young)
{
	struct gmem_notifier *n;
	u64 sum = 0;

	BUG_ON(!gmem_range_ok(g, first, pages));
	rwsem_read_lock(&g->notify_sem);
	list_for_each_entry (n, &g->notifiers, link) {
		sum += n->notify(n, g, event, first, pages, young);
		if (sum >= enough)
			break;
	}
	rwsem_read_unlock(&g->notify_sem);
	return sum;
}

u64 gmem_unmap(struct gmem *g, u64 first, u64 pages)
{
	BUG_ON(pages && gmem_seq_idle(gmem_seq_sample(g, first)));
	return notify(g, GMEM_EVENT_UNMAP, first, pages, ~0ull, NULL);
}

u64 gmem_age(struct gmem *g, u64 first, u64 pages)
{
	return notify(g, GMEM_EVENT_AGE, first, pages, ~0ull, NULL);
}

u64 gmem_age_marked(struct gmem *g, u64 first, u64 pages, u64 *young)
{
	return notify(g, GMEM_EVENT_AGE, first, pages, ~0ull, young);
}

bool gmem_test_young(struct gmem *g, u64 first, u64 pages)
{
	return notify(g, GMEM_EVENT_TEST_YOUNG, first, pages, 1, NULL) != 0;
}

void gmem_split(struct gmem *g, u64 first, u64 pages)
{
	(void)notify(g, GMEM_EVENT_SPLIT, first, pages, ~0ull, NULL);
}

void gmem_join(struct gmem *g, u64 first, u64 pages)
{
	(void)notify(g, GMEM_EVENT_JOIN, first, pages, ~0ull, NULL);
}
