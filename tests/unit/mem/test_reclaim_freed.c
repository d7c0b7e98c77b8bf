/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * What comes free as pages are taken, before anybody counts anew: efforts of other vCPUs are under
 * way at once, and a guest takes what they free. What VMs lack more of their promises by it is kept.
 */
#include "tests/unit/mem/reclaim_groups.h"

/* Part of an effort, before its end. */
static u64 take(const struct vm *vm, u64 first, u64 pages)
{
	struct gmem_taken t = {0};
	u64 marked[GMEM_LARGE_PAGES / 64];

	memset(marked, 0xff, sizeof(marked));
	gmem_take(vm->g, first, pages, marked, &t);
	return t.freed;
}

/* Whose contents others come to show has less of its own from then on. */
static void freed_by_merging(void **state)
{
	u64 freed;

	(void)state;
	fill(&a, 0, PROMISED, false);
	assert_int_equal(take(&a, 0, PROMISED), 0);
	assert_int_equal(gmem_lacks(a.g), 0);
	fill(&b, 0, PROMISED, false);
	leave_free(100);
	reclaim_count_owed();
	assert_int_equal(watermarks.owed, 0);
	/* Some were evicted from the table by others of their bucket. */
	freed = take(&b, 0, PROMISED);
	assert_in_range(freed, PROMISED - FEW, PROMISED);
	assert_int_equal(watermarks.owed, freed);
	use_up();
	assert_int_equal(gmem_lacks(a.g), freed);
	reclaim_count_owed();
	assert_in_range(watermarks.copies[1], freed - FEW, freed);
	assert_in_range(writes(&a, PROMISED), PROMISED - FEW, PROMISED);
}

/* The same in one VM: two pages of it have one frame then. */
static void freed_by_its_own(void **state)
{
	(void)state;
	fill_equal(&a, 0, PROMISED, 123456, false);
	leave_free(100);
	reclaim_count_owed();
	assert_int_equal(watermarks.owed, 0);
	assert_int_equal(take(&a, 0, PROMISED), PROMISED - 1);
	assert_int_equal(watermarks.owed, PROMISED - 1);
	use_up();
	reclaim_count_owed();
	assert_in_range(writes(&a, PROMISED), PROMISED - FEW, PROMISED);
}

/* Others may have what comes free where nobody of the group was promised any. */
static void groups_without_promises(void **state)
{
	(void)state;
	unmake(&b);
	make(&b, 2, 0);
	fill(&b, 0, PROMISED, false);
	fill(&c, 0, PROMISED, false);
	assert_int_equal(take(&b, 0, PROMISED), 0);
	reclaim_count_owed();
	assert_int_equal(watermarks.owed, PROMISED);
	assert_in_range(take(&c, 0, PROMISED), PROMISED - FEW, PROMISED);
	assert_int_equal(watermarks.owed, PROMISED);
	/* Nor after the end of who was. */
	fill(&a, 0, 100, false);
	assert_int_equal(take(&a, 0, 100), 0);
	reclaim_remove(&a.target);
	unmake(&b);
	make(&b, 1, 0);
	fill(&b, 0, 100, false);
	assert_in_range(take(&b, 0, 100), 100 - FEW, 100);
	assert_int_equal(watermarks.owed, 0);
}

/* What was kept, and is lacked by nobody, is free for all at the end of an effort. */
static void kept_too_much(void **state)
{
	(void)state;
	fill(&a, 0, 2 * PROMISED, false);
	help(100);
	assert_int_equal(watermarks.owed, 0);
	fill(&b, 0, PROMISED, false);
	help(1);
	assert_true(share_saved(1) >= RECLAIM_BATCH);
	assert_int_equal(gmem_lacks(a.g), 0);
	assert_int_equal(watermarks.owed, 0);
}

/* Who waits gets what merging frees, one effort after the other, but for what is promised of that. */
static void who_waits_gets_the_rest(void **state)
{
	u64 got = ELSEWHERE;
	pfn_t pfn;

	(void)state;
	fill(&a, 0, 2 * PROMISED, false);
	help(100);
	fill(&b, 0, 2 * PROMISED, false);
	leave_free(100);
	for (u32 i = 0; i < 100; i++) {
		for (; gmem_get_page(c.g, got, true, &pfn) == 0; got++)
			fill(&c, got, 1, false);
		help(1);
	}
	assert_in_range(share_saved(1), 2 * PROMISED - FEW, 2 * PROMISED);
	assert_in_range(got - ELSEWHERE, PROMISED - FEW, PROMISED + FEW);
	assert_in_range(writes(&a, PROMISED), PROMISED - FEW, PROMISED);
}

/* What a VM takes from itself at its max= it may have back, also where that is min=. */
static void freed_at_max(void **state)
{
	(void)state;
	fill(&a, 0, PROMISED, true);
	__atomic_store_n(&a.g->resident_max, PROMISED, __ATOMIC_RELAXED);
	leave_free(100);
	reclaim_count_owed();
	assert_int_equal(watermarks.owed, 0);
	assert_int_equal(take(&a, 0, PROMISED), PROMISED);
	assert_int_equal(watermarks.owed, PROMISED);
	use_up();
	assert_int_equal(writes(&a, PROMISED), PROMISED);
	/* Not once more for each time. */
	assert_int_equal(take(&a, 0, PROMISED), PROMISED);
	assert_int_equal(watermarks.owed, PROMISED);
}

/* Likewise pages of frames that were shown to others, who have gone. */
static void cooled_at_max(void **state)
{
	struct vm *both[] = {&a, &b};
	u64 kept;
	pfn_t pfn;

	(void)state;
	fill(&a, 0, PROMISED, true);
	fill(&b, 0, PROMISED, true);
	pack_and_show(both, 2, 0, PROMISED);
	assert_int_equal(gmem_drop_range(b.g, 0, PROMISED, NULL), 0);
	assert_in_range(in_state(&a, GMEM_SHARED), PROMISED - FEW, PROMISED);
	leave_free(100);
	reclaim_count_owed();
	kept = watermarks.owed;
	assert_in_range(kept, 0, FEW);
	assert_in_range(take(&a, 0, PROMISED), PROMISED - FEW, PROMISED);
	assert_in_range(watermarks.owed, PROMISED - FEW, PROMISED + kept);
	use_up();
	for (u64 i = 0; i < PROMISED; i++)
		assert_int_equal(gmem_get_page(a.g, i, false, &pfn), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(freed_by_merging, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_by_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(groups_without_promises, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_too_much, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_gets_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_at_max, setup, teardown),
		cmocka_unit_test_setup_teardown(cooled_at_max, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
