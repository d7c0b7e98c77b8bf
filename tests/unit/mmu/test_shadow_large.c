/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_big.c tests/unit/mmu/peek.c */
/*
 * Pages of 2 MiB in shadow tables: where the guest has one, or no paging; what keeps a region from
 * being mapped so, tables of the guest's among it; with which rights. The audit is looked at after
 * each test.
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

/* --- Where --- */

static void in_each_mode(void **state)
{
	(void)state;
	begin_with(large_object(BIG_PAGES));
	slot_of_big(BIG, 0, BIG_PAGES, 0);
	big_entry(5, BIG + 512, MARKED);
	all_in_one(AT(5, 100), BIG + 512 + 100);
	/* PAE. */
	paging.efer = EFER_NXE;
	paging.pdpte[1] = 3 << 12 | PRESENT;
	load();
	all_in_one(GIB(1) + AT(5, 511), BIG + 512 + 511);
	/* 4 MiB, of which each half is one. */
	put((10ull << 12) + 4 * 3, BIG << 12 | MARKED | PS, 4);
	paging.cr4 = CR4_PSE;
	paging.cr3 = 10 << 12;
	load();
	all_in_one(3 * MIB(4) + MIB(2) + 0x5000, BIG + 512 + 5);
	all_in_one(3 * MIB(4), BIG);
	no_paging();
	all_in_one((BIG + 1024 + 9) << 12, BIG + 1024 + 9);
	all_in_one(BIG << 12, BIG);
	assert_int_equal(STAT(mapped_large), 6);
}

/* 1 GiB of the guest's, of which a part is memory. */
static void in_a_gibibyte(void **state)
{
	(void)state;
	begin_with(large_object(BIG_PAGES));
	slot_of_big(BIG, 0, BIG_PAGES, 0);
	entry(2, 4, 0, MARKED | PS);
	reaches(GIB(4) + (BIG << 12), BIG, MMU_READ);
	all_in_one(GIB(4) + (BIG << 12) + MIB(2), BIG + 512);
	assert_int_equal(STAT(mapped_large), 2);
	assert_int_equal(shadow_access(GIB(4) + ((BIG + BIG_PAGES) << 12), MMU_READ, NULL),
			 ERR_NOSLOT);
}

/* Pages that came one by one, and lie as one: the last makes it so. */
static void with_the_last_page(void **state)
{
	(void)state;
	begin_with(object_new(1024));
	slot_of_big(BIG, 0, 1024, 0);
	no_paging();
	for (u64 i = 0; i < 511; i++)
		reaches((BIG + i) << 12, BIG + i, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	all_in_one((BIG + 511) << 12, BIG + 511);
	/* What stood for them is out: one spte shows them. */
	assert_true(rmap_empty(word_of(BIG + 3)));
	assert_int_equal(STAT(mapped_large), 1);
}

/* The same below a page of 2 MiB of the guest's, as most guests have their memory. */
static void with_the_last_page_of_the_guest_s(void **state)
{
	(void)state;
	begin_with(object_new(1024));
	slot_of_big(BIG, 0, 1024, 0);
	big_entry(1, BIG, MARKED);
	for (u64 i = 0; i < 511; i++)
		reaches(AT(1, i), BIG + i, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	all_in_one(AT(1, 511), BIG + 511);
	assert_true(rmap_empty(word_of(BIG + 3)));
}

static void not_beyond_the_slot(void **state)
{
	(void)state;
	begin_with(large_object(BIG_PAGES));
	no_paging();
	slot_of_big(BIG + 3, 3, BIG_PAGES - 5, 0);
	small_at(BIG + 3);
	small_at(BIG + BIG_PAGES - 4);
	all_in_one((BIG + 600) << 12, BIG + 600);
}

static void not_where_gfn_and_object_are_at_odds(void **state)
{
	(void)state;
	begin_with(object_filled(1024));
	no_paging();
	slot_of_big(BIG, 1, 1023, 0);
	small_at(BIG + 7);
}

static void not_against_the_slot_s_flags(void **state)
{
	(void)state;
	begin_with(large_object(512));
	no_paging();
	slot_of_big(BIG, 0, 512, MEMSLOT_NO_LARGE);
	small_at(BIG + 9);
	assert_int_equal(memslot_set_flags(&vm, 2, 0), 0);
	all_in_one((BIG + 9) << 12, BIG + 9);
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_NO_LARGE), 0);
	small_at(BIG + 10);
}

