/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* What min= promises is kept, and no more is promised than there is. */
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "tests/unit/mem/reclaim_vms.h"

static void promises_are_kept(void **state)
{
	make_vm(0, 500, &(struct reclaim_terms){.min = 321, .max = ANY, .shares = 1});
	make_vm(1, 500, &(struct reclaim_terms){.max = ANY, .shares = 1000000});
	for (u32 i = 0; i < 200 && help(NULL); i++)
		assert_true(resident(0) >= 321);
	assert_int_equal(resident(0), 321);
	assert_int_equal(resident(1), 0);
	assert_false(help(NULL));
}

/* Who has less than was promised to him gets it where others get nothing. */
static void promises_come_from_the_reserve(void **state)
{
	pfn_t pfn;

	make_vm(0, 10, &(struct reclaim_terms){.min = 12, .max = ANY, .shares = 1});
	watermarks.min = frame_free_estimate() + 100;
	assert_int_equal(gmem_get_page(vms[0].g, 10, true, &pfn), 0);
	assert_int_equal(gmem_get_page(vms[0].g, 11, true, &pfn), 0);
	assert_int_equal(gmem_get_page(vms[0].g, 12, true, &pfn), ERR_NOMEM);
	watermarks.min = 1;
}

/* What was promised and not touched yet is kept, also from those whose pages do not go again. */
static void promises_are_kept_free(void **state)
{
	u64 i = 0, j = 0;
	pfn_t pfn;

	make_vm(0, 0, &(struct reclaim_terms){.min = 1500, .max = ANY, .shares = 100});
	make_vm(1, 0, &(struct reclaim_terms){.max = ANY, .shares = 100});
	watermarks.min = free_now() - 2500;
	watermarks.low = watermarks.high = watermarks.min + 1;
	watermarks.wake = nobody;
	while (i < PAGES && gmem_get_page(vms[1].g, i, true, &pfn) == 0)
		touch(&vms[1], i++, false);
	assert_in_range(i, 900, 1000);
	for (u32 n = 0; n < 100; n++)
		(void)help(NULL);
	for (; j < 1500; j++)
		assert_int_equal(gmem_get_page(vms[0].g, j, true, &pfn), 0);
	/* It has what it was promised, and is one like others. */
	(void)help(NULL);
	assert_int_equal(watermarks.owed, 0);
	for (; j < PAGES && gmem_get_page(vms[0].g, j, true, &pfn) == 0; j++)
		;
	assert_in_range(j, 1500, 1600);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, 1000, NULL), 0);
	(void)help(NULL);
	assert_in_range(watermarks.owed, 900, 1000);
}

/*
 * From the moment on that it is given back, too: others that come before anybody counts get none of
 * it.
 */
static void promises_are_kept_when_given_back(void **state)
{
	u64 i = 0;
	pfn_t pfn;

	make_vm(0, 0, &(struct reclaim_terms){.min = 1500, .max = ANY, .shares = 100});
	make_vm(1, 0, &(struct reclaim_terms){.max = ANY, .shares = 100});
	for (u64 j = 0; j < 1600; j++)
		touch(&vms[0], j, false);
	leave_free(500);
	watermarks = (struct watermarks){.min = 10, .low = 20, .high = 30, .wake = nobody};
	(void)help(NULL);
	assert_int_equal(watermarks.owed, 0);
	/* What it has beyond it is free for all. */
	assert_int_equal(gmem_drop_range(vms[0].g, 0, 50, NULL), 0);
	assert_int_equal(watermarks.owed, 0);
	assert_int_equal(gmem_drop_range(vms[0].g, 50, 1050, NULL), 0);
	assert_int_equal(watermarks.owed, 1000);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, 1100, NULL), 0);
	assert_int_equal(watermarks.owed, 1000);
	/* What it gets again and gives back again is not kept for it once more each time. */
	for (u32 round = 0; round < 5; round++) {
		for (u64 j = 0; j < 100; j++)
			touch(&vms[0], j, false);
		assert_int_equal(gmem_drop_range(vms[0].g, 0, 100, NULL), 0);
		assert_int_equal(watermarks.owed, 1000);
	}
	while (i < PAGES && gmem_get_page(vms[1].g, i, true, &pfn) == 0)
		touch(&vms[1], i++, false);
	assert_in_range(i, 400, 700);
	for (u64 j = 0; j < 1000; j++)
		assert_int_equal(gmem_get_page(vms[0].g, j, true, &pfn), 0);
	(void)help(NULL);
	assert_int_equal(watermarks.owed, 0);
	/* Nothing is promised to what is nobody's any more. */
	reclaim_remove(&vms[0].target);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, PAGES, NULL), 0);
	assert_int_equal(watermarks.owed, 0);
	give_ballast_back();
}

/* What there is to promise does not change with what is in use. */
static void room(void **state)
{
	struct reclaim_room r;

	reclaim_get_room(&r);
	assert_int_equal(r.total, before - watermarks.min);
	assert_int_equal(r.promised, 0);
	make_vm(0, 700, &(struct reclaim_terms){.max = ANY, .shares = 1, .costs = 300});
	make_vm(1, 200, &(struct reclaim_terms){.max = ANY, .shares = 1, .costs = 11});
	reclaim_get_room(&r);
	assert_int_equal(r.total, before - watermarks.min);
	assert_int_equal(r.promised, 311);
	reclaim_remove(&vms[0].target);
	reclaim_get_room(&r);
	assert_int_equal(r.promised, 11);
}

/*
 * What was taken since the beginning is not there for VMs, but guests' pages, which count for
 * themselves.
 */
static void room_beside_the_swap_disk(void **state)
{
	struct reclaim_room r;

	for (; ballast_count < 150; ballast_count++)
		assert_int_equal(
			frame_alloc(0, ballast_count < 100 ? FRAME_FOR(SWAP) : FRAME_FOR(GUEST),
				    &ballast[ballast_count]),
			0);
	reclaim_memory_is_known();
	reclaim_get_room(&r);
	assert_int_equal(r.total, before - 100 - watermarks.min);
	give_ballast_back();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(promises_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_come_from_the_reserve, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_are_kept_free, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_are_kept_when_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(room, setup, teardown),
		cmocka_unit_test_setup_teardown(room_beside_the_swap_disk, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
