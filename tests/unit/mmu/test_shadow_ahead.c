/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c */
/*
 * What is linked in shadow tables before the guest asks for it: the neighbours of a fault, and what an
 * entry leads to that Weir wrote for the guest. The CPU here counts as the judge: what it lets through
 * without a fault, and with which rights.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 1024
#define TABLE	  4u   /* the last level; 1 to 3 lead to it */
#define DATA	  100u /* pages from here on */
#define AROUND	  16u

static int start(void **state)
{
	pfn_t pfn;

	(void)state;
	shadow_guest_start(MIB(32), RAM_PAGES);
	vm.fault_around = AROUND;
	for (u64 i = DATA; i < DATA + 64; i++)
		assert_int_equal(gmem_get_page(ram, i, true, &pfn), 0);
	load();
	return 0;
}

static void fault_at(u64 gva, u32 access)
{
	struct shadow_answer answer;

	assert_int_equal(mmu_shadow_fault(&vcpu, &paging, GVA(gva), access, &answer), 0);
}

/* The rights that the CPU has at gva as things are, as MMU_*: it walks without a fault. */
static u32 rights_at(u64 gva, u32 cpl)
{
	u32 before = paging.cpl, rights = 0;
	u64 at;

	paging.cpl = cpl;
	for (u32 access = MMU_READ; access <= MMU_EXEC; access <<= 1) {
		shadow_cpu_forget();
		rights |= shadow_cpu(&vcpu, &paging, gva, access, &at) ? access : 0;
	}
	paging.cpl = before;
	return rights;
}

static u64 led_to(u64 gva)
{
	u64 at = 0;

	shadow_cpu_forget();
	return shadow_cpu(&vcpu, &paging, gva, MMU_READ, &at) ? at >> 12 : 0;
}

static u64 gva_of(u32 i)
{
	return (u64)i << 12;
}

/* --- Neighbours of a fault --- */

static const struct {
	u64 to, bits;
	u32 user, supervisor; /* the rights that are linked */
} around[AROUND] = {
	{DATA, MARKED, 7, 7}, /* the fault */
	{DATA + 1, MARKED, 7, 7},
	{DATA + 2, MARKED & ~A, 0, 0},
	{DATA + 3, MARKED & ~P, 0, 0},
	{DATA + 4, MARKED & ~D, MMU_READ | MMU_EXEC, MMU_READ | MMU_EXEC},
	{DATA + 5, MARKED & ~W, MMU_READ | MMU_EXEC, MMU_READ | MMU_EXEC},
	{DATA + 6, MARKED & ~U, 0, 7},
	{DATA + 7, MARKED | XD, MMU_READ | MMU_WRITE, MMU_READ | MMU_WRITE},
	{DATA + 8, MARKED | BIT(39), 0, 0}, /* reserved */
	{DATA + 9, MARKED | BIT(52), 7, 7}, /* the guest's to use */
	{RAM_PAGES, MARKED, 0, 0},	    /* nothing there */
	{DATA + 400, MARKED, 0, 0},	    /* not resident */
	{TABLE, MARKED, MMU_READ | MMU_EXEC, MMU_READ | MMU_EXEC},
	{DATA + 10, MARKED, 7, 7},
	{DATA + 10, MARKED, 7, 7},				       /* at two addresses */
	{DATA + 11, MARKED, MMU_READ | MMU_EXEC, MMU_READ | MMU_EXEC}, /* H_PROTECT, below */
};

static void neighbours_have_their_own_rights(void **state)
{
	u32 linked = 0;
	u64 done;

	(void)state;
	for (u32 i = 0; i < AROUND; i++) {
		entry(TABLE, i, around[i].to, around[i].bits);
		linked += i && (around[i].user | around[i].supervisor);
	}
	entry(TABLE, AROUND, DATA + 20, MARKED);
	assert_int_equal(mmu_range_protect(&vm, GFN(DATA + 11), 1, true, &done), 0);
	fault_at(0, MMU_READ);
	assert_int_equal(STAT(mapped_around), linked);
	assert_int_equal(STAT(mapped), linked + 1);
	assert_int_equal(led_to(gva_of(AROUND)), 0);
	for (u32 i = 0; i < AROUND; i++) {
		assert_int_equal(rights_at(gva_of(i), 3), around[i].user);
		assert_int_equal(rights_at(gva_of(i), 0), around[i].supervisor);
		if (around[i].supervisor)
			assert_int_equal(led_to(gva_of(i)), frame_of_page(around[i].to));
	}
	assert_int_equal(mmu_range_protect(&vm, GFN(DATA + 11), 1, false, &done), 0);
}

