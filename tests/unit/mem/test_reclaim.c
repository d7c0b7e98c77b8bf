/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c tests/unit/mem/reclaim_object.c */
/* unit-libs: -Wl,--wrap=lz4_pack,--wrap=lz4_unpack */
/* Taking cold pages: what becomes of each kind of page. */
#include <string.h>
#include "kernel/base/error.h"
#include "mem/lz4.h"
#include "mem/pool.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/reclaim_object.h"

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

static void (*before_packing)(void); /* NULL: nothing */

int __real_lz4_pack(const void *bytes, u32 most, int (*use)(void *arg, const void *bytes, u32 size),
		    void *arg);
int __wrap_lz4_pack(const void *bytes, u32 most, int (*use)(void *arg, const void *bytes, u32 size),
		    void *arg);

int __wrap_lz4_pack(const void *bytes, u32 most, int (*use)(void *arg, const void *bytes, u32 size),
		    void *arg)
{
	if (before_packing)
		before_packing();
	return __real_lz4_pack(bytes, most, use, arg);
}

#define LAST_OF_RUN 31u

static u32 packings;

static void *touch_last(void *arg)
{
	check_page(LAST_OF_RUN, true);
	return NULL;
}

/* While the first is packed the last is touched. When the second is, it is there again. */
static void want_the_last(void)
{
	if (packings++ == 0) {
		const u64 *e = gmem_entry_find(g, LAST_OF_RUN);

		assert_int_equal(pthread_create(&guest.waiter, NULL, touch_last, NULL), 0);
		hosted_wait_until(gmem_entry_load(e) & GMEM_WANTED);
	} else {
		assert_int_equal(state_of(LAST_OF_RUN), GMEM_GOT_PAGE);
		assert_int_equal(gmem_entry_age(g, gmem_entry(g, LAST_OF_RUN)), 0);
	}
}

/* However many come before it in what is taken at a time. */
static void last_is_given_back_first(void **state)
{
	struct gmem_taken t = {0};
	u64 marked = BIT(LAST_OF_RUN + 1) - 1;

	for (u64 i = 0; i <= LAST_OF_RUN; i++)
		fill_page(i, true);
	g->generation += 3;
	packings = 0;
	before_packing = want_the_last;
	gmem_take(g, 0, LAST_OF_RUN + 1, &marked, &t);
	before_packing = NULL;
	pthread_join(guest.waiter, NULL);
	assert_int_equal(packings, LAST_OF_RUN);
	assert_int_equal(t.wanted, 1);
	assert_int_equal(t.packed, LAST_OF_RUN);
	for (u64 i = 0; i <= LAST_OF_RUN; i++)
		check_page(i, true);
}

/* To some 2,700 bytes: a span of that class has several frames. */
static void fill_half(u64 index)
{
	u64 *p = (u64 *)(void *)page(index), random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = i % 2 ? 0x1111 : random_next(&random);
}

static void check_half(u64 index)
{
	const u64 *p = (const u64 *)(void *)page(index);
	u64 random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(p[i], i % 2 ? 0x1111 : random_next(&random));
}

/* Each allocation fails that packing it takes: it stays as it is. Returns how many there are. */
static u32 pack_without_memory(u64 index, void (*check)(u64 index))
{
	const u64 free = free_now();

	for (u32 n = 1;; n++) {
		struct gmem_taken t = {0};
		u64 one = 1;
		bool failed;

		hosted_fail_after(n);
		gmem_take(g, index, 1, &one, &t);
		failed = hosted_fail_happened();
		hosted_fail_after(0);
		if (!failed) {
			assert_int_equal(t.packed, 1);
			check(index);
			return n - 1;
		}
		assert_true(t.full);
		assert_int_equal(t.freed, 0);
		assert_int_equal(state_of(index), GMEM_GOT_PAGE);
		assert_int_equal(free_now(), free);
		check(index);
	}
}

static void check_packing(u64 index)
{
	check_page(index, true);
}

