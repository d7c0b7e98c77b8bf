/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * Whose pages go: several objects with shares, promises and bounds of their own. No guest maps
 * anything: what is said to be used is used.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/reclaim_vms.h"

/* Rounds in which nobody needs memory. */
static void pass_time(u32 rounds)
{
	for (u32 i = 0; i < rounds; i++) {
		struct reclaim_effort e = {.ages = 1000};

		hosted_clock_set(now_ns += 1000000000);
		(void)reclaim_age(&e);
	}
}

static void by_shares(void **state)
{
	make_vm(0, 1500, &(struct reclaim_terms){.max = ANY, .shares = 100});
	make_vm(1, 1500, &(struct reclaim_terms){.max = ANY, .shares = 300});
	vms[0].used = vms[1].used = PAGES;
	help_until_left(1200);
	/* 1 to 3, of frames and of what the packed ones take: 64 bytes or so each. */
	assert_in_range(resident(0), 200, 400);
	assert_in_range(resident(1), 800, 1000);
}

static void idle_memory_is_taxed(void **state)
{
	make_vm(0, 1500, &(struct reclaim_terms){.max = ANY, .shares = 100});
	make_vm(1, 1500, &(struct reclaim_terms){.max = ANY, .shares = 100});
	vms[0].used = 10;
	vms[1].used = 1000;
	pass_time(60);
	assert_int_equal(vms[0].target.working_set, 10);
	assert_int_equal(vms[1].target.working_set, 1000);
	help_until_left(1600);
	/* U + 4 (P - U) of one is as much as of the other: 428 and 1172. */
	assert_in_range(resident(0), 380, 480);
	for (u64 i = 0; i < 10; i++) /* and of its pages the used ones are the last */
		assert_int_equal(gmem_entry_state(gmem_entry(vms[0].g, i)), GMEM_GOT_PAGE);
	for (u64 i = 0; i < 1000; i++)
		assert_int_equal(gmem_entry_state(gmem_entry(vms[1].g, i)), GMEM_GOT_PAGE);
}

/* A VM that has all it may have makes room itself, though memory is there; no other gives for it. */
static void bound_to(u64 min)
{
	pfn_t pfn;

	watermarks.low = watermarks.high = 1; /* enough for all */
	make_vm(0, 100, &(struct reclaim_terms){.min = min, .max = 100, .shares = 1});
	make_vm(1, 500, &(struct reclaim_terms){.max = ANY, .shares = 1});
	assert_int_equal(gmem_get_page(vms[0].g, 100, true, &pfn), ERR_NOMEM);
	assert_true(help(&vms[0].target));
	assert_in_range(resident(0), 36, 99);
	assert_int_equal(resident(1), 500);
	assert_int_equal(gmem_get_page(vms[0].g, 100, true, &pfn), 0);
	/* Where nothing of its own goes it waits. */
	for (u64 i = 0; resident(0) < 100; i++)
		touch(&vms[0], 1000 + i, false);
	while (help(&vms[0].target)) {
		for (u64 i = 0; resident(0) < 100; i++)
			touch(&vms[0], 1200 + i, false);
	}
	assert_int_equal(resident(1), 500);
}

static void bound_to_max(void **state)
{
	bound_to(0);
}

/* What it was promised is what others leave to it. */
static void bound_to_what_is_promised(void **state)
{
	bound_to(100);
}

/* R38: below min guests get nothing, but the pool grows: memory is made. */
static void the_pool_grows_below_min(void **state)
{
	struct pool_stats pool;
	pfn_t pfn;

	make_vm(0, 600, &(struct reclaim_terms){.max = ANY, .shares = 1});
	watermarks.min = 1u << 20;
	assert_int_equal(gmem_get_page(vms[0].g, 700, true, &pfn), ERR_NOMEM);
	assert_true(help(&vms[0].target));
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 64);
	assert_true(pool.frames > 0);
	assert_int_equal(gmem_get_page(vms[0].g, 700, true, &pfn), ERR_NOMEM);
	watermarks.min = 1;
	assert_int_equal(vms[0].g->in_state[GMEM_PACKED], 64);
	assert_in_range(vms[0].g->packed_bytes, 64, 64 * 200);
	for (u64 i = 0; i < 600; i++)
		assert_int_equal(gmem_get_page(vms[0].g, i, true, &pfn), 0);
	assert_int_equal(vms[0].g->in_state[GMEM_PACKED], 0);
	assert_int_equal(vms[0].g->packed_bytes, 0);
}