static void not_with_a_page_missing(void **state)
{
	u64 was;

	(void)state;
	begin_with(object_lucky());
	no_paging();
	slot_of_big(BIG, 0, 512, 0);
	assert_int_equal(gmem_claim(big, 300, &was), 0);
	small_at(BIG + 5);
	gmem_settle(big, 300, (was & PAGE_MASK) | GMEM_SHARED);
	small_at(BIG + 6);
	assert_int_equal(gmem_claim(big, 300, &was), 0);
	gmem_settle(big, 300, (was & PAGE_MASK) | GMEM_GOT_PAGE);
}

static void not_where_frames_lie_otherwise(void **state)
{
	u64 was[2];

	(void)state;
	begin_with(object_lucky());
	no_paging();
	slot_of_big(BIG, 0, 512, 0);
	for (u32 i = 0; i < 2; i++)
		assert_int_equal(gmem_claim(big, 40 + i, &was[i]), 0);
	for (u32 i = 0; i < 2; i++)
		gmem_settle(big, 40 + i, was[!i]);
	small_at(BIG + 5);
	small_at(BIG + 40);
	small_at(BIG + 41);
}

/* What the guest maps by 4 KiB is mapped so, beside the same pages in one. */
static void not_where_the_guest_has_small_ones(void **state)
{
	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	big_entry(1, BIG, MARKED);
	entry(4, 8, BIG + 8, MARKED);
	reaches(AT(1, 8), BIG + 8, MMU_WRITE);
	reaches(AT(0, 8), BIG + 8, MMU_WRITE);
	assert_int_equal(chain_length(word_of(BIG + 8)), 1);
	assert_int_equal(chain_length(large_word_of(BIG)), 1);
	/* Both go, and the page counts once. */
	assert_int_equal(mmu_age(&vm, GFN(BIG), 512), 512);
	assert_int_equal(mmu_unmap(&vm, GFN(BIG), 512), 512);
	assert_false(is_mapped_large(BIG));
	assert_true(rmap_empty(word_of(BIG + 8)));
}

/* --- Rights --- */

static void rights_of_the_guest_s_entry(void **state)
{
	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	/* D is the guest's to see: until it is set a write faults. */
	big_entry(1, BIG, MARKED & ~DIRTY);
	reaches(AT(1, 3), BIG + 3, MMU_READ);
	assert_int_equal(large_spte(BIG) & (SPTE_W | SPTE_U | SPTE_PAGE), SPTE_U | SPTE_PAGE);
	reaches(AT(1, 4), BIG + 4, MMU_WRITE);
	assert_true(large_spte(BIG) & SPTE_W);
	assert_int_equal(STAT(mapped_large), 1);
	/* Taken by a write to the entry. */
	big_entry(1, BIG, BIT(63) | (MARKED & ~WRITABLE));
	assert_int_equal(shadow_access(AT(1, 4), MMU_WRITE, NULL), ERR_FAULT);
	assert_int_equal(shadow_access(AT(1, 4), MMU_EXEC, NULL), ERR_FAULT);
	reaches(AT(1, 4), BIG + 4, MMU_READ);
	/* With CR0.WP clear the supervisor writes, and a user reads afterwards. */
	paging.cr0 &= ~CR0_WP;
	load();
	reaches(AT(1, 5), BIG + 5, MMU_WRITE);
	paging.cpl = 3;
	reaches(AT(1, 5), BIG + 5, MMU_READ);
	assert_int_equal(shadow_access(AT(1, 5), MMU_WRITE, NULL), ERR_FAULT);
	paging.cpl = 0;
	reaches(AT(1, 5), BIG + 5, MMU_WRITE);
	assert_true(is_mapped_large(BIG));
}

