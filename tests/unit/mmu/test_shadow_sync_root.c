/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_live.c
   tests/unit/mmu/chain_reads.c */
/* unit-libs: -Wl,--wrap=rmap_spte_of_many -Wl,--wrap=rmap_next_of_many */
/*
 * Tables that the guest writes itself, and several roots: a flush brings back what the vCPU's own root
 * leads to, by whatever way, and of the others what nothing leads to; all, where they become many.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/chain_reads.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"
#include "tests/unit/mmu/shadow_live.h"

#define ROOT  20u /* a tree of its own: 21 and 22 below it, 23 is its table of the last level */
#define OTHER 23u
#define MANY  200u /* tables from here on */
#define WAYS  11u  /* by so many tables, and by so many entries of each */

static struct mmu_vcpu second;
static struct guest_paging its;

/* It is at its own tree, and has used it. */
static int start(void **state)
{
	struct shadow_answer answer;

	shadow_live_start(state);
	for (u32 table = ROOT; table < OTHER; table++)
		entry(table, 0, table + 1, MARKED);
	entry(OTHER, 0, DATA + 5, MARKED);
	its = paging;
	its.cr3 = ROOT << 12;
	mmu_vcpu_init(&second, &vm);
	assert_int_equal(mmu_shadow_load(&second, &its), 0);
	assert_int_equal(mmu_shadow_fault(&second, &its, GVA(0), MMU_READ, &answer), 0);
	return 0;
}

static int end(void **state)
{
	mmu_vcpu_destroy(&second);
	return shadow_guest_end(state);
}

static void second_flushes(void)
{
	assert_int_equal(mmu_shadow_load(&second, &its), 0);
}

/* Another process's flush is no reason to protect the table again. */
static void what_it_does_not_lead_to_stays(void **state)
{
	u64 synced;

	(void)state;
	let_go(TABLE);
	synced = STAT(shadow_synced);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	second_flushes();
	its.cr3 = 24 << 12; /* a root that it makes */
	second_flushes();
	its.cr3 = ROOT << 12; /* one that it finds */
	second_flushes();
	assert_true(is_let_go(TABLE));
	assert_int_equal(STAT(shadow_synced), synced);
	assert_true(write_live(TABLE, 1, DATA + 51, MARKED));
	assert_int_equal(led_to(0), DATA);
	load();
	assert_false(is_let_go(TABLE));
	assert_int_equal(led_to(0), DATA + 50);
	assert_int_equal(led_to(gva_of(1)), DATA + 51);
}

/* Nothing is met that was stale when its own root was loaded: from that of another process, too. */
static void back_from_another_root(void **state)
{
	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	paging.cr3 = ROOT << 12;
	load();
	assert_true(is_let_go(TABLE));
	assert_int_equal(led_to(0), DATA + 5);
	paging.cr3 = 1 << 12;
	load();
	assert_false(is_let_go(TABLE));
	assert_int_equal(led_to(0), DATA + 50);
}

/* As a kernel's tables are below the root of each process. */
static void what_several_roots_lead_to(void **state)
{
	struct shadow_answer answer;
	u64 at;

	(void)state;
	entry(ROOT, 256, 2, MARKED);
	assert_int_equal(led_to(0), DATA);
	assert_int_equal(
		mmu_shadow_fault(&second, &its, GVA(0xffff800000000000), MMU_READ, &answer), 0);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	second_flushes();
	assert_false(is_let_go(TABLE));
	assert_true(shadow_cpu(&second, &its, 0xffff800000000000, MMU_READ, &at));
	assert_int_equal(at >> 12, frame_of_page(DATA + 50));
}

/* One of the four of PAE leads there. */
static void any_of_the_roots_of_pae(void **state)
{
	(void)state;
	paging.efer = EFER_NXE;
	paging.pdpte[0] = 22 << 12 | P;
	paging.pdpte[3] = 3 << 12 | P;
	load();
	assert_int_equal(led_to(0), DATA + 5);
	entry(3, 511, WINDOWS, MARKED);
	assert_int_equal(led_to(GIB(3)), DATA);
	for (u32 n = 0; n < 3; n++) {
		u64 at, gva = GIB(3) + WINDOW + (TABLE << 12) + 8;

		if (shadow_access(gva, MMU_WRITE, &at) == SHADOW_EMULATE)
			entry(TABLE, 1, DATA + 1, MARKED);
	}
	assert_true(is_let_go(TABLE));
	second_flushes();
	assert_true(is_let_go(TABLE));
	load();
	assert_false(is_let_go(TABLE));
}

/* R04: a tree that is found for another entry, and has none of them below it. */
static void a_tree_that_is_in_step_is_linked_at_once(void **state)
{
	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	entry(1, 3, 21, MARKED);
	assert_int_equal(led_to(3ull << 39), DATA + 5);
	assert_true(is_let_go(TABLE));
	/* And one that has. */
	entry(1, 4, 2, MARKED);
	assert_int_equal(led_to(4ull << 39 | gva_of(1)), DATA + 1);
	assert_false(is_let_go(TABLE));
	assert_int_equal(led_to(4ull << 39), DATA + 50);
}