/* A page that was taken comes back where a first touch is refused, down to half of min. */
static void comes_back_below_min(void **state)
{
	pfn_t pfn;

	make_vm(0, 600, &(struct reclaim_terms){.max = ANY, .shares = 1});
	assert_true(help(&vms[0].target));
	assert_int_equal(vms[0].g->in_state[GMEM_PACKED], 64);
	watermarks.min = frame_free_estimate() + 100;
	assert_int_equal(gmem_get_page(vms[0].g, 700, true, &pfn), ERR_NOMEM);
	for (u64 i = 0; i < 600; i++)
		assert_int_equal(gmem_get_page(vms[0].g, i, true, &pfn), 0);
	assert_true(help(&vms[0].target));
	watermarks.min = 2 * frame_free_estimate() + 2;
	for (u64 i = 0; i < 600; i++) {
		if (gmem_entry_state(gmem_entry(vms[0].g, i)) == GMEM_PACKED)
			assert_int_equal(gmem_get_page(vms[0].g, i, true, &pfn), ERR_NOMEM);
	}
	watermarks.min = 1;
}

/* A few frames that nobody can have are no help: who waits for more is told that there is nothing. */
static void a_trickle_is_no_help(void **state)
{
	make_vm(0, 7, &(struct reclaim_terms){.max = ANY, .shares = 1});
	watermarks.min = free_now() + 100;
	assert_false(help(NULL));
	assert_int_equal(resident(0), 0);
	for (u64 i = 0; i < 7; i++)
		touch(&vms[0], i, true);
	watermarks.min = frame_free_estimate() - 20;
	assert_true(help(NULL));
	for (u64 i = 0; i < 7; i++)
		touch(&vms[0], i, true);
	watermarks.min = 1;
}

#define CPUS 6u

/* What CPUs have at hand is fetched before it is said that there is nothing. */
static void what_cpus_keep(void **state)
{
	u64 estimate;
	pfn_t pfn;

	make_vm(0, 2, &(struct reclaim_terms){.min = 2, .max = ANY, .shares = 1});
	leave_free(2000);
	for (u32 cpu = 0; cpu < CPUS; cpu++) {
		hosted_cpu_set(cpu);
		for (u32 i = 0; i < 64; i++)
			frame_free(ballast[--ballast_count], 0);
	}
	hosted_cpu_set(0);
	estimate = frame_free_estimate();
	watermarks.wake = nobody;
	watermarks.min = estimate + 200;
	assert_int_equal(gmem_get_page(vms[0].g, 2, true, &pfn), ERR_NOMEM);
	assert_true(help(NULL));
	assert_true(frame_free_estimate() > estimate + 200);
	assert_int_equal(gmem_get_page(vms[0].g, 2, true, &pfn), 0);
	assert_int_equal(gmem_drop(vms[0].g, 2), 0);
	/* Not what does not help: it would be found again and again. */
	for (u32 i = 0; i < 32; i++)
		frame_free(ballast[--ballast_count], 0);
	watermarks.min = free_now() + 1;
	assert_false(help(NULL));
	watermarks.min = 1;
	give_ballast_back();
}

static u64 pages_aged(void)
{
	return __atomic_load_n(&reclaim.stats.aged, __ATOMIC_RELAXED);
}

/* One that has much to look at does not keep others from being looked at, effort by effort. */
static void efforts_are_bounded(void **state)
{
	struct gmem *wide;
	static struct reclaim_target target;
	struct reclaim_terms terms = {.max = ANY, .shares = 1};
	u32 efforts = 0;

	assert_int_equal(gmem_create(1000 * GMEM_LARGE_PAGES, &wide), 0);
	reclaim_add(&target, wide, &terms);
	for (u64 i = 0; i < 1000; i++) {
		pfn_t pfn;

		assert_int_equal(gmem_get_page(wide, i * GMEM_LARGE_PAGES, true, &pfn), 0);
	}
	make_vm(0, 200, &(struct reclaim_terms){.max = ANY, .shares = 1});
	while (resident(0) == 200) {
		u64 aged = pages_aged();

		assert_true(help(NULL));
		aged = pages_aged() - aged;
		assert_in_range(aged, 0, 63 + 200); /* a page in each 2 MiB but one */
		assert_true(++efforts < 100);
	}
	reclaim_remove(&target);
	gmem_unref(wide);
}

/* Nothing goes: it is said, however much there is to look at, and whoever takes part. */
static void says_that_nothing_goes(void **state)
{
	struct gmem *wide;
	static struct reclaim_target target;
	struct reclaim_terms terms = {.max = ANY, .shares = 1};
	u32 efforts = 0;

	assert_int_equal(gmem_create(1000 * GMEM_LARGE_PAGES, &wide), 0);
	reclaim_add(&target, wide, &terms);
	vms[0].g = wide;
	for (u64 i = 0; i < 1000; i++)
		touch(&vms[0], i * GMEM_LARGE_PAGES, false);
	vms[0].g = NULL;
	while (help(NULL))
		assert_true(++efforts < 200);
	assert_false(help(NULL));
	/* What can be taken is found all the same, and then it is said again. */
	make_vm(0, 200, &(struct reclaim_terms){.max = ANY, .shares = 1});
	for (efforts = 0; resident(0); efforts++) {
		(void)help(NULL);
		assert_true(efforts < 100);
	}
	for (efforts = 0; help(NULL); efforts++)
		assert_true(efforts < 200);
	/* So it is of what has a bound of its own. */
	__atomic_store_n(&wide->resident_max, wide->resident, __ATOMIC_RELAXED);
	for (efforts = 0; help(&target); efforts++)
		assert_true(efforts < 200);
	reclaim_remove(&target);
	gmem_unref(wide);
}