/*
 * What the CPU refuses though the entry is there is told to the guest after some tries, as of 4
 * KiB.
 */
static void implicit_access_with_ac(void **state)
{
	struct shadow_answer answer = {0};
	int err = 0;
	u32 n;

	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	big_entry(1, BIG, MARKED);
	paging.cr4 |= CR4_SMAP;
	paging.rflags |= EFLAGS_AC;
	load();
	for (n = 0; !err && n < 100; n++)
		err = mmu_shadow_fault(&vcpu, &paging, GVA(AT(1, 3)), MMU_READ, &answer);
	assert_true(is_mapped_large(BIG));
	assert_int_equal(err, ERR_FAULT);
	assert_int_equal(answer.error_code, PAGE_FAULT_P);
	paging.cr4 &= ~CR4_SMAP;
	paging.rflags &= ~EFLAGS_AC;
}

static void of_a_slot_that_is_read_only(void **state)
{
	(void)state;
	begin_with(object_filled(512));
	no_paging();
	slot_of_big(BIG, 0, 512, MEMSLOT_READONLY);
	reaches(BIG << 12, BIG, MMU_READ);
	assert_int_equal(large_spte(BIG) & (SPTE_W | SPTE_PAGE), SPTE_PAGE);
	assert_int_equal(shadow_access((BIG + 1) << 12, MMU_WRITE, NULL), ERR_NOSLOT);
	assert_int_equal(memslot_set_flags(&vm, 2, 0), 0);
	reaches((BIG + 1) << 12, BIG + 1, MMU_WRITE);
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_READONLY), 0);
	assert_int_equal(large_spte(BIG) & (SPTE_W | SPTE_PAGE), SPTE_PAGE);
	shadow_cpu_forget();
	assert_int_equal(shadow_access((BIG + 1) << 12, MMU_WRITE, NULL), ERR_NOSLOT);
}