/* Of the page nothing is known yet: it may be clean on the swap disk. */
static void a_clean_neighbour_is_not_writable(void **state)
{
	pfn_t pfn;

	(void)state;
	assert_int_equal(gmem_get_page(ram, 300, false, &pfn), 0);
	entry(TABLE, 0, DATA, MARKED);
	entry(TABLE, 1, 300, MARKED);
	fault_at(0, MMU_READ);
	assert_int_equal(rights_at(gva_of(1), 0), MMU_READ | MMU_EXEC);
	assert_false(gmem_entry(ram, 300) & GMEM_DIRTY);
}

/* That a neighbour is there says nothing of its use. */
static void neighbours_are_not_young(void **state)
{
	(void)state;
	entry(TABLE, 0, DATA, MARKED);
	entry(TABLE, 1, DATA + 1, MARKED);
	fault_at(0, MMU_READ);
	assert_true(mmu_test_young(&vm, GFN(DATA), 1));
	assert_false(mmu_test_young(&vm, GFN(DATA + 1), 1));
}

/* R19: what a table's entries were used for stays known when they go with it. */
static void use_is_remembered(void **state)
{
	(void)state;
	entry(TABLE, 0, DATA, MARKED);
	entry(TABLE, 1, DATA + 1, MARKED);
	fault_at(0, MMU_READ);
	shadow_zap_all(&vm);
	assert_int_equal(led_to(0), 0);
	assert_true(mmu_test_young(&vm, GFN(DATA), 1));
	assert_false(mmu_test_young(&vm, GFN(DATA + 1), 1));
	/* It is linked again, and not used since. */
	entry(TABLE, 2, DATA + 2, MARKED);
	fault_at(gva_of(2), MMU_READ);
	assert_int_equal(STAT(mapped_around), 1 + 2);
	assert_int_equal(mmu_age(&vm, GFN(DATA), 2), 1);
	assert_false(mmu_test_young(&vm, GFN(DATA), 1));
}

static void one_of_two_addresses_is_enough(void **state)
{
	(void)state;
	for (u32 used = 0; used < 2; used++) {
		entry(TABLE, 0, DATA, MARKED);
		entry(TABLE, 1, DATA, MARKED);
		fault_at(gva_of(used), MMU_READ);
		assert_int_equal(led_to(gva_of(0)), led_to(gva_of(1)));
		mmu_age(&vm, GFN(DATA), 1);
		shadow_zap_all(&vm);
		assert_false(mmu_test_young(&vm, GFN(DATA), 1));
		fault_at(gva_of(used), MMU_READ);
		assert_true(mmu_test_young(&vm, GFN(DATA), 1));
		assert_int_equal(mmu_age(&vm, GFN(DATA), 1), 1);
		assert_false(mmu_test_young(&vm, GFN(DATA), 1));
	}
}

/* A page that is logged is not written unseen (R21). */
static void a_logged_neighbour_is_not_writable(void **state)
{
	u64 dirty[RAM_PAGES / 64];

	(void)state;
	entry(TABLE, 0, DATA, MARKED);
	entry(TABLE, 1, DATA + 1, MARKED);
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY), 0);
	fault_at(0, MMU_READ);
	assert_int_equal(rights_at(gva_of(1), 0), MMU_READ | MMU_EXEC);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, dirty, RAM_PAGES / 64), 0);
	assert_false(dirty[(DATA + 1) / 64] & BIT((DATA + 1) % 64));
}

/* A table of 1024 entries is two pages here; the second's first entry is the 512th. */
static void entries_of_four_bytes(void **state)
{
	(void)state;
	paging.cr4 = 0;
	paging.cr3 = 10 << 12;
	paging.efer = 0;
	put(10 << 12, 11 << 12 | MARKED, 4);
	for (u32 i = 0; i < 1024; i++)
		put((11 << 12) + 4ull * i, (u64)(DATA + (i + i / 512 * 32) % 64) << 12 | MARKED, 4);
	load();
	fault_at(gva_of(512 + 5), MMU_READ);
	for (u32 i = 512; i < 512 + AROUND; i++)
		assert_int_equal(led_to(gva_of(i)), frame_of_page(DATA + (i + 32) % 64));
	assert_int_equal(led_to(gva_of(512 + AROUND)), 0);
	assert_int_equal(led_to(gva_of(0)), 0);
}

static void without_paging(void **state)
{
	(void)state;
	paging.cr0 = CR0_PE;
	paging.cr4 = paging.efer = 0;
	load();
	fault_at((u64)(DATA + 20) << 12, MMU_WRITE);
	for (u32 i = 112; i < 128; i++)
		assert_int_equal(led_to(gva_of(i)), frame_of_page(i));
	assert_int_equal(led_to(gva_of(128)), 0);
	assert_int_equal(led_to(gva_of(111)), 0);
}

