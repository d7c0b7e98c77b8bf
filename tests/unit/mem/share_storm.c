/* SPDX-License-Identifier: MIT */
#include "tests/unit/mem/share_storm.h"
#include <string.h>
#include "kernel/base/error.h"
#include "mem/pool.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"
#include "tests/unit/mem/share_recount.h"

#define THREADS	 3u
#define OBJECTS	 3u
#define PAGES	 12u
#define CONTENTS 20u /* every second packs */
#define HOLDS	 2u  /* of each thread */
#define WORDS	 (PAGE_SIZE / sizeof(u64))
#define BLOCKS	 200u
#define LOOKS	 8u /* at rest, of a storm */

struct stormer {
	u64 random;
	struct hold {
		struct gmem *g; /* NULL: none */
		u32 object;
		u64 index;
		pfn_t pfn;
	} holds[HOLDS];
};

static struct gmem *objects[OBJECTS];
static struct rwsem life[OBJECTS]; /* those who use the object read, who ends it writes */
static u32 holds_of[OBJECTS];	   /* atomic; who holds a page has no lock */
static struct stormer stormers[THREADS];
static u32 steps_each;
static bool disk_is_there;
static struct share_storm_counts counts; /* atomic */

static void count(u64 *counter, u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* --- Contents: each page is its content's number, and what follows from that ------------------ */

static u64 word_of(u64 content, u64 i, u64 *random)
{
	if (content > CONTENTS)
		return content; /* one word all over */
	return content % 2 ? random_next(random) : content + i % 8;
}

static void write_content(u64 *p, u64 content)
{
	u64 random = content;

	for (u64 i = 1; i < WORDS; i++)
		__atomic_store_n(&p[i], word_of(content, i, &random), __ATOMIC_RELAXED);
	__atomic_store_n(&p[0], content, __ATOMIC_RELAXED);
}

/* Of a page that nobody writes meanwhile, or that was never written. */
static void check_content(pfn_t pfn)
{
	const u64 *p = pfn_to_virt(pfn);
	u64 content = p[0], random = content;

	for (u64 i = 1; i < WORDS; i++)
		BUG_ON(p[i] != (content ? word_of(content, i, &random) : 0));
}

/* --- What a thread does to a page ------------------------------------------------------------- */

/*
 * A pin is what keeps a page that is written from being taken in the midst of it. No two write to one
 * page.
 */
static void write_page(struct stormer *s, struct gmem *g, u64 index)
{
	u64 content = 1 + random_below(&s->random, CONTENTS);
	pfn_t pfn;
	int err;

	index = index / THREADS * THREADS + (u64)(s - stormers);
	err = gmem_pin(g, index, true, &pfn);
	BUG_ON(err && err != ERR_NOMEM && err != ERR_NOSPC);
	count(&counts.no_memory, err == ERR_NOMEM);
	if (err)
		return;
	write_content(pfn_to_virt(pfn), content);
	gmem_unpin(g, index, pfn, true);
}

/* All of it, if it is put away: as Weir does, or as a guest by REP STOS. */
static void write_whole(struct stormer *s, struct gmem *g, u64 index)
{
	static const u64 fills[] = {0, 0x7777, 0x123456789abcdef0ull /* no entry tells it */};
	u64 words[WORDS];
	bool done;

	index = index / THREADS * THREADS + (u64)(s - stormers);
	write_content(words, 1 + random_below(&s->random, CONTENTS));
	if (random_below(&s->random, 2))
		done = gmem_write_stored(g, index, words);
	else
		done = gmem_fill_stored(g, index, fills[random_below(&s->random, 3)]);
	count(&counts.whole, done);
}

static void read_page(struct gmem *g, u64 index)
{
	pfn_t pfn;
	int err = gmem_get_page(g, index, false, &pfn);

	BUG_ON(err && err != ERR_NOMEM);
	count(&counts.no_memory, err != 0);
}

static void take_pages(struct gmem *g, u64 index, u64 pages)
{
	struct gmem_taken t = take_range(g, index, min(pages, PAGES - index));

	count(&counts.no_memory, t.full);
	count(&counts.on_disk, t.writing);
}

static void drop_pages(struct gmem *g, u64 index, u64 pages)
{
	int err = gmem_drop_range(g, index, min(pages, PAGES - index), NULL);

	BUG_ON(err && err != ERR_BUSY);
}

static void hold_page(struct hold *h, u32 object, u64 index)
{
	int err = gmem_hold(objects[object], index, false, &h->pfn);

	BUG_ON(err && err != ERR_NOMEM && err != ERR_NOSPC);
	if (err)
		return;
	h->g = objects[object];
	h->object = object;
	h->index = index;
	__atomic_fetch_add(&holds_of[object], 1, __ATOMIC_RELAXED);
}

static void release_page(struct hold *h)
{
	gmem_release(h->g, h->index, h->pfn, false);
	h->g = NULL;
	__atomic_fetch_sub(&holds_of[h->object], 1, __ATOMIC_RELEASE);
}

static struct gmem *new_object(void)
{
	struct gmem *g;

	if (gmem_create(PAGES, &g))
		return NULL;
	gmem_set_share_group(g, 1);
	return g;
}

/* As a VM does that dies, and another that starts. Who holds a page of it has let go. */
static void end_object(u32 i)
{
	rwsem_write_lock(&life[i]);
	if (!__atomic_load_n(&holds_of[i], __ATOMIC_ACQUIRE)) {
		if (objects[i])
			gmem_unref(objects[i]);
		objects[i] = new_object();
		count(&counts.ended, 1);
	}
	rwsem_write_unlock(&life[i]);
}

static void change_page(struct stormer *s, u32 object)
{
	struct gmem *g = objects[object];
	u64 index = random_below(&s->random, PAGES), pages = 1 + random_below(&s->random, 4);
	struct hold *h = &s->holds[random_below(&s->random, HOLDS)];
	u32 what = random_below(&s->random, 100);

	if (what < 20)
		write_page(s, g, index);
	else if (what < 50)
		read_page(g, index);
	else if (what < 75)
		take_pages(g, index, pages);
	else if (what < 79)
		drop_pages(g, index, pages);
	else if (what < 84)
		write_whole(s, g, index);
	else if (what < 90)
		count(&counts.on_disk, gmem_write_packed(g, index, 1, 0, 1));
	else if (!h->g)
		hold_page(h, object, index);
}

static void one_step(struct stormer *s)
{
	u32 i = random_below(&s->random, OBJECTS), what = random_below(&s->random, 100);
	struct hold *h = &s->holds[random_below(&s->random, HOLDS)];

	if (what >= 80 && h->g) {
		release_page(h);
		return;
	}
	if (what == 6) {
		/* One at a time. */
		if (s == stormers)
			(void)pool_compact(4);
		return;
	}
	if (what == 7) {
		end_object(i);
		return;
	}
	rwsem_read_lock(&life[i]);
	if (objects[i])
		change_page(s, i);
	rwsem_read_unlock(&life[i]);
}

/* --- At rest --------------------------------------------------------------------------------- */

static void look(void)
{
	pfn_t held[THREADS * HOLDS];
	struct recount r = {.objects = objects, .count = OBJECTS, .held = held};

	for (u32 i = 0; i < THREADS * HOLDS; i++) {
		const struct hold *h = &stormers[i / HOLDS].holds[i % HOLDS];

		if (h->g)
			held[r.held_count++] = h->pfn;
	}
	count(&counts.alone, recount(&r, 1));
	for (u32 i = 0; i < OBJECTS; i++) {
		for (u64 at = 0; objects[i] && at < PAGES; at++) {
			u64 entry = gmem_entry(objects[i], at), in_frame;

			if (!gmem_entry_resident(entry))
				continue;
			check_content(gmem_entry_pfn(entry));
			if (gmem_entry_state(entry) == GMEM_SHARED && !(entry & GMEM_HARD))
				count(&counts.alone_shown,
				      recount_frame(&r, gmem_entry_pfn(entry), &in_frame) == 1);
		}
	}
}

/* What is put away is what was written, too. */
static void read_all(void)
{
	pfn_t pfn;

	for (u32 i = 0; i < OBJECTS; i++) {
		for (u64 at = 0; objects[i] && at < PAGES; at++) {
			assert_int_equal(gmem_get_page(objects[i], at, false, &pfn), 0);
			check_content(pfn);
		}
	}
}

static u64 set_up(u64 seed, u32 steps, bool disk)
{
	u64 before;

	(void)start(MIB(16));
	pool_init();
	assert_int_equal(share_init(), 0);
	before = free_now();
	steps_each = steps;
	memset(stormers, 0, sizeof(stormers));
	memset(holds_of, 0, sizeof(holds_of));
	memset(&counts, 0, sizeof(counts));
	disk_is_there = disk;
	fake_disk_init(BLOCKS);
	if (disk)
		assert_int_equal(swap_attach(&fake_disk, BLOCKS, 4711), 0);
	for (u32 i = 0; i < THREADS; i++)
		stormers[i].random = seed * THREADS + i;
	for (u32 i = 0; i < OBJECTS; i++) {
		rwsem_init(&life[i], "life", LOCK_SLOTS);
		objects[i] = new_object();
		assert_non_null(objects[i]);
	}
	return before;
}

static void tear_down(u64 before)
{
	struct share_stats share;
	struct pool_stats pool;

	hosted_fail_often(0, 0);
	look();
	for (u32 i = 0; i < THREADS * HOLDS; i++) {
		if (stormers[i / HOLDS].holds[i % HOLDS].g)
			release_page(&stormers[i / HOLDS].holds[i % HOLDS]);
	}
	look();
	read_all();
	look();
	for (u32 i = 0; i < OBJECTS; i++) {
		if (objects[i])
			gmem_unref(objects[i]);
		objects[i] = NULL;
		look();
	}
	if (disk_is_there)
		swap_detach();
	pool_get_stats(&pool);
	share_get_stats(&share);
	assert_int_equal(pool.objects, 0);
	assert_int_equal(share.frames + share.frames_saved + share.packed_saved, 0);
	assert_int_equal(free_now(), before);
}

/* --- The storm ------------------------------------------------------------------------------- */

static void storm(void *arg)
{
	for (u32 i = 0; i < steps_each; i++)
		one_step(arg);
}

void share_storm(const struct hosted_way *way, u32 steps, u32 fail, bool disk,
		 struct share_storm_counts *out)
{
	struct hosted_job jobs[THREADS];
	u64 before = set_up(way->seed, steps, disk);

	for (u32 i = 0; i < THREADS; i++)
		jobs[i] = (struct hosted_job){"stormer", storm, &stormers[i]};
	for (u32 i = 0; i < LOOKS; i++) {
		hosted_fail_often(fail, way->seed);
		hosted_run(jobs, THREADS, way);
		hosted_fail_often(0, 0);
		look();
	}
	tear_down(before);
	*out = counts;
}

void share_steps(u64 seed, u32 steps, u32 fail, bool disk, struct share_storm_counts *out)
{
	u64 before = set_up(seed, steps, disk);

	hosted_fail_often(fail, seed);
	for (u32 i = 0; i < steps; i++) {
		one_step(&stormers[i % THREADS]);
		look();
	}
	tear_down(before);
	*out = counts;
}