/* Code is small, takes away what is large, and its region stays so (CVE-2018-12207). */
static void not_for_code_where_that_is_unsafe(void **state)
{
	(void)state;
	mmu_hw.large_nx = true;
	begin_with(large_object(1024));
	slot_of_big(BIG, 0, 1024, 0);
	big_entry(1, BIG, MARKED);
	big_entry(2, BIG + 512, MARKED);
	reaches(AT(1, 0), BIG, MMU_WRITE);
	assert_true(large_spte(BIG) & SPTE_NX);
	reaches(AT(1, 77), BIG + 77, MMU_EXEC);
	assert_false(is_mapped_large(BIG));
	assert_int_equal(STAT(unmapped_large), 1);
	reaches(AT(1, 78), BIG + 78, MMU_WRITE);
	/* At another address, too. */
	big_entry(3, BIG, MARKED);
	reaches(AT(3, 78), BIG + 78, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	assert_false(mmu_collapse(&vm, slot_of(BIG), GFN(BIG)));
	/* Where code was first there is no large one. */
	reaches(AT(2, 5), BIG + 512 + 5, MMU_EXEC);
	reaches(AT(2, 6), BIG + 512 + 6, MMU_WRITE);
	assert_false(is_mapped_large(BIG + 512));
}

/* --- Tables of the guest's --- */

static void a_table_makes_its_region_small(void **state)
{
	u64 flushes;

	(void)state;
	begin_with(large_object(1024));
	slot_of_big(BIG, 0, 1024, 0);
	big_entry(1, BIG, MARKED);
	big_entry(2, BIG + 512, MARKED);
	reaches(AT(1, 3), BIG + 3, MMU_WRITE);
	reaches(AT(2, 3), BIG + 512 + 3, MMU_WRITE);
	/* It is one as soon as it is walked; nobody can write it by what was mapped before. */
	entry(BIG + 20, 9, 200, MARKED);
	entry(3, 4, BIG + 20, MARKED);
	flushes = STAT(flushes);
	reaches(AT(4, 9), 200, MMU_READ);
	assert_true(STAT(flushes) > flushes);
	assert_false(is_mapped_large(BIG));
	assert_true(is_mapped_large(BIG + 512));
	assert_int_equal(small_count(BIG), 1);
	assert_int_equal(shadow_access(AT(1, 20), MMU_WRITE, NULL), SHADOW_EMULATE);
	reaches(AT(1, 21), BIG + 21, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	/* A second table of the region; the first ends. */
	entry(BIG + 30, 9, 201, MARKED);
	entry(3, 5, BIG + 30, MARKED);
	reaches(AT(5, 9), 201, MMU_READ);
	assert_int_equal(small_count(BIG), 2);
	assert_int_equal(mmu_shadow_let_write(&vcpu, GFN(BIG + 20), 1), 0);
	assert_int_equal(small_count(BIG), 1);
	assert_false(mmu_collapse(&vm, slot_of(BIG), GFN(BIG)));
	assert_int_equal(mmu_shadow_let_write(&vcpu, GFN(BIG + 30), 2), 0);
	assert_int_equal(small_count(BIG), 0);
	/* It stays small until somebody says that it need not. */
	reaches(AT(1, 22), BIG + 22, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	assert_true(mmu_collapse(&vm, slot_of(BIG), GFN(BIG)));
	all_in_one(AT(1, 22), BIG + 22);
}

/* The directory that has the entry lies in the page that it maps. */
static void a_page_with_its_own_table(void **state)
{
	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	entry(2, 1, BIG + 40, MARKED);
	entry(BIG + 40, 0, BIG, MARKED | PS);
	reaches(GIB(1), BIG, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	assert_int_equal(shadow_access(GIB(1) + (40ull << 12), MMU_WRITE, NULL), SHADOW_EMULATE);
	reaches(GIB(1) + (40ull << 12), BIG + 40, MMU_READ);
}

/* The guest breaks its page up, and puts it together again, elsewhere. */
static void the_guest_changes_its_entry(void **state)
{
	(void)state;
	begin_with(large_object(1024));
	slot_of_big(BIG, 0, 1024, 0);
	big_entry(1, BIG, MARKED);
	reaches(AT(1, 3), BIG + 3, MMU_WRITE);
	entry(5, 3, 301, MARKED);
	entry(3, 1, 5, MARKED);
	reaches(AT(1, 3), 301, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	big_entry(1, BIG + 512, MARKED);
	all_in_one(AT(1, 3), BIG + 512 + 3);
	entry(3, 1, 0, 0);
	assert_int_equal(shadow_access(AT(1, 3), MMU_READ, NULL), ERR_FAULT);
	assert_false(is_mapped_large(BIG + 512));
}

/* A region at more addresses than a chain may have sptes. */
static void one_region_at_many_addresses(void **state)
{
	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	for (u32 i = 1; i < 300; i++)
		big_entry(i, BIG, MARKED);
	for (u32 i = 1; i < 300; i++)
		reaches(AT(i, i), BIG + i, MMU_WRITE);
	assert_in_range(chain_length(large_word_of(BIG)), 2, RMAP_CHAIN_MAX);
	assert_null(mmu_audit(&vm));
	assert_int_equal(mmu_unmap(&vm, GFN(BIG), 512), 512);
	assert_false(is_mapped_large(BIG));
	for (u32 i = 1; i < 300; i += 50)
		reaches(AT(i, i), BIG + i, MMU_WRITE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, shadow_big_start, shadow_big_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_each_mode),
		TEST(in_a_gibibyte),
		TEST(with_the_last_page),
		TEST(with_the_last_page_of_the_guest_s),
		TEST(not_beyond_the_slot),
		TEST(not_where_gfn_and_object_are_at_odds),
		TEST(not_against_the_slot_s_flags),
		TEST(not_with_a_page_missing),
		TEST(not_where_frames_lie_otherwise),
		TEST(not_where_the_guest_has_small_ones),
		TEST(rights_of_the_guest_s_entry),
		TEST(implicit_access_with_ac),
		TEST(of_a_slot_that_is_read_only),
		TEST(not_for_code_where_that_is_unsafe),
		TEST(a_table_makes_its_region_small),
		TEST(a_page_with_its_own_table),
		TEST(the_guest_changes_its_entry),
		TEST(one_region_at_many_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
