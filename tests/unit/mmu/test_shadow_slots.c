/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_big.c tests/unit/mmu/shadow_live.c
   tests/unit/mmu/peek.c */
/*
 * A slot goes, or moves, and with it what shadow pages have of it: leaves, tables, roots, tables out of
 * step, direct pages. What is of other slots stays, and is not faulted in again.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"
#include "tests/unit/mmu/shadow_big.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"
#include "tests/unit/mmu/shadow_live.h"

#define AWAY	   0x10000ull /* gfn of the slot that goes */
#define ELSEWHERE  0x20080ull
#define AWAY_PAGES 600u
#define AWAY_ID	   3u
#define SHOWS_AWAY 6u	   /* entry of TABLE that leads to a page of the slot's */
#define IN_AWAY	   BIT(21) /* linear address of what the table in the slot leads to */

static struct gmem *away;

static void slot_comes(u64 base)
{
	assert_int_equal(memslot_create(&vm, AWAY_ID, GFN(base), AWAY_PAGES, away, 0, 0), 0);
}

static void slot_goes(void)
{
	assert_int_equal(memslot_delete(&vm, AWAY_ID), 0);
	grace();
	check_audit();
}

/* TABLE leads to a page in the slot; and a table in the slot to one that is not, and to one that is. */
static void lead_to(u64 base)
{
	entry(TABLE, SHOWS_AWAY, base + 5, MARKED);
	entry(3, 1, base, MARKED);
	entry(base, 0, DATA, MARKED);
	entry(base, 1, base + 6, MARKED);
}

static void reach_all(void)
{
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(shadow_access(gva_of(i), MMU_WRITE, NULL), 0);
	for (u32 i = 0; i < 2; i++)
		assert_int_equal(shadow_access(IN_AWAY + gva_of(i), MMU_WRITE, NULL), 0);
}

/* Which page of the slot's object is there; -1: none. */
static s64 page_of_away(u64 gva)
{
	u64 at;

	assert_int_equal(shadow_access(gva, MMU_READ, &at), 0);
	for (u32 i = 0; i < AWAY_PAGES; i++) {
		u64 e = gmem_entry(away, i);

		if (gmem_entry_state(e) == GMEM_GOT_PAGE && gmem_entry_pfn(e).v == at >> 12)
			return i;
	}
	return -1;
}

static int start(void **state)
{
	shadow_live_start(state);
	away = object_new(AWAY_PAGES);
	slot_comes(AWAY);
	lead_to(AWAY);
	reach_all();
	return 0;
}

static int end(void **state)
{
	gmem_unref(away);
	return shadow_guest_end(state);
}

/* What TABLE leads to in the other slot. */
static void others_stay(u64 faults)
{
	assert_int_equal(STAT(faults), faults);
	for (u32 i = 0; i < 8; i++) {
		if (i != SHOWS_AWAY)
			assert_int_equal(shadow_access(gva_of(i), MMU_WRITE, NULL), 0);
	}
	assert_int_equal(STAT(faults), faults);
}

/* --- What goes, and what stays --- */

static void others_take_no_fault(void **state)
{
	const struct shadow_page *root = vcpu.shadow.root[0],
				 *leaves = shadow_page_for_table(TABLE);
	u64 zapped = STAT(shadow_zapped), made = STAT(shadow_made), faults = STAT(faults);

	(void)state;
	slot_goes();
	assert_int_equal(STAT(shadow_zapped) - zapped, 1);
	assert_int_equal(shadow_pages_of(AWAY), 0);
	others_stay(faults);
	assert_int_equal(STAT(shadow_made), made);
	assert_ptr_equal(shadow_page_for_table(TABLE), leaves);
	assert_ptr_equal(vcpu.shadow.root[0], root);
	assert_false(root->invalid);
	assert_int_equal(shadow_access(gva_of(SHOWS_AWAY), MMU_READ, NULL), ERR_NOSLOT);
	assert_int_equal(shadow_access(IN_AWAY, MMU_READ, NULL), ERR_NOENT);
	slot_comes(AWAY);
	faults = STAT(faults);
	others_stay(faults);
	reach_all();
	assert_int_equal(STAT(shadow_made) - made, 1);
	check_audit();
}

