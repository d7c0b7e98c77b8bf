/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c tests/unit/mem/swap_object.c */
/*
 * What goes to the disk and comes from it at a time: pages that are read ahead, what may be under way,
 * a disk that is full, and memory that is short.
 */
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/reclaim.h"
#include "mem/swap_private.h"
#include "mem/watermark.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/swap_object.h"

static void neighbours_come_ahead(void **state)
{
	put_on_disk(20);
	(void)page(0);
	assert_int_equal(stats_now().reads, 1);
	assert_int_equal(stats_now().read_ahead, SWAP_READ_AHEAD - 1);
	for (u64 i = 0; i < 20; i++)
		verify(i);
	assert_int_equal(stats_now().reads, 3);
}

/* Not where memory is short, nor further than the neighbours go. */
static void not_ahead_of_memory(void **state)
{
	put_on_disk(20);
	watermarks.low = free_now();
	watermarks.wake = reclaim_wake;
	(void)page(0);
	assert_int_equal(stats_now().read_ahead, 0);
	memset(&watermarks, 0, sizeof(watermarks));
	(void)page(2);
	assert_int_equal(gmem_drop(g, 9), 0);
	assert_int_equal(stats_now().read_ahead, SWAP_READ_AHEAD - 1);
	(void)page(19);
	assert_int_equal(stats_now().read_ahead, SWAP_READ_AHEAD - 1);
}

/* Nor beyond what the object may have. */
static void not_ahead_of_max(void **state)
{
	put_on_disk(20);
	g->resident_max = 3;
	(void)page(0);
	assert_int_equal(g->resident, 3);
	assert_int_equal(stats_now().read_ahead, 2);
	g->resident_max = ~0ull;
}

/* As many as may be under way are; the others stay, and go later without being packed again. */
static void only_so_many_at_a_time(void **state)
{
	const u32 n = 100;
	struct gmem_taken t;

	for (u64 i = 0; i < n; i++)
		fill(i);
	fake_disk_hold(true);
	t = take(0, n);
	assert_int_equal(t.writing, SWAP_WRITES_MAX);
	assert_int_equal(t.hard, n - SWAP_WRITES_MAX);
	assert_false(swap_takes());
	assert_true(swap_wait_written(1)); /* until the deadline, which has passed */
	do_all();
	assert_true(swap_takes());
	assert_false(swap_wait_written(~0ull));
	t = take(0, n);
	assert_int_equal(t.writing, n - SWAP_WRITES_MAX);
	do_all();
	fake_disk_hold(false);
	for (u64 i = 0; i < n; i++)
		verify(i);
}

/* However many pages are being read some are written, and who wants memory waits for these. */
static void reads_leave_room(void **state)
{
	const u32 n = SWAP_READS_MAX, more = SWAP_REQUESTS - SWAP_READS_MAX;
	static struct other readers[SWAP_READS_MAX + 1];

	for (u64 i = 0; i <= n; i++) {
		fill(2 * i);
		assert_int_equal(take(2 * i, 1).writing, 1);
	}
	fake_disk_hold(true);
	for (u32 i = 0; i <= n; i++)
		other_start(&readers[i], TOUCH, 2 * i);
	wait_requests(n);
	wait_asleep(&swap.room); /* the last, until it is its turn */
	assert_int_equal(stats_now().writing, 0);
	assert_true(swap_takes());
	assert_false(swap_is_busy());
	assert_false(swap_wait_written(~0ull));
	for (u64 i = 0; i < more + 5; i++)
		fill(160 + i);
	assert_int_equal(take(160, more + 5).writing, more);
	assert_int_equal(fake_disk_waiting(), SWAP_REQUESTS);
	assert_true(swap_is_busy());
	watermarks.low = watermarks.high = 1u << 20;
	watermarks.min = 1;
	assert_true(reclaim_help(NULL, 0));
	memset(&watermarks, 0, sizeof(watermarks));
	while (fake_disk_waiting()) {
		do_all();
		sched_yield();
	}
	for (u32 i = 0; i <= n; i++) {
		while (!__atomic_load_n(&readers[i].ended, __ATOMIC_ACQUIRE)) {
			do_all();
			sched_yield();
		}
		pthread_join(readers[i].thread, NULL);
	}
	assert_false(swap_wait_written(~0ull));
	fake_disk_hold(false);
}

static void *wait_main(void *arg)
{
	return (void *)(u64)swap_wait_written(~0ull);
}

/* An op that was reserved to write, and is not used: who waited for it goes on. */
static void a_write_that_was_none(void **state)
{
	pthread_t waiter;
	void *waited;

	assert_true(swap_op_reserve(true, 0));
	assert_int_equal(pthread_create(&waiter, NULL, wait_main, NULL), 0);
	wait_asleep(&swap.progress);
	swap_op_unreserve(true);
	pthread_join(waiter, &waited);
	assert_ptr_equal(waited, (void *)1);
	assert_false(swap_wait_written(~0ull));
}

