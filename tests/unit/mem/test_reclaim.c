/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * Taking cold pages: what becomes of each kind of page, how pages grow old, whose go first, and who
 * may have the last frames. The test says which pages a guest uses.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim.h"
#include "mem/watermark.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define PAGES 1024u

static struct gmem *g;
static struct reclaim_target target;
static const struct reclaim_options options = {.tax = 75};
static const struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
static u64 before;

/* Stands for the guest's mappings. */
static struct {
	struct gmem_notifier n;
	bool used[PAGES]; /* since the last look */
	u64 unmapped;
	u64 looked; /* pages that were asked about */
	u32 touch;  /* atomic; a page that is wanted while pages are unmapped; 0: none */
	pthread_t waiter;
} guest;

static void *touch(void *arg)
{
	u64 index = (u64)arg;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, false, &pfn), 0);
	return NULL;
}

static u64 notify(struct gmem_notifier *n, struct gmem *object, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	u64 sum = 0;

	if (event == GMEM_EVENT_SPLIT || event == GMEM_EVENT_JOIN)
		return 0;
	guest.looked += event == GMEM_EVENT_AGE ? pages : 0;
	for (u64 i = 0; i < pages; i++) {
		bool *used = &guest.used[first + i];

		if (event == GMEM_EVENT_UNMAP)
			continue;
		sum += *used;
		if (*used && young)
			young[i / 64] |= BIT(i % 64);
		*used = false;
	}
	if (event != GMEM_EVENT_UNMAP)
		return sum;
	guest.unmapped += pages;
	if (guest.touch && guest.touch >= first && guest.touch < first + pages) {
		u64 *e = gmem_entry_find(g, guest.touch);

		assert_int_equal(
			pthread_create(&guest.waiter, NULL, touch, (void *)(u64)guest.touch), 0);
		while (!(gmem_entry_load(e) & GMEM_WANTED))
			sched_yield();
		guest.touch = 0;
	}
	return pages;
}

static u8 *page(u64 index)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, true, &pfn), 0);
	return pfn_to_virt(pfn);
}

/* The i-th word of a page that packs. */
static u64 packing(u64 index, u32 i)
{
	return index + 1 + i % 4;
}

static void fill_page(u64 index, bool packs)
{
	u64 *p = (u64 *)(void *)page(index), random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = packs ? packing(index, i) : random_next(&random);
}

static void check_page(u64 index, bool packs)
{
	const u64 *p = (const u64 *)(void *)page(index);
	u64 random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(p[i], packs ? packing(index, i) : random_next(&random));
}

static int setup(void **state)
{
	before = start(MIB(16));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	watermarks.low = watermarks.high = 1u << 20; /* memory is short for whoever asks */
	watermarks.min = 1;
	assert_int_equal(gmem_create(PAGES, &g), 0);
	memset(&guest, 0, sizeof(guest));
	guest.n.notify = notify;
	gmem_notifier_add(g, &guest.n);
	reclaim_add(&target, g, &terms);
	return 0;
}

static int teardown(void **state)
{
	struct pool_stats pool;

	reclaim_remove(&target);
	gmem_notifier_remove(g, &guest.n);
	gmem_unref(g);
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 0);
	assert_int_equal(free_now(), before);
	memset(&watermarks, 0, sizeof(watermarks));
	hosted_clock_free();
	return 0;
}

static u64 state_of(u64 index)
{
	return gmem_entry_state(gmem_entry(g, index));
}

static u64 now_ns = 1000000000;

/* As a vCPU asks for memory; long enough after the last time for another round. */
static bool help_with(u32 order)
{
	hosted_clock_set(now_ns += 50000000);
	return reclaim_help(&target, order);
}

static bool help(void)
{
	return help_with(0);
}

static u64 read_stat(const char *name)
{
	for (u32 i = 0; i < reclaim_stat_group.count; i++) {
		if (!strcmp(reclaim_stat_group.descs[i].name, name))
			return reclaim_stat_group.read(reclaim_stat_group.owner, i);
	}
	fail_msg("no counter %s", name);
	return 0;
}

/* --- One page ------------------------------------------------------------------------------- */