/* A page that was put away, or shared, before its slot went: nobody knows its word any more. */
static void what_was_taken_before(void **state)
{
	struct shadow_page *leaves = shadow_page_for_table(TABLE);

	(void)state;
	assert_non_null(leaves->words[SHOWS_AWAY]);
	assert_int_equal(mmu_unmap(&vm, GFN(AWAY + 5), 1), 1);
	assert_null(leaves->words[SHOWS_AWAY]);
	slot_goes();
	entry(TABLE, SHOWS_AWAY, DATA + 50, MARKED);
	assert_int_equal(led_to(gva_of(SHOWS_AWAY)), DATA + 50);
}

/* Its words go with it, and its marks of tables do not. */
static void a_slot_that_moves(void **state)
{
	u64 zapped = STAT(shadow_zapped), faults = STAT(faults);

	(void)state;
	assert_int_equal(memslot_move(&vm, AWAY_ID, GFN(ELSEWHERE)), 0);
	grace();
	assert_int_equal(STAT(shadow_zapped) - zapped, 1);
	check_audit();
	others_stay(faults);
	assert_int_equal(shadow_access(gva_of(SHOWS_AWAY), MMU_READ, NULL), ERR_NOSLOT);
	assert_int_equal(shadow_access(IN_AWAY, MMU_READ, NULL), ERR_NOENT);
	assert_int_equal(small_count(ELSEWHERE), 0);
	lead_to(ELSEWHERE);
	reach_all();
	assert_int_equal(shadow_pages_of(ELSEWHERE), 1);
	assert_int_equal(small_count(ELSEWHERE), 1);
	check_audit();
}

/* Old and new place have gfns in common, with a table, a page that one shows, and one of these marks. */
static void a_slot_that_moves_a_little(void **state)
{
	u64 to = AWAY + 8;

	(void)state;
	entry(TABLE, 7, to + 2, MARKED);
	entry(3, 2, to, MARKED);
	entry(to, 0, to + 3, MARKED);
	assert_int_equal(page_of_away(gva_of(7)), 10);
	assert_int_equal(page_of_away(2 * BIT(21)), 11);
	assert_int_equal(memslot_move(&vm, AWAY_ID, GFN(to)), 0);
	grace();
	check_audit();
	assert_int_equal(shadow_pages_of(AWAY) + shadow_pages_of(to), 0);
	assert_int_equal(shadow_access(gva_of(SHOWS_AWAY), MMU_READ, NULL), ERR_NOSLOT);
	assert_int_equal(page_of_away(gva_of(7)), 2);
	/* What was eight pages on is there now. */
	entry(to, 0, to + 4, MARKED);
	assert_int_equal(page_of_away(2 * BIT(21)), 4);
	check_audit();
}

/* Its first 512 pages have nothing. */
static void a_table_beyond_them(void **state)
{
	(void)state;
	slot_goes();
	slot_comes(AWAY);
	entry(3, 2, AWAY + 590, MARKED);
	entry(AWAY + 590, 0, DATA, MARKED);
	assert_int_equal(led_to(2 * BIT(21)), DATA);
	assert_int_equal(shadow_pages_of(AWAY + 590), 1);
	slot_goes();
	assert_int_equal(shadow_pages_of(AWAY + 590), 0);
	assert_int_equal(shadow_access(2 * BIT(21), MMU_READ, NULL), ERR_NOENT);
}

