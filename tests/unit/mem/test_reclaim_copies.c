/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * What was promised to VMs whose pages are in frames with others: who writes to one needs a frame,
 * and that is kept for him as far as it was promised.
 */
#include "tests/unit/mem/reclaim_groups.h"

/* Of two that have the same each has what it was promised in frames of its own. */
static void both_are_promised(void **state)
{
	(void)state;
	unmake(&b);
	make(&b, 1, PROMISED);
	fill(&a, 0, PROMISED + 1, false);
	fill(&b, 0, PROMISED + 1, false);
	help(100);
	leave_free(300);
	use_up();
	assert_true(writes(&a, PROMISED + 1) >= PROMISED);
	assert_true(writes(&b, PROMISED + 1) >= PROMISED);
}

/* Of each frame that two have one needs another, whoever comes to write. */
static void no_more_is_kept_than_is_saved(void **state)
{
	(void)state;
	unmake(&b);
	make(&b, 1, PROMISED);
	fill(&a, 0, 2 * PROMISED, false);
	fill(&b, 0, 2 * PROMISED, false);
	help(200);
	/* Beyond what was promised all goes. */
	assert_in_range(share_saved(1), PROMISED - FEW, PROMISED + 1);
	assert_in_range(watermarks.owed, 0, 2);
	a.target.terms.min = b.target.terms.min = 2 * PROMISED;
	help(1);
	assert_int_equal(watermarks.owed, share_saved(1));
}

/* What one gives up to another's frame is kept for copies, so far as that was promised to it. */
static void kept_for_copies(void **state)
{
	u64 saved;

	(void)state;
	fill(&a, 0, 2 * PROMISED, false);
	help(100);
	assert_in_range(in_state(&a, GMEM_SHARED), 2 * PROMISED - FEW, 2 * PROMISED);
	/* Alone in its frames: nothing is owed to it. */
	assert_int_equal(share_saved(1), 0);
	assert_int_equal(watermarks.owed, 0);
	fill(&b, 0, 2 * PROMISED, false);
	help(100);
	saved = share_saved(1);
	assert_in_range(saved, 2 * PROMISED - FEW, 2 * PROMISED);
	assert_int_equal(watermarks.owed, saved - PROMISED);
	leave_free(PROMISED + 300);
	use_up();
	/* Nobody else gets them. */
	assert_in_range(writes(&b, 2 * PROMISED), 0, FEW);
	/* Then it has what it was promised, and is one like others. */
	assert_in_range(writes(&a, 2 * PROMISED), PROMISED, PROMISED + FEW);
	assert_in_range(gmem_borrowed(a.g), PROMISED - FEW, PROMISED);
	help(1);
	assert_int_equal(watermarks.owed, 0);
	/* What it gives back of that is kept for it again. */
	assert_int_equal(gmem_drop_range(a.g, 0, 100, NULL), 0);
	assert_in_range(watermarks.owed, 100 - FEW, 100);
}

/* What it gives back of frames that it had alone is what it lacks, not what others have of it. */
static void alone_and_dropped(void **state)
{
	(void)state;
	fill(&a, 0, 2 * PROMISED, false);
	help(100);
	fill(&b, 0, PROMISED - FEW, false);
	help(100);
	assert_in_range(a.g->alone, PROMISED, PROMISED + 2 * FEW);
	assert_int_equal(gmem_lacks(a.g), 0);
	assert_int_equal(gmem_drop_range(a.g, PROMISED, PROMISED, NULL), 0);
	assert_in_range(gmem_lacks(a.g), PROMISED - 3 * FEW, PROMISED);
	assert_in_range(a.g->owed, gmem_lacks(a.g), PROMISED + FEW);
}

/* It may have them for what is new, too: pages, and the words that lead to them. */
static void kept_for_new_pages(void **state)
{
	(void)state;
	all_is_shared();
	leave_free(PROMISED + 200);
	use_up();
	fill(&a, ELSEWHERE, PROMISED - FEW, false);
}