static void each_kind_of_page(void **state)
{
	const u64 all = 0x1f;
	struct gmem_taken t = {0};
	u64 free;
	pfn_t pfn;

	(void)page(0); /* zero */
	fill_page(1, true);
	fill_page(2, false);
	/* 3 is not there; 4 is pinned. */
	assert_int_equal(gmem_pin(g, 4, true, &pfn), 0);
	free = free_now();
	gmem_take(g, 0, 5, &all, &t);
	assert_int_equal(t.freed, 2);
	assert_int_equal(t.zero, 1);
	assert_int_equal(t.packed, 1);
	assert_int_equal(t.hard, 1);
	assert_int_equal(t.kept, 2);
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(state_of(1), GMEM_PACKED);
	assert_int_equal(state_of(2), GMEM_GOT_PAGE);
	assert_int_equal(state_of(3), GMEM_ABSENT);
	assert_int_equal(state_of(4), GMEM_GOT_PAGE);
	assert_int_equal(g->resident, 2);
	assert_true(free_now() <= free + 2);
	gmem_unpin(g, 4, pfn, false);
	check_page(1, true);
	check_page(2, false);
	assert_true(all_zero(virt_to_pfn(page(0)), 0));
	assert_int_equal(state_of(1), GMEM_GOT_PAGE);
	assert_int_equal(g->fetched, 1);
}

/* One word all over: its entry tells it, where it can. All of the word, and of nothing less. */
static void one_word_all_over(void **state)
{
	static const struct {
		u64 word;
		enum gmem_state state;
	} kinds[] = {
		{0, GMEM_ABSENT},
		{1, GMEM_FILLED},
		{0x0000ffffffffffff, GMEM_FILLED},
		{0xffff888012345678, GMEM_FILLED},
		{~0ull, GMEM_FILLED},
		{0xffff000000000000, GMEM_FILLED},
		{0xcccccccccccccccc, GMEM_FILLED},
		{0x1234567812345678, GMEM_FILLED},
		{0x0001000000000000, GMEM_PACKED},
		{0x1234567812345679, GMEM_PACKED},
	};
	const u32 count = ARRAY_SIZE(kinds);
	u64 all = BIT(count + 2) - 1, states[GMEM_STATES];
	struct gmem_taken t = {0};
	struct pool_stats pool;

	for (u32 k = 0; k < count; k++) {
		for (u32 i = 0; i < PAGE_SIZE / 8; i++)
			((u64 *)(void *)page(k))[i] = kinds[k].word;
	}
	/* Nearly. */
	memset(page(count), 0xcc, PAGE_SIZE);
	page(count)[PAGE_SIZE / 2 + 3] = 0xcd;
	memset(page(count + 1), 0xcc, PAGE_SIZE);
	page(count + 1)[PAGE_SIZE - 1] = 0;
	gmem_take(g, 0, count + 2, &all, &t);
	assert_int_equal(t.filled, 7);
	assert_int_equal(t.zero, 1);
	assert_int_equal(t.packed, 4);
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 4);
	gmem_count_states(g, states);
	assert_int_equal(states[GMEM_FILLED], 7);
	assert_int_equal(states[GMEM_PACKED], 4);
	assert_int_equal(states[GMEM_GOT_PAGE], 0);
	assert_int_equal(states[GMEM_BUSY], 0);
	assert_int_equal(states[GMEM_ABSENT], PAGES - 11);
	for (u32 k = 0; k < count; k++) {
		assert_int_equal(state_of(k), kinds[k].state);
		for (u32 i = 0; i < PAGE_SIZE / 8; i++)
			assert_int_equal(((u64 *)(void *)page(k))[i], kinds[k].word);
	}
	assert_int_equal(page(count)[PAGE_SIZE / 2 + 3], 0xcd);
	assert_int_equal(page(count + 1)[PAGE_SIZE - 1], 0);
	gmem_count_states(g, states);
	assert_int_equal(states[GMEM_FILLED] + states[GMEM_PACKED], 0);
	assert_int_equal(states[GMEM_GOT_PAGE], count + 2);
}

/* One other word, wherever it is, is contents that come back. */
static void one_word_is_another(void **state)
{
	static const u64 words[] = {0, 0xcccccccccccccccc};
	struct gmem_taken t = {0};
	u64 one = 1;

	for (u32 at = 0; at < PAGE_SIZE / 8; at++) {
		for (u32 k = 0; k < ARRAY_SIZE(words); k++) {
			u64 *p = (u64 *)(void *)page(0);

			for (u32 i = 0; i < PAGE_SIZE / 8; i++)
				p[i] = i == at ? words[k] + 1 : words[k];
			gmem_take(g, 0, 1, &one, &t);
			assert_int_equal(state_of(0), GMEM_PACKED);
			assert_int_equal(((u64 *)(void *)page(0))[at], words[k] + 1);
		}
	}
	assert_int_equal(t.filled + t.zero, 0);
}

