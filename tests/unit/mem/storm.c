/* SPDX-License-Identifier: MIT */
#include "tests/unit/mem/storm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define THREADS 4
#define MAPPERS 2
#define PAGES	1200
#define HOT	24 /* the pages that everybody wants, spread over three regions */
#define STAMP	0x57414d5000000000ull

static u64 seed;
static u32 steps; /* of each thread */
static struct gmem *g;
static struct gmem_account account = {.pins_max = 2};

static u64 index_of(u32 hot)
{
	return hot * (PAGES / HOT);
}

/* What stands for the second-level entry of a page; its lock for the lock bit of the rmap word. */
struct link {
	struct spinlock lock;
	pfn_t pfn; /* lock; 0: not mapped */
};

struct mapper {
	struct gmem_notifier n;
	struct rwsem
		sem; /* as SRCU and slots_lock: those who fault read, who makes it leave writes */
	struct link links[HOT];
};

static struct mapper mappers[MAPPERS];

static struct storm_counts counts; /* atomic */

static void count(u64 *counter, u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void __noreturn wrong(const char *what, u64 index, u64 value)
{
	fprintf(stderr, "seed %llu: page %llu: %s: %#llx\n", (unsigned long long)seed,
		(unsigned long long)index, what, (unsigned long long)value);
	abort();
}

static _Thread_local u64 random_state;

static u32 below(u32 n)
{
	return random_below(&random_state, n);
}

/* Where it matters who comes next, others often do, and may get far. */
static void dawdle(void)
{
	for (u32 n = below(4) ? 0 : below(20); n; n--)
		hosted_relax();
}

/* --- A mapper ------------------------------------------------------------------------------- */

static u64 answer(struct gmem_notifier *n, struct gmem *object, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	struct mapper *m = container_of(n, struct mapper, n);
	u64 sum = 0;

	dawdle();
	for (u32 i = 0; i < HOT; i++) {
		struct link *l = &m->links[i];

		if (index_of(i) < first || index_of(i) - first >= pages)
			continue;
		spin_lock(&l->lock);
		sum += l->pfn.v != 0;
		if (event == GMEM_EVENT_UNMAP)
			l->pfn = PFN(0);
		spin_unlock(&l->lock);
	}
	if (event == GMEM_EVENT_UNMAP)
		count(&counts.unmapped, sum);
	return sum;
}

static void use_page(pfn_t pfn, u64 index)
{
	u64 *word = pfn_to_virt(pfn), value = __atomic_load_n(word, __ATOMIC_RELAXED);

	if (value != 0 && value != STAMP + index)
		wrong("holds what is not its own", index, value);
	__atomic_store_n(word, STAMP + index, __ATOMIC_RELAXED);
}

static void use_link(struct mapper *m, u32 hot)
{
	struct link *l = &m->links[hot];

	spin_lock(&l->lock);
	if (l->pfn.v) {
		use_page(l->pfn, index_of(hot));
		count(&counts.used, 1);
	}
	spin_unlock(&l->lock);
}

static void fault(struct mapper *m, u32 hot)
{
	u64 index = index_of(hot), seq = gmem_seq_sample(g, index);
	struct link *l = &m->links[hot];
	bool linked = false;
	pfn_t pfn;

	if (gmem_lookup(g, index, true, &pfn)) {
		if (gmem_get_page(g, index, true, &pfn))
			wrong("no memory", index, 0);
		/* As the slow half of a fault: the same steps again, from the start. */
		seq = gmem_seq_sample(g, index);
		if (gmem_lookup(g, index, true, &pfn))
			return;
	}
	dawdle();
	spin_lock(&l->lock);
	if (gmem_seq_unchanged(g, index, seq)) {
		l->pfn = pfn;
		linked = true;
	}
	spin_unlock(&l->lock);
	count(linked ? &counts.linked : &counts.refused, 1);
	if (!linked)
		gmem_wait_idle(g, index);
}

static void fault_or_use(struct mapper *m, u32 hot, bool use)
{
	rwsem_read_lock(&m->sem);
	if (use)
		use_link(m, hot);
	else
		fault(m, hot);
	rwsem_read_unlock(&m->sem);
}

/* Its slot goes and comes back, perhaps in the midst of somebody's invalidation. */
static void leave_and_come_back(struct mapper *m)
{
	rwsem_write_lock(&m->sem);
	gmem_notifier_remove(g, &m->n);
	for (u32 i = 0; i < HOT; i++) {
		spin_lock(&m->links[i].lock);
		m->links[i].pfn = PFN(0);
		spin_unlock(&m->links[i].lock);
	}
	gmem_notifier_add(g, &m->n);
	rwsem_write_unlock(&m->sem);
	count(&counts.left, 1);
}

/* --- Those who take pages away -------------------------------------------------------------- */

static void drop(u64 first, u64 pages)
{
	u64 done;
	int err = gmem_drop_range(g, first, pages, &done);

	if ((err && err != ERR_BUSY) || (!err && done != pages))
		wrong("dropping it gave", first, (u64)err);
	count(&counts.dropped, done);
}

/* What reclaim does, but that the contents come back at once, elsewhere. */
static void move(u64 index)
{
	u64 entry;
	pfn_t pfn;

	gmem_invalidate_begin(g, index, 1);
	if (gmem_claim(g, index, &entry) == 0) {
		gmem_unmap(g, index, 1);
		if (frame_alloc(0, 0, &pfn) == 0) {
			memcpy(pfn_to_virt(pfn), pfn_to_virt(gmem_entry_pfn(entry)), PAGE_SIZE);
			frame_free(gmem_entry_pfn(entry), 0);
			entry = entry_of(pfn, GMEM_GOT_PAGE | GMEM_DIRTY);
			count(&counts.moved, 1);
		}
		gmem_settle(g, index, entry);
	}
	gmem_invalidate_end(g, index, 1);
}

/* A pinned page stays where it is and keeps what is written. */
static void pin(u64 index)
{
	pfn_t pfn, again;
	int err = gmem_pin(g, index, true, &pfn);

	if (err == ERR_NOSPC)
		return;
	if (err)
		wrong("pinning it gave", index, (u64)err);
	for (u32 i = 0; i < 3; i++) {
		use_page(pfn, index);
		if (gmem_lookup(g, index, false, &again) || again.v != pfn.v)
			wrong("moved while it was pinned", index, again.v);
	}
	gmem_unpin(g, index, pfn, true);
	count(&counts.pinned, 1);
}

/* --- The storm ------------------------------------------------------------------------------ */

static void one_step(void)
{
	struct mapper *m = &mappers[below(MAPPERS)];
	u32 what = below(100), hot = below(HOT);
	u64 pages = 1 + below(PAGES / 3);

	if (what < 40)
		fault_or_use(m, hot, false);
	else if (what < 75)
		fault_or_use(m, hot, true);
	else if (what < 80)
		drop(index_of(hot), min(pages, PAGES - index_of(hot)));
	else if (what < 90)
		move(index_of(hot));
	else if (what < 96)
		pin(index_of(hot));
	else if (what < 98)
		leave_and_come_back(m);
	else if (what < 99)
		gmem_age(g, 0, PAGES);
	else
		gmem_test_young(g, index_of(hot), 1);
}

static void storm(void *arg)
{
	random_state = seed * THREADS + (uintptr_t)arg;
	for (u32 i = 0; i < steps; i++)
		one_step();
}

static void run(void (*fn)(void *arg), const struct hosted_way *way)
{
	struct hosted_job jobs[THREADS];

	for (u32 i = 0; i < THREADS; i++)
		jobs[i] = (struct hosted_job){"stormer", fn, (void *)(uintptr_t)i};
	hosted_run(jobs, THREADS, way);
}

/* Every link shows the page that the object has now, and what is counted is there. */
static void check_at_rest(void)
{
	u64 resident = 0;

	for (u64 i = 0; i < PAGES; i++)
		resident += gmem_entry_state(gmem_entry(g, i)) == GMEM_GOT_PAGE;
	assert_int_equal(g->resident, resident);
	for (u32 m = 0; m < MAPPERS; m++) {
		for (u32 i = 0; i < HOT; i++) {
			pfn_t pfn = mappers[m].links[i].pfn;

			if (pfn.v)
				assert_int_equal(pfn.v,
						 gmem_entry_pfn(gmem_entry(g, index_of(i))).v);
		}
	}
	for (u32 i = 0; i < GMEM_SEQ_BUCKETS; i++)
		assert_true(gmem_seq_idle(g->seq[i]));
	assert_int_equal(g->pins + account.pins, 0);
}

static void setup(const struct hosted_way *way, u32 steps_each)
{
	seed = way->seed;
	steps = steps_each;
	memset(&counts, 0, sizeof(counts));
}

void storm_small(const struct hosted_way *way, u32 steps_each, struct storm_counts *out)
{
	u64 before = start(MIB(16));

	setup(way, steps_each);
	assert_int_equal(gmem_create(PAGES, &g), 0);
	gmem_set_account(g, &account);
	for (u32 m = 0; m < MAPPERS; m++) {
		rwsem_init(&mappers[m].sem, "slots", LOCK_SLOTS);
		mappers[m].n.notify = answer;
		for (u32 i = 0; i < HOT; i++)
			mappers[m].links[i] = (struct link){.pfn = PFN(0)};
		for (u32 i = 0; i < HOT; i++)
			spin_init(&mappers[m].links[i].lock, "link", LOCK_RMAP);
		gmem_notifier_add(g, &mappers[m].n);
	}
	run(storm, way);
	check_at_rest();
	for (u32 m = 0; m < MAPPERS; m++)
		gmem_notifier_remove(g, &mappers[m].n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
	*out = counts;
}

/* --- Pages of 2 MiB: made, pinned and dropped by all at once --------------------------------- */

#define LARGE_PAGES 3

static void large_step(void)
{
	u64 index = below(LARGE_PAGES) * GMEM_LARGE_PAGES + 5;
	u64 *word;
	int err;
	pfn_t pfn;

	if (below(3) == 0) {
		err = gmem_drop(g, index - 5);
		if (err && err != ERR_BUSY)
			wrong("dropping it gave", index, (u64)err);
		count(&counts.dropped, !err);
		return;
	}
	err = gmem_pin(g, index, true, &pfn);
	if (err == ERR_NOSPC)
		return;
	if (err)
		wrong("pinning it gave", index, (u64)err);
	word = pfn_to_virt(pfn);
	/* A word for each page keeps them apart; zero or the stamp, never a stranger's. */
	use_page(pfn, index);
	if (__atomic_load_n(word + PAGE_SIZE / sizeof(*word), __ATOMIC_RELAXED) != 0)
		wrong("is not zeroed", index, 0);
	gmem_unpin(g, index, pfn, true);
	count(&counts.pinned, 1);
}

static void large_storm(void *arg)
{
	random_state = seed * THREADS + (uintptr_t)arg;
	for (u32 i = 0; i < steps; i++)
		large_step();
}

void storm_large(const struct hosted_way *way, u32 steps_each, struct storm_counts *out)
{
	u64 before = start(MIB(16));

	setup(way, steps_each);
	assert_int_equal(gmem_create_order(LARGE_PAGES * GMEM_LARGE_PAGES, 9, &g), 0);
	run(large_storm, way);
	assert_int_equal(g->pins + g->own.pins, 0);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
	*out = counts;
}