/* Counted anew they may be enough for who waits, though nothing else can be taken. */
static void told_of_what_is_kept(void **state)
{
	(void)state;
	all_is_shared();
	for (u32 i = 0; reclaim_help(&a.target, 0); i++) {
		hosted_clock_set(now_ns += 50000000);
		assert_true(i < 1000);
	}
	watermarks.copies[1] = 0;
	assert_true(reclaim_help(&a.target, 0));
	assert_in_range(watermarks.copies[1], PROMISED - FEW, PROMISED);
	/* Nor is it told so again as long as there are some, which it has no use for, or who lacks none. */
	assert_false(reclaim_help(&a.target, 0));
	watermarks.copies[1] = 0;
	assert_false(reclaim_help(&b.target, 0));
}

/* Also where it has all that it may have: a copy is no page more, and no room is made for it. */
static void told_of_what_is_kept_at_max(void **state)
{
	u64 own;

	(void)state;
	all_is_shared();
	fill(&a, ELSEWHERE, 100, true);
	__atomic_store_n(&a.g->resident_max, a.g->resident, __ATOMIC_RELAXED);
	own = reclaim.stats.own;
	watermarks.copies[1] = 0;
	assert_true(reclaim_help(&a.target, 0));
	assert_int_equal(reclaim.stats.own, own);
	assert_in_range(watermarks.copies[1], PROMISED - 100 - FEW, PROMISED);
	/* What it wants may be a page more. */
	(void)reclaim_help(&a.target, 0);
	assert_int_equal(reclaim.stats.own, own + 1);
}

/* Where there are too few each group has its part. */
static void parts_of_groups(void **state)
{
	(void)state;
	unmake(&c);
	make(&c, 2, PROMISED);
	fill_equal(&c, 0, PROMISED, 123456, false);
	c.target.terms.min = 0;
	all_is_shared();
	c.target.terms.min = PROMISED;
	leave_free(PROMISED + 75);
	reclaim_count_owed();
	assert_in_range(watermarks.owed, 2 * PROMISED - FEW, 2 * PROMISED);
	assert_in_range(watermarks.copies[1], PROMISED / 2 - FEW, PROMISED / 2 + FEW);
	assert_in_range(watermarks.copies[1] + watermarks.copies[2], PROMISED - FEW, PROMISED);
}

/* What Weir held of a page that has gone since is the other's alone, which lacks nothing by that. */
static void held_and_dropped(void **state)
{
	u64 of_a;
	pfn_t pfn;

	(void)state;
	all_is_shared();
	of_a = a.g->alone;
	assert_in_range(b.g->alone, 0, FEW);
	for (u64 i = 0; i < PROMISED; i++) {
		assert_int_equal(gmem_hold(a.g, i, false, &pfn), 0);
		assert_int_equal(gmem_drop_range(a.g, i, 1, NULL), 0);
		gmem_release(a.g, i, pfn, false);
	}
	assert_in_range(a.g->alone, 0, of_a);
	assert_int_equal(b.g->alone, in_state(&b, GMEM_SHARED));
	assert_in_range(b.g->alone, PROMISED - FEW, PROMISED);
	assert_int_equal(gmem_borrowed(b.g), 0);
}

/* Of what a has, none of which packs; and c outside was promised as much. */
static void half_of_it_equal(void)
{
	unmake(&c);
	make(&c, 2, PROMISED);
	fill(&a, 0, PROMISED, false);
	fill_equal(&a, PROMISED, PROMISED, 123456, false);
	a.target.terms.min = 0; /* so that all of them are tried */
	help(300);
	a.target.terms.min = PROMISED;
}

/*
 * What others of its group share with each other is nothing that it lacks: whose pages are in frames
 * of its own gets no more, and nothing of what was promised to a VM outside.
 */
static void what_others_share_is_not_borrowed(void **state)
{
	struct vm *only_b = &b;

	(void)state;
	half_of_it_equal();
	assert_in_range(in_state(&a, GMEM_SHARED), 2 * PROMISED - FEW, 2 * PROMISED);
	fill_equal(&b, 0, 3 * PROMISED, 77, true);
	pack_and_show(&only_b, 1, 0, 3 * PROMISED);
	assert_true(share_saved(1) >= 3 * PROMISED);
	help(1);
	/* That Weir reads a page for its guest gives the frame to nobody else. */
	for (u64 i = 0; i < PROMISED; i++) {
		pfn_t pfn;

		assert_int_equal(gmem_hold(a.g, i, false, &pfn), 0);
		gmem_release(a.g, i, pfn, false);
	}
	assert_in_range(gmem_borrowed(a.g), PROMISED - FEW, PROMISED);
	assert_in_range(gmem_lacks(a.g), 0, FEW);
	leave_free(PROMISED + 200);
	/* Some 100 of them are anybody's. */
	assert_in_range(writes(&a, 2 * PROMISED), PROMISED, PROMISED + 100 + FEW);
	fill(&c, 0, PROMISED, false);
}