/* What an entry tells goes with it, by a drop or with the object; and a fetch without memory. */
static void one_word_goes(void **state)
{
	struct gmem_taken t = {0};
	u64 all = 7, done, states[GMEM_STATES];
	pfn_t pfn;

	for (u64 i = 0; i < 3; i++)
		memset(page(i), 0x77, PAGE_SIZE);
	gmem_take(g, 0, 3, &all, &t);
	assert_int_equal(t.filled, 3);
	hosted_fail_after(1);
	assert_int_equal(gmem_get_page(g, 1, true, &pfn), ERR_NOMEM);
	hosted_fail_after(0);
	assert_int_equal(state_of(1), GMEM_FILLED);
	assert_int_equal(page(1)[99], 0x77);
	assert_int_equal(gmem_drop_range(g, 0, 1, &done), 0);
	assert_int_equal(state_of(0), GMEM_ABSENT);
	gmem_take(g, 2, 1, &all, &t);
	assert_int_equal(t.kept, 1); /* it has no frame to take */
	gmem_count_states(g, states);
	assert_int_equal(states[GMEM_FILLED], 1);
}

/* A page that did not pack is left alone until it was written. */
static void hard_until_written(void **state)
{
	struct gmem_taken t = {0};
	u64 one = 1, entry;

	fill_page(0, false);
	gmem_take(g, 0, 1, &one, &t);
	entry = gmem_entry(g, 0);
	assert_true(entry & GMEM_HARD);
	assert_false(entry & GMEM_DIRTY);
	guest.used[0] = false;
	for (u32 i = 0; i < 10; i++)
		(void)help();
	assert_int_equal(read_stat("hard"), 0); /* it was not tried */
	memset(page(0), 0x11, PAGE_SIZE);
	assert_true(gmem_entry(g, 0) & GMEM_DIRTY);
	assert_true(help());
	assert_int_equal(state_of(0), GMEM_FILLED);
	assert_int_equal(page(0)[77], 0x11);
}

/* How many pages the guest was asked about in so many rounds. */
static u64 looked_in(u32 rounds)
{
	u64 from = guest.looked;

	while (rounds--)
		(void)help();
	return guest.looked - from;
}

#define HARD_PAGES 300u

/*
 * Pages that cannot go are not looked at in each round, wherever others are among them; but those that
 * were written since are, as are all now and then, for what is used of them counts.
 */
static void what_cannot_go_is_passed_over(void **state)
{
	struct gmem_taken t = {0};
	u64 all[GMEM_LARGE_PAGES / 64];

	memset(all, 0xff, sizeof(all));
	for (u64 i = 0; i < HARD_PAGES; i++)
		fill_page(i, false);
	assert_true(looked_in(1) >= HARD_PAGES); /* nobody knows yet that they do not pack */
	gmem_take(g, 0, GMEM_LARGE_PAGES, all, &t);
	assert_int_equal(t.hard, HARD_PAGES);
	assert_int_equal(looked_in(10), 0);
	assert_true(read_stat("passed") >= 10 * HARD_PAGES);
	/* Two of them change, far from each other. */
	memset(page(7), 0x11, PAGE_SIZE);
	fill_page(200, false);
	guest.used[7] = guest.used[200] = true;
	assert_in_range(looked_in(1), 2, 2 * 9);
	assert_true(guest.used[7] == false && guest.used[200] == false);
	for (u32 i = 0; i < 10; i++)
		(void)help();
	assert_int_equal(state_of(7), GMEM_FILLED);
	assert_int_equal(looked_in(1), 0);
	/* All are looked at after a while, once; what is used twice is worked with. */
	for (u32 i = 0; i < 2; i++) {
		assert_int_equal(target.used_staying, 0);
		memset(guest.used + 20, true, 100);
		assert_in_range(looked_in(200), HARD_PAGES - 1, GMEM_LARGE_PAGES);
	}
	assert_int_equal(target.used_staying, 100);
	assert_in_range(target.working_set, 100, HARD_PAGES);
	(void)looked_in(200);
	assert_int_equal(target.used_staying, 0);
	for (u64 i = 0; i < HARD_PAGES; i++) {
		if (i != 7)
			check_page(i, false);
	}
}

