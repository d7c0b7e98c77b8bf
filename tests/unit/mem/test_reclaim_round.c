/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c tests/unit/mem/reclaim_object.c */
/*
 * Rounds of taking cold pages: how pages grow old, whose go first, which are passed over, who may have
 * the last frames, and what the log is told. The test says which pages a guest uses.
 */
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "mem/swap.h"
#include "mem/watermark.h"
#include "tests/hosted/fake_disk.h"
#include "mem/reclaim_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/reclaim_object.h"

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
		assert_int_equal(target.in[0].by_age[RECLAIM_AGES - 2], HARD_PAGES);
		swap_detach();
	}
}

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

static void rest_round(void)
{
	struct reclaim_effort e = {.ages = 100, .rest = true};

	hosted_clock_set(now_ns += 10000000000ull);
	assert_true(reclaim_age(&e));
}

/*
 * Where a look takes the page's mapping a round at rest looks at one of four chunks. The others' pages
 * are as old as they were, and used if they were, whatever the round's number.
 */
static void a_sample_at_rest(void **state)
{
	const u64 busy = 0, idle = 1, other = GMEM_LARGE_PAGES;
	u32 looks[2] = {0};

	target.terms.sample = true;
	for (u64 i = 0; i < 2; i++) {
		fill_page(i, true);
		fill_page(other + i, true);
	}
	for (u32 round = 0; round < 16; round++) {
		guest.used[busy] = guest.used[other] = true;
		rest_round();
		looks[0] += !guest.used[busy];
		looks[1] += !guest.used[other];
		if (round < 8)
			continue;
		assert_int_equal(target.working_set, 2);
		assert_int_equal(gmem_entry_age(g, gmem_entry(g, busy)), 0);
		assert_int_equal(gmem_entry_age(g, gmem_entry(g, other)), 0);
	}
	assert_int_equal(looks[0], 4);
	assert_int_equal(looks[1], 4);
	assert_int_equal(gmem_entry_age(g, gmem_entry(g, idle)), RECLAIM_AGES - 2);
	/* One that has just come is as any other. */
	fill_page(5, true);
	for (u32 round = 0; round < 3; round++) {
		rest_round();
		assert_in_range(gmem_entry_age(g, gmem_entry(g, 5)), 2, 3);
	}
	/* Nor does one grow young that comes when the round has begun, and not got to it yet. */
	for (u32 round = 0; round < 4; round++) {
		struct reclaim_effort e = {.ages = 1, .rest = true};

		hosted_clock_set(now_ns += 10000000000ull);
		assert_true(reclaim_age(&e));
		fill_page(other + 5 + round, true);
		rest_round();
		assert_in_range(gmem_entry_age(g, gmem_entry(g, other + 5 + round)), 2, 3);
	}
	/* Where memory is wanted all are looked at. */
	for (u32 round = 0; round < 4; round++) {
		struct reclaim_effort e = {.ages = 100};

		guest.used[busy] = guest.used[other] = true;
		hosted_clock_set(now_ns += 1000000000);
		assert_true(reclaim_age(&e));
		assert_false(guest.used[busy] || guest.used[other]);
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
	while (help()) {
		tried = read_stat("hard");
		assert_in_range(tried - before_it, 0, 512);
		before_it = tried;
		assert_true(++calls < 20);
	}
	assert_int_equal(gmem_entry_state(gmem_entry(hard, hard->pages - 1)), GMEM_PACKED);
	assert_int_equal(read_stat("hard"), chunks * each);
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

static u64 state_shown(void)
{
	return reclaim_memory_stat_group.read(reclaim_memory_stat_group.owner, 0);
}

/* Whatever the log has said, and when, the state that is shown is the one that is. */
static void the_state_is_as_it_is(void **state)
{
	u64 high = watermarks.high, free;

	fill_page(0, true);
	watermarks.high = watermarks.low = 0;
	(void)help();
	assert_int_equal(state_shown(), RECLAIM_ENOUGH);
	hosted_log_reset();
	reclaim.told_ns = now_ns;
	reclaim.tell_gap_ns = 1000000000000ull;
	free = watermark_free();
	watermarks.high = free + 100;
	(void)help();
	assert_int_equal(state_shown(), RECLAIM_ENOUGH); /* between the two */
	watermarks.low = free + 10;
	(void)help();
	watermarks.low = 0;
	assert_int_equal(state_shown(), RECLAIM_LOW); /* until high is reached */
	watermarks.min = free + 10;
	assert_int_equal(state_shown(), RECLAIM_SHORT);
	watermarks.min = 1;
	assert_int_equal(state_shown(), RECLAIM_LOW);
	watermarks.high = 0;
	assert_int_equal(state_shown(), RECLAIM_ENOUGH);
	watermarks.high = free + 100;
	assert_int_equal(state_shown(), RECLAIM_ENOUGH);
	assert_int_equal(hosted_log_count(LOG_INFO), 0);
	watermarks.low = watermarks.high = high;
}

/* What is free by what is said of it: what is kept for others is not. */
static void what_is_kept_is_told(void **state)
{
	u64 high = watermarks.high, owed = watermarks.owed, free = frame_free_estimate();
	char text[80];

	assert_int_equal(owed, 0);
	snprintf(text, sizeof(text), "%llu frames are free", (unsigned long long)free);
	assert_string_equal(reclaim_free_text().text, text);
	watermarks.owed = free - 30;
	snprintf(text, sizeof(text),
		 "30 frames are free, and %llu kept for min=", (unsigned long long)free - 30);
	assert_string_equal(reclaim_free_text().text, text);
	watermarks.owed = 2 * free;
	snprintf(text, sizeof(text),
		 "0 frames are free, and %llu kept for min=", (unsigned long long)free);
	assert_string_equal(reclaim_free_text().text, text);
	watermarks.low = watermarks.high = watermarks.min = 1;
	hosted_log_reset();
	(void)reclaim_tell_state();
	assert_non_null(strstr(hosted_log_last(), "memory: short: "));
	assert_non_null(strstr(hosted_log_last(), text));
	watermarks.low = watermarks.high = high;
	watermarks.owed = owed;
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
	/* How often it changed meanwhile is, and what is there is told with it. */
	assert_non_null(strstr(hosted_log_last(), " moves since this was said last"));
	assert_non_null(strstr(hosted_log_last(), "; VMs have 0."));
	assert_non_null(strstr(hosted_log_last(), " swapped; "));
	assert_true(reclaim.moves > 400 && reclaim.moves_told <= reclaim.moves);
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
		cmocka_unit_test_setup_teardown(what_cannot_go_is_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(passed_over_until_there_is_a_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(the_old_go_first, setup, teardown),
		cmocka_unit_test_setup_teardown(ages, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sample_at_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(a_clock_of_a_moment_ago, setup, teardown),
		cmocka_unit_test_setup_teardown(watermarks_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(no_entries_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(enough_is_no_help_for_large, setup, teardown),
		cmocka_unit_test_setup_teardown(large_pages_leave_min, setup, teardown),
		cmocka_unit_test_setup_teardown(tries_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_to_take, setup, teardown),
		cmocka_unit_test_setup_teardown(changes_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(the_state_is_as_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_kept_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(flapping_is_told_seldom, setup, teardown),
		cmocka_unit_test_setup_teardown(large_pages_are_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