/* No copy comes out of what is kept for pages that were promised, whatever a VM seems to lack. */
static void copies_leave_what_was_promised(void **state)
{
	struct vm *both[] = {&a, &b};
	pfn_t pfn;

	(void)state;
	half_of_it_equal();
	fill(&a, 0, PROMISED, true);
	fill(&b, 0, PROMISED, true);
	fill_equal(&b, PROMISED, 3 * PROMISED, 77, true);
	pack_and_show(both, 2, 0, PROMISED);
	for (u64 at = PROMISED; at < 4 * PROMISED; at++)
		assert_int_equal(gmem_get_page(b.g, at, false, &pfn), 0);
	assert_in_range(in_state(&a, GMEM_SHARED), 2 * PROMISED - FEW, 2 * PROMISED);
	assert_true(gmem_lacks(a.g) > PROMISED / 2);
	leave_free(PROMISED + 200);
	for (u32 i = 0; i < 10; i++) {
		assert_in_range(writes_from(&a, PROMISED, PROMISED), 0, 200);
		reclaim_count_owed();
	}
	fill(&c, 0, PROMISED, false);
}

/* Nor do copies of who has less than it was promised: they make it have no page more. */
static void copies_of_who_is_owed_pages(void **state)
{
	const u64 has = PROMISED * 3 / 5;

	(void)state;
	unmake(&c);
	make(&c, 2, PROMISED);
	fill(&a, 0, has, false);
	fill(&b, 0, has, false);
	a.target.terms.min = 0;
	help(200);
	a.target.terms.min = PROMISED;
	assert_in_range(share_saved(1), has - FEW, has);
	leave_free(PROMISED + 100);
	reclaim_count_owed();
	assert_in_range(writes(&a, has), 0, FEW);
	fill(&c, 0, PROMISED, false);
}

/* What is kept for copies goes to no page that comes back to be read: it is none of its own. */
static void read_pages_take_no_copies(void **state)
{
	u64 read = 0, own = 0;
	pfn_t pfn;

	(void)state;
	fill(&a, 0, PROMISED, false);
	fill(&b, 0, 2 * PROMISED, false);
	fill(&a, ELSEWHERE, 2 * PROMISED, true);
	fill(&b, ELSEWHERE, 2 * PROMISED, true);
	fill_equal(&b, PAGES - 2 * PROMISED, 2 * PROMISED, 77, true);
	a.target.terms.min = 0;
	help(400);
	a.target.terms.min = PROMISED;
	/* What is saved bounds nothing here. */
	for (u64 i = PAGES - 2 * PROMISED; i < PAGES; i++)
		assert_int_equal(gmem_get_page(b.g, i, false, &pfn), 0);
	assert_true(share_saved(1) >= 3 * PROMISED - FEW);
	assert_in_range(in_state(&a, GMEM_PACKED), 2 * PROMISED - FEW, 2 * PROMISED);
	assert_in_range(gmem_lacks(a.g), PROMISED - FEW, PROMISED);
	leave_free(PROMISED + 200);
	for (u64 i = 0; i < 2 * PROMISED; i++) {
		if (i % 100 == 0)
			reclaim_count_owed();
		read += gmem_get_page(a.g, ELSEWHERE + i, false, &pfn) == 0;
	}
	assert_in_range(read, 0, 200 + FEW);
	/* b's of the same contents may not have been tried. */
	for (u64 i = ELSEWHERE; i < ELSEWHERE + 2 * PROMISED; i++)
		own += gmem_entry_state(gmem_entry(a.g, i)) == GMEM_GOT_PAGE;
	assert_in_range(own, 0, FEW);
	assert_in_range(own + writes(&a, PROMISED), PROMISED - FEW, PROMISED + FEW);
}

/*
 * But where it comes in a frame of its own, read or not, for nobody else has the contents: one word
 * all over, or packed by it alone.
 */
