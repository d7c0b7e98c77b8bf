/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_live.c */
/*
 * Tables that the guest writes itself, their shadow pages being out of step: which are not let go,
 * what becomes of them as their own pages, or those that they show, are taken, logged or protected,
 * and which are no tables any more.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"
#include "tests/unit/mmu/shadow_live.h"

/* --- What ends it, and what forbids it --- */

/* One that is a table of a higher level, too, comes back, and is not let go. */
static void a_table_of_two_levels(void **state)
{
	u64 gone;

	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	entry(DATA + 50, 0, DATA, MARKED);
	entry(2, 1, TABLE, MARKED);
	assert_int_equal(led_to(GIB(1)), DATA);
	assert_false(is_let_go(TABLE));
	assert_int_equal(led_to(0), DATA + 50);
	gone = STAT(shadow_let_go);
	for (u32 n = 0; n < 3; n++)
		assert_false(write_live(TABLE, 7, DATA + 7, MARKED));
	assert_int_equal(STAT(shadow_let_go), gone);
	assert_int_equal(shadow_pages_of(TABLE), 0); /* as any other: no table for now */
}

static void tables_of_higher_levels_stay_in_step(void **state)
{
	(void)state;
	entry(WINDOWS, 3, 3, MARKED);
	assert_int_equal(led_to(0), DATA);
	for (u32 n = 0; n < 3; n++)
		(void)write_live(3, 7, 0, 0);
	assert_false(is_let_go(3));
	assert_int_equal(STAT(shadow_let_go), 0);
}

/* The table's own page is moved: it is written by a new mapping, and no less read by Weir. */
static void the_tables_page_is_taken(void **state)
{
	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	gmem_invalidate_begin(ram, TABLE, 1);
	gmem_unmap(ram, TABLE, 1);
	/* Nobody can read it: what it has is not known, and goes. */
	load();
	gmem_invalidate_end(ram, TABLE, 1);
	assert_false(is_let_go(TABLE));
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(led_to(gva_of(i)), i ? DATA + i : DATA + 50);
	let_go(TABLE);
	gmem_invalidate_begin(ram, TABLE, 1);
	gmem_unmap(ram, TABLE, 1);
	gmem_invalidate_end(ram, TABLE, 1);
	assert_true(is_let_go(TABLE));
	assert_true(write_live(TABLE, 0, DATA, MARKED));
	drop_address(0);
	assert_int_equal(led_to(0), DATA);
}

/* R21: it is an ordinary page that is written. */
static void the_tables_page_is_logged(void **state)
{
	u64 dirty[RAM_PAGES / 64];

	(void)state;
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY), 0);
	let_go(TABLE);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, dirty, RAM_PAGES / 64), 0);
	assert_true(dirty[0] & BIT(TABLE));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, dirty, RAM_PAGES / 64), 0);
	assert_false(dirty[0] & BIT(TABLE));
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, dirty, RAM_PAGES / 64), 0);
	assert_true(dirty[0] & BIT(TABLE));
}

static void the_tables_page_is_protected(void **state)
{
	u64 done;

	(void)state;
	let_go(TABLE);
	assert_int_equal(mmu_range_protect(&vm, GFN(TABLE), 1, true, &done), 0);
	assert_int_equal(shadow_access(WINDOW + (TABLE << 12), MMU_WRITE, NULL), ERR_PERM);
	assert_int_equal(mmu_range_protect(&vm, GFN(TABLE), 1, false, &done), 0);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
}