/* As old as can be when the disk takes them at last, in however many rounds they were passed over. */
static void passed_over_until_there_is_a_disk(void **state)
{
	struct gmem_taken t = {0};
	u64 all[GMEM_LARGE_PAGES / 64];

	memset(all, 0xff, sizeof(all));
	for (u64 i = 0; i < HARD_PAGES; i++)
		fill_page(i, false);
	gmem_take(g, 0, GMEM_LARGE_PAGES, all, &t);
	target.terms.min = PAGES; /* not taken, but aged */
	(void)help();
	fake_disk_init(HARD_PAGES);
	for (u32 rounds = 1; rounds <= 8; rounds++) {
		assert_int_equal(looked_in(rounds), 0);
		assert_int_equal(swap_attach(&fake_disk, HARD_PAGES, 1), 0);
		assert_true(looked_in(1) >= HARD_PAGES);
		assert_int_equal(target.used, 0);
		assert_int_equal(target.by_age[RECLAIM_AGES - 2], HARD_PAGES);
		swap_detach();
	}
}

/* A page that is touched while it is being taken is given back at once. */
static void wanted_is_given_back(void **state)
{
	struct gmem_taken t = {0};
	u64 marked = 0xffff;

	for (u64 i = 0; i < 16; i++)
		fill_page(i, true);
	guest.touch = 5;
	gmem_take(g, 0, 16, &marked, &t);
	pthread_join(guest.waiter, NULL);
	assert_int_equal(t.wanted, 1);
	assert_int_equal(t.packed, 15);
	assert_int_equal(state_of(5), GMEM_GOT_PAGE);
	for (u64 i = 0; i < 16; i++)
		check_page(i, true);
}

/* Memory that is short where a page would be put away: it stays as it is. */
static void no_memory_to_put_it(void **state)
{
	struct gmem_taken t = {0};
	u64 one = 1;

	fill_page(0, true);
	hosted_fail_after(1);
	gmem_take(g, 0, 1, &one, &t);
	hosted_fail_after(0);
	assert_true(t.full);
	assert_int_equal(t.freed, 0);
	check_page(0, true);
	/* And where one would come back it stays where it is. */
	t.full = false;
	gmem_take(g, 0, 1, &one, &t);
	assert_int_equal(t.packed, 1);
	for (u64 n = 1; n < 3; n++) {
		pfn_t pfn;

		hosted_fail_after(n);
		if (gmem_get_page(g, 0, false, &pfn) == 0)
			break;
		assert_int_equal(state_of(0), GMEM_PACKED);
		assert_int_equal(n, 1);
	}
	hosted_fail_after(0);
	check_page(0, true);
}

static void dropped_from_the_pool(void **state)
{
	struct gmem_taken t = {0};
	struct pool_stats pool;
	u64 both = 3, done;

	fill_page(0, true);
	fill_page(1, true);
	gmem_take(g, 0, 2, &both, &t);
	assert_int_equal(gmem_drop_range(g, 0, 1, &done), 0);
	assert_int_equal(state_of(0), GMEM_ABSENT);
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 1);
	/* The other goes with the object. */
}

/* --- Which pages ---------------------------------------------------------------------------- */

static u32 taken_of(u64 first, u64 pages)
{
	u32 n = 0;

	for (u64 i = 0; i < pages; i++)
		n += state_of(first + i) == GMEM_PACKED;
	return n;
}

/* Pages that are used stay, as long as there are others. */
static void the_old_go_first(void **state)
{
	for (u64 i = 0; i < 600; i++)
		fill_page(i, true);
	for (u32 round = 0; round < 4; round++) {
		for (u64 i = 0; i < 600; i += 3)
			guest.used[i] = true;
		assert_true(help());
	}
	for (u64 i = 0; i < 600; i += 3)
		assert_int_equal(state_of(i), GMEM_GOT_PAGE);
	assert_true(taken_of(0, 600) >= 4 * 64);
	for (u64 i = 0; i < 600; i++)
		check_page(i, true);
}

/* Ages go up to the oldest and no further, and wrap to young nowhere. */
static void ages(void **state)
{
	for (u64 i = 0; i < 3; i++)
		fill_page(i, true);
	target.terms.min = 3; /* not taken, but aged */
	for (u32 round = 0; round < 40; round++) {
		guest.used[1] = true;
		guest.used[2] = round % 3 == 0;
		(void)help();
		if (round > 2) { /* two uses make a page young */
			assert_int_equal(gmem_entry_age(g, gmem_entry(g, 1)), 0);
			assert_true(gmem_entry_age(g, gmem_entry(g, 2)) <= 2);
		}
		if (round > 7)
			assert_in_range(gmem_entry_age(g, gmem_entry(g, 0)), RECLAIM_AGES - 2,
					RECLAIM_AGES - 1);
	}
}