/* Memory that is short where a page would be put away: its handle, its span's record, and frames. */
static void no_memory_to_put_it(void **state)
{
	struct gmem_taken t = {0};
	u64 one = 1;

	fill_page(0, true);
	fill_half(1);
	assert_true(pack_without_memory(0, check_packing) > 3);
	assert_true(pack_without_memory(1, check_half) > 4);
	/* And where one would come back it stays where it is. */
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

static u32 unpackings;

bool __real_lz4_unpack(lz4_get_fn get, void *arg, void *to);
bool __wrap_lz4_unpack(lz4_get_fn get, void *arg, void *to);

bool __wrap_lz4_unpack(lz4_get_fn get, void *arg, void *to)
{
	unpackings++;
	return __real_lz4_unpack(get, arg, to);
}

/* All of a page is written where it was put: nothing of that is made again, and its place is free. */
static void written_whole(void **state)
{
	static const u64 words[PAGE_SIZE / 8] = {7, 8, 9};
	struct gmem_taken t = {0};
	struct pool_stats pool;
	u64 both = 3;

	memset(page(0), 0x77, PAGE_SIZE);
	fill_page(1, true);
	gmem_take(g, 0, 2, &both, &t);
	assert_int_equal(state_of(0), GMEM_FILLED);
	assert_int_equal(state_of(1), GMEM_PACKED);
	unpackings = 0;
	for (u64 i = 0; i < 2; i++) {
		hosted_fail_after(1);
		assert_false(gmem_write_stored(g, i, words));
		hosted_fail_after(0);
		assert_int_equal(state_of(i), i ? GMEM_PACKED : GMEM_FILLED);
		assert_true(gmem_write_stored(g, i, words));
		assert_int_equal(state_of(i), GMEM_GOT_PAGE);
		assert_true(gmem_entry(g, i) & GMEM_DIRTY);
		assert_memory_equal(page(i), words, PAGE_SIZE);
	}
	assert_int_equal(unpackings, 0);
	assert_int_equal(g->resident, 2);
	assert_int_equal(g->packed_bytes, 0);
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 0);
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

/*
 * Others get none of the last frames, whatever these are for, and with those pages can still be packed;
 * what comes free is there for everybody.
 */
static void the_last_frames_are_for_reclaim(void **state)
{
	static pfn_t hold[MIB(16) / PAGE_SIZE];
	u32 held = 0;
	pfn_t pfn;

	for (u64 i = 0; i < PAGES; i++)
		fill_page(i, true);
	frame_leave_to_reclaim(16);
	while (frame_alloc(0, 0, &hold[held]) == 0)
		held++;
	assert_int_equal(free_now(), 16);
	assert_null(frame_alloc_page(0));
	assert_int_equal(frame_alloc(1, 0, &pfn), ERR_NOMEM);
	assert_int_equal(frame_alloc_apart(3, 0, &pfn), ERR_NOMEM);
	/* What other CPUs have at hand beside them is not left to anybody. */
	for (u32 i = 0; i < 2; i++) {
		(void)frame_drain();
		hosted_cpu_set(1);
		frame_free(hold[--held], 0);
		assert_int_equal(frame_free_estimate(), 16);
		hosted_cpu_set(0);
		assert_int_equal(frame_alloc(0, 0, &hold[held]), 0);
		held++;
	}
	frame_reclaim_begin();
	frame_reclaim_begin();
	frame_reclaim_end();
	assert_int_equal(frame_alloc(0, 0, &pfn), 0);
	frame_reclaim_end();
	frame_free(pfn, 0);
	(void)frame_drain();
	assert_int_equal(frame_alloc_at(pfn, 0), ERR_NOMEM);
	for (u32 i = 0; i < 40; i++)
		(void)help();
	assert_true(frame_free_estimate() > PAGES / 2);
	assert_int_equal(frame_alloc(0, 0, &pfn), 0);
	frame_free(pfn, 0);
	while (held)
		frame_free(hold[--held], 0);
	frame_leave_to_reclaim(0);
	for (u64 i = 0; i < PAGES; i++)
		check_page(i, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_kind_of_page, setup, teardown),
		cmocka_unit_test_setup_teardown(one_word_all_over, setup, teardown),
		cmocka_unit_test_setup_teardown(one_word_is_another, setup, teardown),
		cmocka_unit_test_setup_teardown(one_word_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(hard_until_written, setup, teardown),
		cmocka_unit_test_setup_teardown(wanted_is_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(last_is_given_back_first, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_to_put_it, setup, teardown),
		cmocka_unit_test_setup_teardown(written_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(dropped_from_the_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_frames_are_for_reclaim, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