static void *audit_main(void *arg)
{
	swap_audit();
	return NULL;
}

/* Who waits for all that is under way does not keep the next from its turn. */
static void one_waits_for_all(void **state)
{
	static struct other readers[SWAP_READS_MAX + 1];
	pthread_t audit;

	put_on_disk(64);
	for (u64 i = 0; i <= SWAP_READS_MAX; i++)
		fill(128 + i);
	assert_int_equal(take(128, 64).writing, 64);
	assert_int_equal(take(192, SWAP_READS_MAX + 1 - 64).writing, SWAP_READS_MAX + 1 - 64);
	watermarks.low = 1u << 20; /* nothing comes ahead */
	watermarks.wake = reclaim_wake;
	fake_disk_hold(true);
	for (u32 i = 0; i < SWAP_READS_MAX; i++)
		other_start(&readers[i], TOUCH, 128 + i);
	wait_requests(SWAP_READS_MAX);
	assert_int_equal(pthread_create(&audit, NULL, audit_main, NULL), 0);
	usleep(20000);
	other_start(&readers[SWAP_READS_MAX], TOUCH, 128 + SWAP_READS_MAX);
	usleep(20000);
	assert_true(fake_disk_do(NULL));
	wait_requests(SWAP_READS_MAX);
	for (u64 i = 0; i < 64; i++)
		assert_int_equal(gmem_drop(g, i), 0);
	do_all();
	for (u32 i = 0; i <= SWAP_READS_MAX; i++)
		pthread_join(readers[i].thread, NULL);
	pthread_join(audit, NULL);
	memset(&watermarks, 0, sizeof(watermarks));
}

static void a_full_disk(void **state)
{
	u64 writing = 0;

	for (u64 i = 0; i < 512; i++)
		fill(i);
	for (u32 i = 0; i < 8; i++)
		writing += take(i * 64, 64).writing;
	assert_int_equal(writing, BLOCKS - 1);
	assert_int_equal(stats_now().used, BLOCKS - 1);
	assert_false(swap_takes());
	verify(0);
	assert_true(swap_takes());
	for (u64 i = 0; i < 512; i++)
		verify(i);
}

/* What packs does not go to the disk, unless the pool has no memory. */
static void what_packs_is_packed(void **state)
{
	for (u32 i = 0; i < PAGE_SIZE; i++)
		page(0)[i] = (u8)(i % 32);
	assert_int_equal(take(0, 1).packed, 1);
	assert_int_equal(state_of(0), GMEM_PACKED);
	(void)page(0);
	hosted_fail_after(1);
	assert_int_equal(take(0, 1).writing, 1);
	hosted_fail_after(0);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	assert_int_equal(page(0)[100], 100 % 32);
}

static void no_frame_to_read_it_to(void **state)
{
	pfn_t pfn;

	put_on_disk(1);
	hosted_fail_after(1);
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), ERR_NOMEM);
	hosted_fail_after(0);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	watermarks.min = watermarks.low = 1u << 20;
	watermarks.wake = reclaim_wake;
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), ERR_NOMEM);
	memset(&watermarks, 0, sizeof(watermarks));
	verify(0);
}

/* Of neighbours that come ahead one finds no memory: the page itself does. */
static void no_frame_for_those_ahead(void **state)
{
	put_on_disk(4);
	hosted_fail_after(3);
	verify(0);
	hosted_fail_after(0);
	assert_int_equal(stats_now().read_ahead, 1);
	for (u64 i = 0; i < 4; i++)
		verify(i);
}

static void no_memory_to_attach(void **state)
{
	gmem_unref(g);
	g = NULL;
	swap_detach();
	for (u32 n = 1;; n++) {
		hosted_fail_after(n);
		if (swap_attach(&fake_disk, 5000, 1) == 0)
			break;
		assert_int_equal(free_now(), before);
	}
	hosted_fail_after(0);
	assert_int_equal(swap_attach(&fake_disk, 5000, 1), ERR_EXIST);
	swap_detach();
	assert_int_equal(swap_attach(&fake_disk, 1, 1), ERR_RANGE);
	assert_int_equal(swap_attach(&fake_disk, BLOCKS, 1), 0);
}

#define CELL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CELL(neighbours_come_ahead),	CELL(not_ahead_of_memory),
		CELL(not_ahead_of_max),		CELL(only_so_many_at_a_time),
		CELL(reads_leave_room),		CELL(a_write_that_was_none),
		CELL(one_waits_for_all),	CELL(a_full_disk),
		CELL(what_packs_is_packed),	CELL(no_frame_to_read_it_to),
		CELL(no_frame_for_those_ahead), CELL(no_memory_to_attach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