/* What an entry out of step leads to is found by its reverse map all the same. */
static void what_stale_entries_lead_to_is_taken(void **state)
{
	u64 at;

	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	gmem_invalidate_begin(ram, DATA, 1);
	assert_int_equal(gmem_unmap(ram, DATA, 1), 1);
	gmem_invalidate_end(ram, DATA, 1);
	assert_false(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
	assert_int_equal(led_to(0), DATA + 50);
}

/*
 * A stale entry that allows a write is one of the page that it shows, should that become a table.
 */
static void a_stale_entry_shows_a_new_table(void **state)
{
	u64 at;

	(void)state;
	assert_int_equal(shadow_access(0, MMU_WRITE, NULL), 0);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	entry(DATA, 0, DATA + 1, MARKED);
	entry(3, 2, DATA, MARKED);
	assert_int_equal(led_to(2ull << 21), DATA + 1);
	assert_int_equal(led_to(0), DATA); /* still, but it is not written there */
	assert_int_equal(shadow_access(0, MMU_WRITE, &at), 0);
	assert_int_equal(at >> 12, frame_of_page(DATA + 50));
}

static void slots_go(void **state)
{
	(void)state;
	let_go(TABLE);
	shadow_zap_all(&vm);
	assert_int_equal(vm.shadow->unsync_count, 0);
	assert_false(is_let_go(TABLE));
	assert_int_equal(led_to(0), DATA);
	let_go(TABLE);
	assert_int_equal(mmu_shadow_let_write(&vcpu, GFN(TABLE), 0), 0);
	assert_int_equal(vm.shadow->unsync_count, 0);
}

/* --- What goes --- */

/* Pages that are no tables any more would be looked at for ever: nothing leads to this one, */
static void one_that_nothing_leads_to_goes(void **state)
{
	(void)state;
	let_go(TABLE);
	entry(3, 0, 0, 0);
	load();
	assert_int_equal(shadow_pages_of(TABLE), 0);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
}

/* this one leads nowhere, */
static void one_that_leads_nowhere_goes(void **state)
{
	(void)state;
	let_go(TABLE);
	for (u32 i = 0; i < 8; i++)
		assert_true(write_live(TABLE, i, 0, 0));
	load();
	assert_int_equal(shadow_pages_of(TABLE), 0);
}

/* and this one is written and not used. */
static void one_that_is_only_written_goes(void **state)
{
	u32 n;

	(void)state;
	assert_int_equal(led_to(0), DATA);
	for (n = 0; n < 20 && shadow_pages_of(TABLE); n++) {
		for (u32 i = 0; i < 4; i++)
			(void)write_live(TABLE, 7, DATA + 7, MARKED);
		load();
	}
	assert_in_range(n, 3, 8);
	/* Had it been used it would have stayed. */
	for (n = 0; n < 20; n++) {
		assert_int_equal(led_to(gva_of(2)), DATA + 2);
		assert_int_equal(led_to(gva_of(n % 2)), DATA + n % 2);
		for (u32 i = 0; i < 4; i++)
			(void)write_live(TABLE, n % 2, DATA + n % 2, MARKED & ~A);
		load();
		assert_int_equal(shadow_pages_of(TABLE), 1);
	}
}

/* --- The audit --- */

static void the_audit_looks_at_it(void **state)
{
	u64 *word = rmap_word(ram_slot(), GFN(TABLE)), *other;

	(void)state;
	let_go(TABLE);
	assert_null(mmu_audit(&vm));
	*word ^= RMAP_UNSYNC;
	assert_non_null(mmu_audit(&vm));
	*word ^= RMAP_UNSYNC;
	vm.shadow->unsync_count++;
	assert_non_null(mmu_audit(&vm));
	vm.shadow->unsync_count--;
	other = rmap_word(ram_slot(), GFN(3));
	*other |= RMAP_UNSYNC;
	assert_non_null(mmu_audit(&vm));
	*other &= ~RMAP_UNSYNC;
	assert_null(mmu_audit(&vm));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, shadow_live_start, shadow_guest_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_table_of_two_levels),	       TEST(tables_of_higher_levels_stay_in_step),
		TEST(the_tables_page_is_taken),	       TEST(the_tables_page_is_logged),
		TEST(the_tables_page_is_protected),    TEST(what_stale_entries_lead_to_is_taken),
		TEST(a_stale_entry_shows_a_new_table), TEST(slots_go),
		TEST(one_that_nothing_leads_to_goes),  TEST(one_that_leads_nowhere_goes),
		TEST(one_that_is_only_written_goes),   TEST(the_audit_looks_at_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