static void read_pages_of_its_own(void **state)
{
	const u64 words = ELSEWHERE, packed = ELSEWHERE + 200;
	pfn_t pfn;

	(void)state;
	for (u64 i = words; i < packed; i++) {
		assert_int_equal(gmem_get_page(a.g, i, true, &pfn), 0);
		for (u32 n = 0; n < PAGE_SIZE / 8; n++)
			((u64 *)pfn_to_virt(pfn))[n] = 1;
	}
	fill(&a, packed, 200, true);
	all_is_shared();
	assert_int_equal(in_state(&a, GMEM_FILLED), 200);
	assert_int_equal(in_state(&a, GMEM_PACKED), 200);
	leave_free(PROMISED + 100);
	use_up();
	reclaim_count_owed();
	for (u64 i = words; i < packed + 200; i++)
		assert_int_equal(gmem_get_page(a.g, i, false, &pfn), 0);
	/* Each of them one that it lacks no more, but for those that anybody would have got. */
	assert_in_range(gmem_lacks(a.g), PROMISED - 400 - FEW, PROMISED - 400);
	assert_in_range(watermarks.copies[1], PROMISED - 400 - FEW, PROMISED - 400 + FEW);
}

/* Two that give back what they shared are kept what each was promised, not what sharing saved. */
static void given_back_by_both(void **state)
{
	struct vm *both[] = {&a, &b};

	(void)state;
	unmake(&b);
	make(&b, 1, PROMISED);
	fill(&a, 0, PROMISED, true);
	fill(&b, 0, PROMISED, true);
	pack_and_show(both, 2, 0, PROMISED);
	reclaim_count_owed();
	assert_in_range(watermarks.owed, PROMISED - FEW, PROMISED);
	/* No more than it gave. */
	assert_int_equal(gmem_drop_range(b.g, 0, 10, NULL), 0);
	assert_in_range(watermarks.owed, PROMISED - FEW, PROMISED + 10);
	assert_int_equal(gmem_drop_range(b.g, 10, PROMISED - 10, NULL), 0);
	assert_int_equal(gmem_drop_range(a.g, 0, PROMISED, NULL), 0);
	assert_true(watermarks.owed >= 2 * PROMISED);
	reclaim_count_owed();
	assert_int_equal(watermarks.owed, 2 * PROMISED);
}

/* Of what is promised nothing goes; what others have, too, goes all the same. */
static void shared_ones_go_first(void **state)
{
	u64 own = 0;
	pfn_t pfn;

	(void)state;
	fill(&b, 0, 100, true);
	fill(&a, 0, 100, true);
	fill(&a, ELSEWHERE, PROMISED, true);
	a.target.terms.min = 0; /* so that all of them go */
	help(100);
	a.target.terms.min = PROMISED;
	for (u64 i = 0; i < 100; i++) {
		assert_int_equal(gmem_get_page(a.g, i, false, &pfn), 0);
		assert_int_equal(gmem_get_page(b.g, i, false, &pfn), 0);
	}
	for (u64 i = 0; i < PROMISED; i++)
		assert_int_equal(gmem_get_page(a.g, ELSEWHERE + i, true, &pfn), 0);
	assert_int_equal(a.g->resident, PROMISED + 100);
	assert_in_range(gmem_borrowed(a.g), 100 - FEW, 100);
	help(100);
	assert_in_range(a.g->resident, PROMISED, PROMISED + 10);
	assert_in_range(in_state(&a, GMEM_SHARED), 0, 10);
	for (u64 i = 0; i < PROMISED; i++)
		own += gmem_entry_state(gmem_entry(a.g, ELSEWHERE + i)) == GMEM_GOT_PAGE;
	assert_true(own >= PROMISED - 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_are_promised, setup, teardown),
		cmocka_unit_test_setup_teardown(no_more_is_kept_than_is_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_for_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(alone_and_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_for_new_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(told_of_what_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(told_of_what_is_kept_at_max, setup, teardown),
		cmocka_unit_test_setup_teardown(parts_of_groups, setup, teardown),
		cmocka_unit_test_setup_teardown(held_and_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(what_others_share_is_not_borrowed, setup, teardown),
		cmocka_unit_test_setup_teardown(copies_leave_what_was_promised, setup, teardown),
		cmocka_unit_test_setup_teardown(copies_of_who_is_owed_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(read_pages_take_no_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(read_pages_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(given_back_by_both, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_ones_go_first, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