/* What its entry allows is said once for all of a large page, D too. */
static void below_a_large_page(void **state)
{
	(void)state;
	entry(3, 0, 0, (P | W | U | A) | BIT(7));
	fault_at((u64)DATA << 12, MMU_READ);
	assert_int_equal(rights_at(gva_of(DATA + 1), 3), MMU_READ | MMU_EXEC);
	fault_at((u64)DATA << 12, MMU_WRITE);
	assert_int_equal(rights_at(gva_of(DATA + 1), 3), 7);
}

/* Nobody looked around: there was nothing to be had, mostly. */
static void a_first_touch_looks_at_none(void **state)
{
	(void)state;
	entry(TABLE, 0, 300, MARKED);
	entry(TABLE, 1, DATA, MARKED);
	fault_at(0, MMU_READ);
	assert_int_equal(STAT(mapped_around), 0);
}

/* A full chain gives way to what is wanted, not to what may be. */
static void not_in_a_full_chain(void **state)
{
	(void)state;
	vm.fault_around = 1;
	for (u32 i = 0; i < RMAP_CHAIN_MAX; i++) {
		entry(TABLE, 16 + i, DATA, MARKED);
		fault_at(gva_of(16 + i), MMU_READ);
	}
	vm.fault_around = AROUND;
	entry(TABLE, 0, DATA + 1, MARKED);
	entry(TABLE, 1, DATA, MARKED);
	fault_at(0, MMU_READ);
	assert_int_equal(led_to(gva_of(1)), 0);
	for (u32 i = 0; i < RMAP_CHAIN_MAX; i++)
		assert_int_equal(led_to(gva_of(16 + i)), frame_of_page(DATA));
}

/* --- Entries that Weir writes --- */

static void a_written_entry_is_linked(void **state)
{
	(void)state;
	entry(TABLE, 0, DATA, MARKED);
	fault_at(0, MMU_READ);
	entry(TABLE, 0, DATA + 1, MARKED & ~W);
	assert_int_equal(led_to(0), frame_of_page(DATA + 1));
	assert_int_equal(rights_at(0, 3), MMU_READ | MMU_EXEC);
	/* Without its mark, the guest could tell. */
	entry(TABLE, 1, DATA + 2, MARKED & ~A);
	assert_int_equal(led_to(gva_of(1)), 0);
}

/* The old page's address is forgotten by all CPUs before the write is done (R13). */
static void what_it_led_to_is_flushed(void **state)
{
	u64 flushes, at;

	(void)state;
	entry(TABLE, 0, DATA, MARKED);
	fault_at(0, MMU_READ);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
	flushes = STAT(flushes);
	entry(TABLE, 0, DATA + 1, MARKED);
	assert_int_equal(STAT(flushes), flushes + 1);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
	assert_int_equal(at >> 12, frame_of_page(DATA + 1));
}

/* A guest that fills its table one fault after the other uses it, though no fault is Weir's any more. */
static void a_table_that_is_filled_by_and_by_stays(void **state)
{
	struct shadow_answer answer;
	u64 flooded = STAT(shadow_flooded);

	(void)state;
	entry(TABLE, 0, DATA, MARKED);
	fault_at(0, MMU_READ);
	for (u32 i = 1; i < 20; i++) {
		assert_int_equal(
			mmu_shadow_fault(&vcpu, &paging, GVA(gva_of(i)), MMU_READ, &answer),
			ERR_FAULT);
		entry(TABLE, i, DATA + i, MARKED);
		assert_int_equal(led_to(gva_of(i)), frame_of_page(DATA + i));
	}
	assert_int_equal(STAT(shadow_flooded), flooded);
	assert_int_equal(shadow_pages_of(TABLE), 1);
	assert_true(mmu_shadow_is_table(&vm, GFN(TABLE)));
	for (u32 i = 0; i < 3; i++)
		entry(TABLE, i, 0, 0);
	assert_int_equal(shadow_pages_of(TABLE), 0);
	assert_false(mmu_shadow_is_table(&vm, GFN(TABLE)));
	assert_false(mmu_shadow_is_table(&vm, GFN(mmu_gfn_end() - 1)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, shadow_guest_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(neighbours_have_their_own_rights),
		TEST(a_clean_neighbour_is_not_writable),
		TEST(neighbours_are_not_young),
		TEST(use_is_remembered),
		TEST(one_of_two_addresses_is_enough),
		TEST(a_logged_neighbour_is_not_writable),
		TEST(entries_of_four_bytes),
		TEST(without_paging),
		TEST(below_a_large_page),
		TEST(a_first_touch_looks_at_none),
		TEST(not_in_a_full_chain),
		TEST(a_written_entry_is_linked),
		TEST(what_it_led_to_is_flushed),
		TEST(a_table_that_is_filled_by_and_by_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