/* Who looked at the clock before another began a round, or wrote a line, is no later than that one. */
static void a_clock_of_a_moment_ago(void **state)
{
	u64 high = watermarks.high, generation;

	for (u64 i = 0; i < 3; i++)
		fill_page(i, false);
	hosted_log_reset();
	(void)help();
	generation = g->generation;
	assert_int_equal(hosted_log_count(LOG_INFO), 1);
	hosted_clock_set(now_ns - 1);
	(void)reclaim_help(&target, 0);
	assert_int_equal(g->generation, generation);
	watermarks.low = watermarks.high = 0;
	(void)reclaim_help(&target, 0);
	assert_int_equal(hosted_log_count(LOG_INFO), 1);
	watermarks.low = watermarks.high = high;
}

/* The last frames are not the guests'. */
static void watermarks_hold(void **state)
{
	u64 n = 0;
	pfn_t pfn;

	reclaim_remove(&target); /* nobody takes */
	watermarks.min = 4;
	while (n < PAGES && gmem_get_page(g, n, true, &pfn) == 0)
		n++;
	if (n == PAGES) { /* memory for all: take the rest by hand */
		pfn_t hold[4096];
		u32 held = 0;

		while (frame_free_estimate() >= watermarks.min / 2 && held < ARRAY_SIZE(hold) &&
		       frame_alloc(0, 0, &hold[held]) == 0)
			held++;
		assert_int_equal(gmem_drop(g, 7), 0);
		while (frame_free_estimate() >= watermarks.min / 2 && held < ARRAY_SIZE(hold) &&
		       frame_alloc(0, 0, &hold[held]) == 0)
			held++;
		assert_int_equal(gmem_get_page(g, 7, true, &pfn), ERR_NOMEM);
		while (held)
			frame_free(hold[--held], 0);
	}
	watermarks.min = 1;
	assert_int_equal(gmem_get_page(g, 7, true, &pfn), 0);
}

/* Nor are they for entries: a guest that goes from 2 MiB to the next gets none below min. */
static void no_entries_below_min(void **state)
{
	u64 free;
	pfn_t pfn;

	fill_page(0, true);
	free = free_now();
	watermarks.min = 1u << 20;
	assert_int_equal(gmem_get_page(g, GMEM_LARGE_PAGES, true, &pfn), ERR_NOMEM);
	assert_int_equal(free_now(), free);
	watermarks.min = 1;
	assert_int_equal(gmem_get_page(g, GMEM_LARGE_PAGES, true, &pfn), 0);
}

/* What is kept is kept from 2 MiB at a time, too. */
static void large_pages_leave_min(void **state)
{
	struct gmem *large;
	pfn_t pfn;

	assert_int_equal(gmem_create_order(2 * GMEM_LARGE_PAGES, GMEM_LARGE_ORDER, &large), 0);
	watermarks.min = frame_free_estimate() - GMEM_LARGE_PAGES / 2;
	assert_int_equal(gmem_get_page(large, 0, true, &pfn), ERR_NOMEM);
	watermarks.low = watermarks.min; /* nor does enough for one frame do */
	assert_int_equal(gmem_get_page(large, 0, true, &pfn), ERR_NOMEM);
	watermarks.min -= GMEM_LARGE_PAGES;
	assert_int_equal(gmem_get_page(large, 0, true, &pfn), 0);
	gmem_unref(large);
}

/* Where single frames are free and none of 2 MiB, taking more of them is no help: it waits. */
static void enough_is_no_help_for_large(void **state)
{
	fill_page(0, true);
	watermarks.low = 1;
	assert_true(help_with(0));
	assert_false(help_with(GMEM_LARGE_ORDER));
	watermarks.low = 1u << 20;
	assert_true(help_with(GMEM_LARGE_ORDER));
	assert_int_equal(state_of(0), GMEM_PACKED);
}

