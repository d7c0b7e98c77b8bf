/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * What was promised to a VM that has frames of packed contents alone, which others have left: they are
 * its own, and nothing is kept for copies of them, until another comes.
 */
#include "tests/unit/mem/reclaim_groups.h"

/*
 * a and b have these packed, and both read them; c, of their group, has more in one frame than all of
 * that, so that what sharing saves bounds nothing.
 */
static void both_read(u64 pages)
{
	struct vm *all[] = {&a, &b, &c};
	pfn_t pfn;

	unmake(&c);
	make(&c, 1, 0);
	fill(&a, 0, pages, true);
	fill(&b, 0, pages, true);
	fill_equal(&c, 0, 3 * PROMISED, 77777, true);
	pack_and_show(all, 3, 0, pages);
	for (u64 at = pages; at < 3 * PROMISED; at++)
		assert_int_equal(gmem_get_page(c.g, at, false, &pfn), 0);
	assert_true(share_saved(1) >= pages + 3 * PROMISED - 3 * FEW);
	assert_in_range(gmem_borrowed(a.g), pages - FEW, pages);
}

static void b_drops(void)
{
	assert_int_equal(gmem_drop_range(b.g, 0, PROMISED, NULL), 0);
}

static void b_writes(void)
{
	assert_int_equal(writes(&b, PROMISED), PROMISED);
}

static void b_ends(void)
{
	unmake(&b);
	make(&b, 1, 0);
}

/* Packed it could read them in a's frames again at any time. */
static void b_cools(void)
{
	for (u64 i = 0; i < PROMISED; i++)
		(void)take_range(b.g, i, 1);
	assert_in_range(in_state(&b, GMEM_PACKED), PROMISED - FEW, PROMISED);
	assert_in_range(gmem_lacks(a.g), PROMISED - FEW, PROMISED);
	b_drops();
}

/* Who has the frames of packed contents alone lacks nothing, and nothing is kept for copies of them. */
static void left_alone_with_what_is_packed(void **state)
{
	static void (*const leaves[])(void) = {b_drops, b_writes, b_ends, b_cools};

	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++) {
		if (i) {
			(void)teardown(state);
			(void)setup(state);
		}
		both_read(PROMISED);
		reclaim_count_owed();
		assert_in_range(watermarks.owed, PROMISED - FEW, PROMISED);
		leaves[i]();
		assert_in_range(gmem_lacks(a.g), 0, FEW);
		reclaim_count_owed();
		assert_in_range(watermarks.owed, 0, FEW);
	}
}

/* Another who comes to have them brings a frame, which is kept for the copies from then on. */
static void joined_again(void **state)
{
	u64 lacks;

	(void)state;
	both_read(PROMISED);
	b_drops();
	reclaim_count_owed();
	fill(&b, 0, PROMISED, true);
	for (u64 i = 0; i < PROMISED; i++)
		(void)take_range(b.g, i, 1);
	lacks = gmem_lacks(a.g);
	assert_in_range(lacks, PROMISED - FEW, PROMISED);
	assert_true(watermarks.owed >= lacks);
	leave_free(PROMISED + 200);
	use_up();
	reclaim_count_owed();
	for (u64 i = 0; i < PROMISED; i++) {
		pfn_t pfn;

		assert_int_equal(gmem_get_page(b.g, i, false, &pfn), 0);
	}
	assert_in_range(writes(&a, PROMISED), PROMISED - FEW, PROMISED);
}

/* What goes of frames that it had alone is what it lacks then, also beside frames of others. */
static void alone_and_cooled(void **state)
{
	(void)state;
	both_read(2 * PROMISED);
	b_drops();
	reclaim_count_owed();
	assert_in_range(a.g->alone, PROMISED - FEW, PROMISED);
	assert_in_range(watermarks.owed, 0, FEW);
	assert_int_equal(gmem_lacks(a.g), 0);
	for (u64 i = 0; i < PROMISED; i++) {
		(void)take_range(a.g, i, 1);
		/* At once, not when the next goes. */
		assert_true(a.g->owed >= gmem_lacks(a.g));
	}
	assert_int_equal(a.g->alone, 0);
	assert_in_range(gmem_lacks(a.g), PROMISED - FEW, PROMISED);
	assert_in_range(watermarks.owed, PROMISED - 2 * FEW, PROMISED + FEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(left_alone_with_what_is_packed, setup, teardown),
		cmocka_unit_test_setup_teardown(joined_again, setup, teardown),
		cmocka_unit_test_setup_teardown(alone_and_cooled, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