/* They do not go all at once, under the lock. */
static void a_slot_with_many_tables(void **state)
{
	u64 zapped, flushes;
	u32 held;

	(void)state;
	for (u32 i = 0; i < 500; i++) {
		entry(3, 2 + i, AWAY + 10 + i, MARKED);
		entry(AWAY + 10 + i, 0, DATA, MARKED);
	}
	vm.shadow->limit = 1000;
	vm.shadow->limit_generation = vm.slots_generation;
	for (u32 i = 0; i < 500; i++)
		assert_int_equal(shadow_access((2ull + i) << 21, MMU_READ, NULL), 0);
	zapped = STAT(shadow_zapped);
	flushes = STAT(flushes);
	held = vm.mmu_lock.next;
	slot_goes();
	assert_int_equal(STAT(shadow_zapped) - zapped, 501);
	assert_true(vm.mmu_lock.next - held > 500 / SHADOW_ZAP_STEP);
	/* Nor one by one, each with a flush that all CPUs wait for; and the sweep's. */
	assert_in_range(STAT(flushes) - flushes, 1, 501 / SHADOW_ZAP_STEP + 4);
}

/* Each has two pages, and not all of the last one's have room in a step. */
static void a_slot_with_tables_of_two_pages(void **state)
{
	u64 zapped;

	(void)state;
	for (u32 i = 0; i < 100; i++) {
		entry(3, 2 + i, AWAY + 10 + i, MARKED);
		entry(3, 200 + i, AWAY + 10 + i, MARKED & ~W);
		entry(AWAY + 10 + i, 0, DATA, MARKED);
	}
	vm.shadow->limit = 1000;
	vm.shadow->limit_generation = vm.slots_generation;
	for (u32 i = 0; i < 100; i++) {
		assert_int_equal(shadow_access((2ull + i) << 21, MMU_READ, NULL), 0);
		assert_int_equal(shadow_access((200ull + i) << 21, MMU_READ, NULL), 0);
	}
	assert_int_equal(shadow_pages_of(AWAY + 10), 2);
	zapped = STAT(shadow_zapped);
	slot_goes();
	assert_int_equal(STAT(shadow_zapped) - zapped, 201);
}

/* --- Roots --- */

/* R25: a vCPU whose root was in the slot has none; the others keep theirs. */
static void a_root_in_the_slot(void **state)
{
	struct shadow_answer answer;
	struct mmu_vcpu other;
	struct guest_paging p = paging;
	u64 faults;

	(void)state;
	p.cr3 = (AWAY + 7) << 12;
	entry(AWAY + 7, 0, 2, MARKED);
	mmu_vcpu_init(&other, &vm);
	assert_int_equal(mmu_shadow_load(&other, &p), 0);
	assert_int_equal(mmu_shadow_fault(&other, &p, GVA(0), MMU_READ, &answer), 0);
	faults = STAT(faults);
	slot_goes();
	assert_true(other.shadow.root[0]->invalid);
	assert_false(vcpu.shadow.root[0]->invalid);
	others_stay(faults);
	assert_int_equal(mmu_shadow_fault(&other, &p, GVA(0), MMU_READ, &answer), ERR_NOENT);
	slot_comes(AWAY);
	assert_int_equal(mmu_shadow_fault(&other, &p, GVA(0), MMU_READ, &answer), 0);
	assert_false(other.shadow.root[0]->invalid);
	mmu_vcpu_destroy(&other);
}

/* --- Tables out of step --- */

/* One of another slot's stays so, and what it shows of this one goes. */
static void out_of_step_and_shows_it(void **state)
{
	u64 faults;

	(void)state;
	let_go(TABLE);
	assert_int_equal(shadow_access(gva_of(SHOWS_AWAY), MMU_READ, NULL), 0);
	faults = STAT(faults);
	slot_goes();
	assert_true(is_let_go(TABLE));
	others_stay(faults);
	assert_int_equal(shadow_access(gva_of(SHOWS_AWAY), MMU_READ, NULL), ERR_NOSLOT);
	assert_true(write_live(TABLE, SHOWS_AWAY, DATA + 50, MARKED));
	load();
	assert_false(is_let_go(TABLE));
	assert_int_equal(led_to(gva_of(SHOWS_AWAY)), DATA + 50);
}