/* Pages that do not go cost whoever tries them a bounded time, and then the next come. */
static void tries_are_bounded(void **state)
{
	const u64 chunks = 16, each = 60;
	static struct reclaim_target other;
	struct gmem *mine = g, *hard;
	u64 before_it = 0, tried;
	u32 calls = 0;

	assert_int_equal(gmem_create(chunks * GMEM_LARGE_PAGES, &hard), 0);
	g = hard;
	for (u64 i = 0; i < chunks * each; i++)
		fill_page(i / each * GMEM_LARGE_PAGES + i % each, false);
	fill_page(chunks * GMEM_LARGE_PAGES - 1, true);
	g = mine;
	reclaim_add(&other, hard, &terms);
	while (gmem_entry_state(gmem_entry(hard, hard->pages - 1)) != GMEM_PACKED) {
		assert_true(help());
		tried = read_stat("hard");
		assert_in_range(tried - before_it, 0, 512);
		before_it = tried;
		assert_true(++calls < 10);
	}
	assert_int_equal(tried, chunks * each);
	assert_false(help());
	reclaim_remove(&other);
	gmem_unref(hard);
}

/* The log says so when memory becomes short, and when it no longer is; not more than once a second. */
static void changes_are_told(void **state)
{
	u64 high = watermarks.high;

	fill_page(0, true);
	hosted_log_reset();
	(void)help();
	assert_int_equal(hosted_log_count(LOG_INFO), 1);
	assert_non_null(strstr(hosted_log_last(), "memory: low: "));
	watermarks.low = watermarks.high = 0;
	for (u32 i = 0; i < 20; i++) { /* 50 ms each */
		(void)help();
		assert_int_equal(hosted_log_count(LOG_INFO), i < 19 ? 1 : 2);
	}
	assert_non_null(strstr(hosted_log_last(), "memory: enough is free"));
	watermarks.low = watermarks.high = high;
}

/* Guests that make it short over and over do not fill the log. */
static void flapping_is_told_seldom(void **state)
{
	u64 high = watermarks.high;

	fill_page(0, true);
	hosted_log_reset();
	for (u32 i = 0; i < 64 * 20; i++) { /* 64 s */
		watermarks.low = watermarks.high = i / 3 % 2 ? 0 : high;
		(void)help();
	}
	assert_in_range(hosted_log_count(LOG_INFO), 5, 7);
	watermarks.low = watermarks.high = high;
}

/* Pages of 2 MiB stay whole and where they are, and nobody takes their entries for small ones. */
static void large_pages_are_left_alone(void **state)
{
	static struct reclaim_target other;
	struct gmem *large;
	u64 entry;
	pfn_t pfn;

	assert_int_equal(gmem_create_order(2 * GMEM_LARGE_PAGES, GMEM_LARGE_ORDER, &large), 0);
	reclaim_add(&other, large, &terms);
	assert_int_equal(gmem_get_page(large, GMEM_LARGE_PAGES, true, &pfn), 0);
	entry = gmem_entry(large, GMEM_LARGE_PAGES);
	for (u32 i = 0; i < 10; i++)
		assert_false(help());
	assert_int_equal(gmem_entry(large, GMEM_LARGE_PAGES), entry);
	assert_int_equal(read_stat("aged"), 0);
	reclaim_remove(&other);
	gmem_unref(large);
}

static void nothing_to_take(void **state)
{
	watermarks.low = watermarks.high = 1u << 20; /* memory is short */
	assert_false(help());
	assert_int_equal(read_stat("fruitless"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_kind_of_page, setup, teardown),
		cmocka_unit_test_setup_teardown(one_word_all_over, setup, teardown),
		cmocka_unit_test_setup_teardown(one_word_is_another, setup, teardown),
		cmocka_unit_test_setup_teardown(one_word_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(hard_until_written, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_go_is_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(passed_over_until_there_is_a_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(wanted_is_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_to_put_it, setup, teardown),
		cmocka_unit_test_setup_teardown(dropped_from_the_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(the_old_go_first, setup, teardown),
		cmocka_unit_test_setup_teardown(ages, setup, teardown),
		cmocka_unit_test_setup_teardown(a_clock_of_a_moment_ago, setup, teardown),
		cmocka_unit_test_setup_teardown(watermarks_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(no_entries_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(enough_is_no_help_for_large, setup, teardown),
		cmocka_unit_test_setup_teardown(large_pages_leave_min, setup, teardown),
		cmocka_unit_test_setup_teardown(tries_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_to_take, setup, teardown),
		cmocka_unit_test_setup_teardown(changes_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(flapping_is_told_seldom, setup, teardown),
		cmocka_unit_test_setup_teardown(large_pages_are_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
