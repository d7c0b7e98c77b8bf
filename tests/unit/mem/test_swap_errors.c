/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c tests/unit/mem/swap_object.c */
/* A swap disk that does not do what it was asked for, or gives back something else. */
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/fake_disk.h"
#include "tests/unit/mem/swap_object.h"

static void write_error(void **state)
{
	for (u64 i = 0; i < 4; i++)
		fill(i);
	fake_disk_fail(0, 2);
	assert_int_equal(take(0, 4).writing, 4);
	fake_disk_fail(0, 0);
	assert_int_equal(stats_now().bad, 2);
	assert_int_equal(stats_now().used, 2);
	assert_int_equal(stats_now().write_errors, 2);
	for (u64 i = 0; i < 4; i++) {
		assert_int_equal(state_of(i), i % 2 ? GMEM_GOT_PAGE : GMEM_SWAPPED);
		verify(i);
	}
	assert_int_equal(lost.calls, 0);
}

static void write_error_of_one_given_back(void **state)
{
	fill(0);
	fake_disk_hold(true);
	fake_disk_fail(0, 1);
	assert_int_equal(take(0, 1).writing, 1);
	verify(0);
	do_all();
	assert_int_equal(stats_now().bad, 1);
	assert_int_equal(stats_now().used, 0);
}

static void too_many_write_errors(void **state)
{
	put_on_disk(1);
	for (u64 i = 1; i <= 40; i++)
		fill(i);
	fake_disk_fail(0, 1);
	for (u64 i = 1; i < SWAP_ERRORS_MOST; i++)
		assert_int_equal(take(i, 1).writing, 1);
	assert_true(swap_takes());
	assert_int_equal(take(SWAP_ERRORS_MOST, 1).writing, 1);
	assert_false(swap_takes());
	fake_disk_fail(0, 0);
	assert_int_equal(take(30, 1).hard, 1);
	for (u64 i = 0; i <= 40; i++)
		verify(i);
}

static void read_page(u64 index)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, false, &pfn), 0);
}

static void give_disk_up(void)
{
	fake_disk_fail(1, 1);
	for (u64 i = 100; i < 100 + SWAP_ERRORS_MOST; i++) {
		fill(i);
		assert_int_equal(take(i, 1).writing, 1);
	}
	assert_false(swap_takes());
}

/* What is in memory is not left to a disk that is known to be dead. */
static void kept_on_a_dead_disk(void **state)
{
	put_on_disk(1);
	read_page(0);
	assert_int_equal(stats_now().kept, 1);
	give_disk_up();
	assert_int_equal(take(0, 1).hard, 1);
	assert_int_equal(state_of(0), GMEM_GOT_PAGE);
	assert_int_equal(stats_now().kept, 0);
	assert_int_equal(stats_now().used, 0);
	verify(0);
	assert_int_equal(lost.calls, 0);
}

/* That it was there does not say that it does not pack. */
static void kept_that_packs(void **state)
{
	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		((u64 *)(void *)page(0))[i] = i % 4;
	assert_int_equal(take(0, 1).packed, 1);
	assert_int_equal(gmem_write_packed(g, 0, 1, 0, 1), 1);
	read_page(0);
	assert_int_equal(stats_now().kept, 1);
	give_disk_up();
	assert_int_equal(take(0, 1).packed, 1);
	assert_int_equal(stats_now().used, 0);
	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(((u64 *)(void *)page(0))[i], i % 4);
}

/* Nor to one whose last read or write failed; which it may do better the next time. */
static void kept_after_an_error(void **state)
{
	pfn_t pfn;

	put_on_disk(20);
	for (u64 i = 0; i < 8; i++)
		read_page(i);
	fake_disk_fail(1, 0);
	assert_int_equal(gmem_get_page(g, 10, false, &pfn), ERR_IO);
	fake_disk_fail(0, 0);
	assert_int_equal(take(0, 1).writing, 1); /* elsewhere */
	assert_int_equal(stats_now().put_back, 0);
	read_page(0);
	assert_int_equal(take(1, 1).freed, 1);
	assert_int_equal(stats_now().put_back, 1);
	fill(30);
	fake_disk_fail(0, 1);
	assert_int_equal(take(30, 1).writing, 1);
	assert_int_equal(take(2, 1).writing, 1);
	assert_int_equal(stats_now().put_back, 1);
	assert_int_equal(state_of(2), GMEM_GOT_PAGE);
	verify(2);
}