static void out_of_step_and_in_it(void **state)
{
	u64 at, gva = WINDOW + gva_of(50);

	(void)state;
	entry(WINDOWS, 50, AWAY, MARKED);
	for (u32 n = 0; n < 5 && shadow_access(gva, MMU_WRITE, &at) == SHADOW_EMULATE; n++)
		entry(AWAY, 0, DATA, MARKED);
	assert_int_equal(vm.shadow->unsync_count, 1);
	slot_goes();
	assert_int_equal(vm.shadow->unsync_count, 0);
	assert_int_equal(shadow_access(gva, MMU_WRITE, NULL), ERR_NOSLOT);
	assert_int_equal(led_to(gva_of(0)), DATA);
}

/* --- In pages of 2 MiB, and without paging --- */

static int end_big(void **state)
{
	gmem_unref(away);
	return shadow_big_end(state);
}

static void leaves_of_2m(void **state)
{
	struct shadow_page *sp;
	u64 faults;

	(void)state;
	begin_with(large_object(BIG_PAGES));
	slot_of_big(BIG, 0, BIG_PAGES, 0);
	big_entry(4, BIG, MARKED);
	all_in_one(AT(4, 3), BIG + 3);
	sp = shadow_page_for_table(3);
	assert_non_null(sp->words[4]);
	faults = STAT(faults);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	grace();
	assert_ptr_equal(shadow_page_for_table(3), sp);
	assert_null(sp->words[4]);
	others_stay(faults);
	assert_int_equal(shadow_access(AT(4, 3), MMU_READ, NULL), ERR_NOSLOT);
}

/* What is there next may be mapped large, at both ends of a slot that begins in a region's middle. */
static void direct_pages(void **state)
{
	u64 faults, zapped;

	(void)state;
	begin_with(large_object(BIG_PAGES));
	no_paging();
	reaches(DATA << 12, DATA, MMU_WRITE);
	slot_of_big(BIG + 300, 300, 512, 0);
	small_at(BIG + 300);
	small_at(BIG + 600);
	faults = STAT(faults);
	zapped = STAT(shadow_zapped);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	assert_int_equal(STAT(shadow_zapped) - zapped, 2);
	/* Its root stands for all of that gigabyte. */
	assert_false(vcpu.shadow.root[0]->invalid);
	reaches(DATA << 12, DATA, MMU_WRITE);
	assert_int_equal(STAT(faults), faults);
	slot_of_big(BIG, 0, BIG_PAGES, 0);
	all_in_one((BIG + 1) << 12, BIG + 1);
	all_in_one((BIG + 513) << 12, BIG + 513);
}

/* --- What the audit finds --- */

static void audit_of_slots(void **state)
{
	struct shadow_page *leaves = shadow_page_for_table(TABLE);
	u64 *word = leaves->word;
	u32 *small = leaves->small;

	(void)state;
	leaves->words[9] = leaves->words[SHOWS_AWAY];
	audit_says("keeps the word of a leaf");
	leaves->words[9] = NULL;
	leaves->word = rmap_word(slot_of(AWAY), GFN(AWAY));
	audit_says("of a slot that is gone");
	leaves->word = word;
	leaves->small++;
	audit_says("of a slot that is gone");
	leaves->small = small;
	leaves->gfn = GFN(AWAY + AWAY_PAGES);
	audit_says("of a slot that is gone");
	leaves->gfn = GFN(TABLE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(others_take_no_fault),
		TEST(what_was_taken_before),
		TEST(a_slot_that_moves),
		TEST(a_slot_that_moves_a_little),
		TEST(a_table_beyond_them),
		TEST(a_slot_with_many_tables),
		TEST(a_slot_with_tables_of_two_pages),
		TEST(a_root_in_the_slot),
		TEST(out_of_step_and_shows_it),
		TEST(out_of_step_and_in_it),
		cmocka_unit_test_setup_teardown(leaves_of_2m, start, end_big),
		cmocka_unit_test_setup_teardown(direct_pages, start, end_big),
		TEST(audit_of_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