/* Of pages without a way to them no root's flush would be the right one. */
static void one_that_nothing_leads_to_goes(void **state)
{
	(void)state;
	let_go(TABLE);
	entry(3, 0, 0, 0);
	second_flushes();
	assert_int_equal(shadow_pages_of(TABLE), 0);
	assert_int_equal(vm.shadow->unsync_count, 0);
}

static void many_tables(u32 from, u32 count)
{
	for (u32 i = from; i < from + count; i++) {
		entry(WINDOWS, MANY + i, MANY + i, MARKED);
		entry(3, 100 + i, MANY + i, MARKED);
		entry(MANY + i, 0, DATA, MARKED);
		assert_int_equal(led_to((100ull + i) << 21), DATA);
		for (u32 n = 0; n < 3; n++)
			(void)write_live(MANY + i, 1, DATA + 1, MARKED);
	}
}

/* Those of processes that do not run would take all places: others' tables would find none. */
static void many_are_brought_back_by_any_flush(void **state)
{
	const u32 half = SHADOW_UNSYNC_MAX / 2;

	(void)state;
	many_tables(0, half);
	second_flushes();
	assert_int_equal(vm.shadow->unsync_count, half);
	many_tables(half, 1);
	assert_int_equal(vm.shadow->unsync_count, half + 1);
	second_flushes();
	assert_int_equal(vm.shadow->unsync_count, 0);
}

/* No flush takes the lock for what a root leads to that nobody loads any more, but for a while. */
static void others_are_not_passed_by_for_ever(void **state)
{
	const u32 tables = SHADOW_UNSYNC_MAX / 2;
	u32 taken;

	(void)state;
	many_tables(0, tables);
	for (u32 n = 1; n < SHADOW_PASSED_MAX; n++)
		second_flushes();
	assert_int_equal(vm.shadow->unsync_count, tables);
	for (u32 left = tables; left-- > 0;) {
		second_flushes();
		assert_int_equal(vm.shadow->unsync_count, left);
		assert_int_equal(is_let_go(MANY + tables - 1), left > 0); /* the oldest go first */
	}
	taken = vm.mmu_lock.next;
	second_flushes();
	drop_address(0);
	assert_int_equal(vm.mmu_lock.next, taken);
	for (u32 i = 0; i < tables; i++)
		assert_int_equal(led_to((100ull + i) << 21 | gva_of(1)), DATA + 1);
}

/* From when it was let go: before that it was back. */
static void how_often_one_was_passed_by(void **state)
{
	(void)state;
	for (u32 round = 0; round < 2; round++) {
		let_go(TABLE);
		assert_true(write_live(TABLE, 0, DATA + 50 + round, MARKED));
		for (u32 n = 1; n < SHADOW_PASSED_MAX; n++)
			second_flushes();
		assert_true(is_let_go(TABLE));
		load();
		assert_false(is_let_go(TABLE));
		assert_int_equal(led_to(0), DATA + 50 + round);
	}
}

/* Ways beyond a bound are not gone by: it may be that the root leads there. */
static void a_page_with_many_ways_to_it(void **state)
{
	(void)state;
	for (u32 i = 0; i < WAYS; i++) {
		entry(2, 1 + i, 300 + i, MARKED);
		for (u32 n = 0; n < WAYS; n++)
			entry(300 + i, n, TABLE, MARKED);
	}
	for (u32 i = 0; i < WAYS * WAYS; i++)
		assert_int_equal(led_to((1ull + i / WAYS) << 30 | (u64)(i % WAYS) << 21), DATA);
	/* The second tree's root leads to none of these. */
	let_go(TABLE);
	chain_reads = 0;
	second_flushes();
	assert_true(is_let_go(TABLE));
	/* No chain is gone by from its first again for each of them. */
	assert_in_range(chain_reads, WAYS * WAYS, 2 * WAYS * WAYS);
	/* Each of them has eight ways more above it. */
	for (u32 i = 0; i < 8; i++)
		entry(1, 100 + i, 2, MARKED);
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(led_to((100ull + i) << 39), DATA);
	let_go(TABLE);
	second_flushes();
	assert_false(is_let_go(TABLE));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_it_does_not_lead_to_stays),
		TEST(back_from_another_root),
		TEST(what_several_roots_lead_to),
		TEST(any_of_the_roots_of_pae),
		TEST(a_tree_that_is_in_step_is_linked_at_once),
		TEST(one_that_nothing_leads_to_goes),
		TEST(many_are_brought_back_by_any_flush),
		TEST(others_are_not_passed_by_for_ever),
		TEST(how_often_one_was_passed_by),
		TEST(a_page_with_many_ways_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