/* What cannot be read need not be written. */
static void too_many_read_errors(void **state)
{
	pfn_t pfn;

	put_on_disk(200);
	fake_disk_fail(1, 0);
	for (u64 i = 0; i < 200 && swap_takes(); i += SWAP_READ_AHEAD)
		assert_int_equal(gmem_get_page(g, i, false, &pfn), ERR_IO);
	assert_false(swap_takes());
	assert_true(stats_now().read_errors >= SWAP_ERRORS_MOST);
	fake_disk_fail(0, 0);
	verify(41);
	/* What can be read is; it is not left to it alone. */
	assert_false(swap_is_sound());
}

static void read_error(void **state)
{
	u64 block, used;
	pfn_t pfn;

	put_on_disk(2);
	block = gmem_entry(g, 1) >> GMEM_PFN_SHIFT;
	fake_disk_fail(1, 0);
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_IO);
	fake_disk_fail(0, 0);
	assert_int_equal(lost.calls, 1);
	assert_int_equal(lost.index, 1);
	assert_int_equal(lost.block, block);
	assert_int_equal(lost.err, ERR_IO);
	/* It stays lost, without another try. */
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_IO);
	assert_int_equal(gmem_hold(g, 1, false, &pfn), ERR_IO);
	assert_int_equal(stats_now().reads, 1);
	assert_int_equal(take(1, 1).kept, 1);
	used = stats_now().used;
	assert_int_equal(gmem_drop(g, 1), 0); /* until the guest gives it up */
	assert_int_equal(stats_now().used, used - 1);
	assert_int_equal(stats_now().bad, 1);
	assert_int_equal(page(1)[0], 0);
	verify(0);
}

/* A write does not bring it back, either: what was there is not what the guest would write to. */
static void lost_written(void **state)
{
	static const u64 words[PAGE_SIZE / 8] = {1, 2, 3};
	pfn_t pfn;

	put_on_disk(1);
	fake_disk_fail(1, 0);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), ERR_IO);
	fake_disk_fail(0, 0);
	assert_int_equal(lost.calls, 1);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), ERR_IO);
	assert_int_equal(lost.calls, 2);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	assert_int_equal(stats_now().reads, 1);
	/* All of it does: what was there is of no matter. The block is not used again. */
	assert_true(gmem_write_stored(g, 0, words));
	assert_memory_equal(page(0), words, PAGE_SIZE);
	assert_int_equal(stats_now().bad, 1);
	assert_int_equal(lost.calls, 2);
}

static void lost_object_goes(void **state)
{
	pfn_t pfn;

	put_on_disk(1);
	fake_disk_fail(1, 0);
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), ERR_IO);
}

/* Nobody asked for a page that comes ahead: it is tried again by who does. */
static void read_error_ahead(void **state)
{
	put_on_disk(2);
	fake_disk_fail(2, 0);
	verify(0);
	assert_int_equal(state_of(1), GMEM_SWAPPED);
	assert_int_equal(stats_now().read_errors, 1);
	/* Though nobody asked for it. */
	assert_false(swap_is_sound());
	verify(1); /* the third read */
	assert_true(swap_is_sound());
	assert_int_equal(lost.calls, 0);
}

/* A bad place is one error, however many pages about it were to come ahead. */
static void bad_neighbours(void **state)
{
	pfn_t pfn;

	put_on_disk(4 * SWAP_READ_AHEAD);
	fake_disk_fail(1, 0);
	for (u64 i = 0; i < 4; i++)
		assert_int_equal(gmem_get_page(g, i * SWAP_READ_AHEAD, false, &pfn), ERR_IO);
	assert_true(stats_now().read_errors > SWAP_ERRORS_MOST);
	assert_true(swap_takes());
}

static void damaged_block(void **state)
{
	pfn_t pfn;

	put_on_disk(2);
	fake_disk_block(gmem_entry(g, 1) >> GMEM_PFN_SHIFT)[4095] ^= 0x80;
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_CORRUPT);
	assert_int_equal(lost.err, ERR_CORRUPT);
	assert_int_equal(stats_now().damaged, 1);
	verify(0);
}

/* What the disk has there is from another page, or from before. */
static void stale_block(void **state)
{
	u64 a, b;
	pfn_t pfn;

	put_on_disk(2);
	a = gmem_entry(g, 0) >> GMEM_PFN_SHIFT;
	b = gmem_entry(g, 1) >> GMEM_PFN_SHIFT;
	memcpy(fake_disk_block(b), fake_disk_block(a), PAGE_SIZE);
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_CORRUPT);
	verify(0);
}

#define CELL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CELL(write_error),	     CELL(write_error_of_one_given_back),
		CELL(too_many_write_errors), CELL(kept_on_a_dead_disk),
		CELL(kept_that_packs),	     CELL(kept_after_an_error),
		CELL(too_many_read_errors),  CELL(read_error),
		CELL(lost_written),	     CELL(lost_object_goes),
		CELL(read_error_ahead),	     CELL(damaged_block),
		CELL(bad_neighbours),	     CELL(stale_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