static u32 splits_of_a_round(void)
{
	struct reclaim_effort e = {.ages = 1000, .splits = 4};

	splits = 0;
	hosted_clock_set(now_ns += 1000000000);
	(void)reclaim_age(&e);
	return splits;
}

/* A split takes frames: not the last, which are there for making memory. */
static void no_split_out_of_the_reserve(void **state)
{
	make_vm(0, GMEM_LARGE_PAGES, &(struct reclaim_terms){.max = ANY, .shares = 1});
	vms[0].used = PAGES;
	watermarks.min = 2 * frame_free_estimate() + 2;
	assert_int_equal(splits_of_a_round(), 0);
	watermarks.min = 1;
	assert_int_equal(splits_of_a_round(), 1);
}

static u64 take_old(void)
{
	struct reclaim_effort e = {.want = RECLAIM_BATCH, .tries = 512, .looks = BIT(18)};

	reclaim_take(&e, 1);
	return e.freed;
}

/* A disk that takes no more at the moment: what is old stays known, for when it does again. */
static void old_while_the_disk_is_busy(void **state)
{
	fake_disk_init(PAGES);
	assert_int_equal(swap_attach(&fake_disk, PAGES, 4711), 0);
	fake_disk_hold(true);
	make_vm(0, 0, &(struct reclaim_terms){.max = ANY, .shares = 1});
	for (u64 i = 0; i < 3 * RECLAIM_BATCH; i++)
		touch(&vms[0], i, false);
	pass_time(1);
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(take_old(), RECLAIM_BATCH);
		assert_int_equal(take_old(), 0);
		while (fake_disk_do(NULL))
			;
	}
	assert_int_equal(resident(0), 0);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, PAGES, NULL), 0);
	swap_detach();
}

static void *write_later(void *arg)
{
	usleep(50000);
	while (fake_disk_do(NULL))
		;
	return NULL;
}

/* Nor does a VM at its max wait in vain while the disk writes what it gave. */
static void at_max_while_the_disk_is_busy(void **state)
{
	pthread_t writer;

	fake_disk_init(PAGES);
	assert_int_equal(swap_attach(&fake_disk, PAGES, 4711), 0);
	fake_disk_hold(true);
	make_vm(0, 0, &(struct reclaim_terms){.max = 100, .shares = 1});
	for (u64 i = 0; i < 100; i++)
		touch(&vms[0], i, false);
	assert_true(help(&vms[0].target));
	for (u64 i = 100; resident(0) < 100; i++)
		touch(&vms[0], i, false);
	pthread_create(&writer, NULL, write_later, NULL);
	assert_true(help(&vms[0].target));
	pthread_join(writer, NULL);
	fake_disk_hold(false);
	assert_true(help(&vms[0].target));
	assert_int_equal(gmem_drop_range(vms[0].g, 0, PAGES, NULL), 0);
	swap_detach();
}

/* More than half of memory free at all times is nothing that guests could live with. */
static void watermarks_that_cannot_be(void **state)
{
	struct frame_stats frames;
	struct reclaim_options o = {.min = 1, .low = 1, .tax = 75};

	frame_get_stats(&frames);
	o.high = frames.total / 2;
	reclaim_set_watermarks(&o);
	assert_int_equal(watermarks.min, 1);
	assert_int_equal(watermarks.high, frames.total / 2);
	o.high++;
	reclaim_set_watermarks(&o);
	assert_true(watermarks.min > 1 && watermarks.min < watermarks.low);
	assert_true(watermarks.low < watermarks.high);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(watermarks_that_cannot_be, setup, teardown),
		cmocka_unit_test_setup_teardown(by_shares, setup, teardown),
		cmocka_unit_test_setup_teardown(idle_memory_is_taxed, setup, teardown),
		cmocka_unit_test_setup_teardown(bound_to_max, setup, teardown),
		cmocka_unit_test_setup_teardown(bound_to_what_is_promised, setup, teardown),
		cmocka_unit_test_setup_teardown(the_pool_grows_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(comes_back_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(a_trickle_is_no_help, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cpus_keep, setup, teardown),
		cmocka_unit_test_setup_teardown(efforts_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(says_that_nothing_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(no_split_out_of_the_reserve, setup, teardown),
		cmocka_unit_test_setup_teardown(old_while_the_disk_is_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(at_max_while_the_disk_is_busy, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
