/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* From one mapping of 2 MiB to 512 of 4 KiB, and back when nothing stands against it any more. */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE 0x400

static struct gmem *ram;

/* Three regions, the middle one mapped large. */
static int setup(void **state)
{
	fixture_start(MIB(32));
	ram = object_filled(1536);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 1536, ram, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_READ), 0);
	assert_true(is_large(BASE + 600));
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	fixture_end();
	return 0;
}

/* Every 4 KiB shows what the 2 MiB did, and is in its own reverse map. */
static void check_split(u64 gfn, u32 access)
{
	for (u64 i = 0; i < 512; i++) {
		u64 e = ept_walk(&vm, PAGE(gfn + i));

		assert_false(is_large(gfn + i));
		assert_int_equal(EPT_PFN(e), gmem_entry_pfn(gmem_entry(ram, gfn + i - BASE)).v);
		assert_int_equal(e & (EPT_RWX | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY), access);
		assert_int_equal(chain_length(word_of(gfn + i)), 1);
		assert_ptr_equal(rmap_spte(word_of(gfn + i), 0), spte_of(gfn + i));
	}
	assert_true(rmap_empty(large_word_of(gfn)));
}

/* R13 too: that it is flushed. */
static void the_table_says_what_the_entry_did(void **state)
{
	static const u32 cases[] = {
		MMU_READ | MMU_WRITE | MMU_EXEC,
		MMU_READ | MMU_EXEC | PAGE_TABLE_ACCESSED,
		MMU_READ | MMU_WRITE | MMU_EXEC | PAGE_TABLE_DIRTY,
		MMU_READ | MMU_WRITE | MMU_EXEC | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY,
	};

	for (u32 c = 0; c < ARRAY_SIZE(cases); c++) {
		u64 *spte = spte_of(BASE + 512), flushes = STAT(flushes), tables = STAT(tables);

		*spte = vm.format->level[2].with_access(*spte, cases[c]);
		mmu_split(&vm, slot_of(BASE + 512), GFN(BASE + 700));
		check_split(BASE + 512, cases[c]);
		check_audit();
		assert_int_equal(STAT(flushes), flushes + 1);
		assert_int_equal(STAT(tables), tables + 1);
		assert_int_equal(STAT(split), c + 1);
		/* Again changes nothing and costs nothing. */
		hosted_fail_after(1);
		mmu_split(&vm, slot_of(BASE + 512), GFN(BASE + 700));
		assert_false(hosted_fail_happened());
		hosted_fail_after(0);
		assert_int_equal(STAT(flushes), flushes + 1);
		assert_int_equal(STAT(split), c + 1);
		/* It makes way for a large one. */
		assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE + 513), MMU_READ), 0);
		assert_true(is_large(BASE + 512));
		assert_int_equal(STAT(collapsed), c + 1);
	}
}

/* Where there is no memory for a table, or for its reverse maps, the guest maps anew. */
static void without_memory_it_is_dropped(void **state)
{
	bool dropped;
	u32 n;

	for (n = 1;; n++) {
		u64 before = STAT(split);

		assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
		assert_true(is_large(BASE));
		assert_null(word_of(BASE));
		hosted_fail_after(n);
		dropped = mmu_split(&vm, slot_of(BASE), GFN(BASE));
		assert_int_equal(dropped, hosted_fail_happened());
		if (!dropped)
			break;
		hosted_fail_after(0);
		assert_false(is_mapped(BASE));
		assert_true(rmap_empty(large_word_of(BASE)));
		assert_int_equal(STAT(split), before);
		check_audit();
	}
	hosted_fail_after(0);
	assert_int_equal(n, 3);
	check_split(BASE, EPT_RWX | PAGE_TABLE_ACCESSED);
}

/* The pages that it was to be split for are among what goes, and count. */
static void unmapping_a_part_without_memory(void **state)
{
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
	hosted_fail_after(1);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 9), 2), 2);
	hosted_fail_after(0);
	assert_false(is_mapped(BASE));
}

static void unmapping_a_part_splits(void **state)
{
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1024), MMU_WRITE), 0);
	/* A part of the first, the whole of the second, a part of the third. */
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 500), 12 + 512 + 1), 12 + 512 + 1);
	assert_int_equal(STAT(split), 2);
	for (u64 i = 0; i < 1536; i++)
		assert_int_equal(is_mapped(BASE + i), i < 500 || i > 1024);
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 499)) & PAGE_TABLE_DIRTY, PAGE_TABLE_DIRTY);
	/* What was taken had been used. */
	assert_true(*word_of(BASE + 500) & RMAP_YOUNG);
	assert_true(*word_of(BASE + 1024) & RMAP_YOUNG);
	assert_false(*word_of(BASE + 1025) & RMAP_YOUNG);
}

/* One page that is taken from the object leaves the others mapped, if memory allows. */
static void one_page_is_taken(void **state)
{
	for (u32 fails = 0; fails < 2; fails++) {
		struct gmem *g = object_lucky();

		assert_int_equal(memslot_create(&vm, 2, GFN(0x2000), 512, g, 0, 0), 0);
		assert_int_equal(touch(&vcpu, PAGE(0x2000), MMU_READ), 0);
		assert_true(is_large(0x2000));
		hosted_fail_after(fails);
		assert_int_equal(gmem_drop(g, 100), 0);
		assert_int_equal(hosted_fail_happened(), fails);
		hosted_fail_after(0);
		for (u64 i = 0; i < 512; i++)
			assert_int_equal(is_mapped(0x2000 + i), i != 100 && !fails);
		check_audit();
		assert_int_equal(touch(&vcpu, PAGE(0x2000 + 100), MMU_READ), 0);
		assert_int_equal(touch(&vcpu, PAGE(0x2000 + 101), MMU_READ), 0);
		assert_int_equal(memslot_delete(&vm, 2), 0);
		grace();
		gmem_unref(g);
	}
}

/* A region whose words are in two pages of them, neither of which is there yet. */
static void words_in_two_chunks(void **state)
{
	u32 n;

	assert_int_equal(memslot_create(&vm, 2, GFN(0x2000 + 300), 1200, ram, 300, 0), 0);
	for (n = 1;; n++) {
		assert_int_equal(touch(&vcpu, PAGE(0x2200), MMU_READ), 0);
		assert_true(is_large(0x2200));
		hosted_fail_after(n);
		mmu_split(&vm, slot_of(0x2200), GFN(0x2200 + 77));
		if (!hosted_fail_happened())
			break;
		hosted_fail_after(0);
		assert_false(is_mapped(0x2200));
		check_audit();
	}
	hosted_fail_after(0);
	assert_int_equal(n, 4); /* a table, and two pages of words */
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(chain_length(word_of(0x2200 + i)), 1);
	assert_null(word_of(0x2000 + 300 + 1199));
}

/* --- reasons come and go --- */

static void a_flag_forbids_it(void **state)
{
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_NO_LARGE), 0);
	check_split(BASE, EPT_RWX | PAGE_TABLE_ACCESSED);
	check_split(BASE + 512, EPT_RWX | PAGE_TABLE_ACCESSED);
	assert_false(is_mapped(BASE + 1024));
	assert_int_equal(STAT(split), 2);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1024), MMU_READ), 0);
	assert_false(is_large(BASE + 1024));

	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	assert_int_equal(STAT(collapsed), 3);
	for (u64 i = 0; i < 1536; i += 512) {
		assert_false(is_mapped(BASE + i));
		assert_int_equal(fault(&vcpu, PAGE(BASE + i), MMU_READ), 0);
		assert_true(is_large(BASE + i));
	}
}

/* A region at the edge of a slot is never large; nothing outside the slot is looked at. */
static void edges_of_odd_slots(void **state)
{
	static const struct {
		u64 base, pages;
	} cases[] = {{0x2001, 1}, {0x21ff, 2}, {0x2301, 300}, {0x2005, 1024}, {0x2200, 511}};

	for (u32 c = 0; c < ARRAY_SIZE(cases); c++) {
		u64 base = cases[c].base, pages = cases[c].pages, done;

		assert_int_equal(memslot_create(&vm, 2, GFN(base), pages, ram, base % 512, 0), 0);
		assert_int_equal(mmu_range_protect(&vm, GFN(base), 1, true, &done), 0);
		assert_int_equal(mmu_range_protect(&vm, GFN(base + pages - 1), 1, true, &done), 0);
		check_audit();
		assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_NO_LARGE), 0);
		assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_LOG_DIRTY), 0);
		assert_int_equal(memslot_set_flags(&vm, 2, 0), 0);
		assert_int_equal(mmu_range_protect(&vm, GFN(base), 1, false, &done), 0);
		assert_int_equal(mmu_range_protect(&vm, GFN(base + pages - 1), 1, false, &done), 0);
		assert_int_equal(mmu_unmap(&vm, GFN(base), pages), 0);
		mmu_split(&vm, slot_of(base), GFN(base));
		mmu_split(&vm, slot_of(base), GFN(base + pages - 1));
		/* Nor while an audit has the word. */
		assert_true(rmap_trylock(large_word_of(base)));
		mmu_split(&vm, slot_of(base), GFN(base));
		rmap_unlock_tried(large_word_of(base));
		check_audit();
		assert_int_equal(memslot_delete(&vm, 2), 0);
	}
}

static void protecting_a_page(void **state)
{
	u64 done;

	assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_WRITE), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 520), 3, true, &done), 0);
	assert_int_equal(done, 3);
	assert_int_equal(STAT(split), 1);
	assert_int_equal(small_count(BASE + 512), 3);
	for (u64 i = 0; i < 512; i++) {
		bool in = i >= 8 && i < 11;

		assert_int_equal(ept_walk(&vm, PAGE(BASE + 512 + i)) & EPT_W, in ? 0 : EPT_W);
		assert_int_equal(touch(&vcpu, PAGE(BASE + 512 + i), MMU_WRITE), in ? ERR_PERM : 0);
	}
	check_audit();
	/* Twice is once. */
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 519), 4, true, &done), 0);
	assert_int_equal(small_count(BASE + 512), 4);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 512), 10, false, &done), 0);
	assert_int_equal(small_count(BASE + 512), 1);
	assert_int_equal(STAT(collapsed), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 512), 512, false, &done), 0);
	assert_int_equal(small_count(BASE + 512), 0);
	assert_int_equal(STAT(collapsed), 1);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 520), MMU_WRITE), 0);
	assert_true(is_large(BASE + 520));
}

/* R32. However often a guest makes it change, only so many tables wait for their grace period. */
static void tables_that_wait_are_bounded(void **state)
{
	u64 done, free = frames_free();

	for (u32 i = 0; i < 600; i++) {
		assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 520), 1, true, &done), 0);
		assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_READ), 0);
		assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 520), 1, false, &done), 0);
		assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_READ), 0);
	}
	assert_true(STAT(collapsed) > 80 && STAT(collapsed) < 400);
	assert_true(free - frames_free() < 400);
	assert_false(is_large(BASE + 512));
	/* When they are gone it goes on. */
	grace();
	assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE + 512), MMU_READ), 0);
	assert_true(is_large(BASE + 512));
}

/* The marks go with a slot that moves; what they forbid is forbidden at its new place. */
static void protected_pages_move_along(void **state)
{
	u64 done;

	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 511), 2, true, &done), 0);
	assert_int_equal(memslot_move(&vm, 1, GFN(0x4000 - 512)), 0);
	assert_int_equal(small_count(0x4000 - 512), 1);
	assert_int_equal(small_count(0x4000), 1);
	assert_int_equal(small_count(0x4000 + 512), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x4000), MMU_WRITE), ERR_PERM);
	assert_int_equal(touch(&vcpu, PAGE(0x4000), MMU_READ), 0);
	assert_false(is_large(0x4000));
	check_audit();
	assert_int_equal(memslot_move(&vm, 1, GFN(0x4000 + 1)), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x4000 + 512), MMU_WRITE), ERR_PERM);
	assert_int_equal(mmu_range_protect(&vm, GFN(0x4000 + 512), 2, false, &done), 0);
}

/* A region that is not as large as it might be keeps what it has. */
static void no_collapse_while_a_reason_stands(void **state)
{
	u64 done;

	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 600), 1, true, &done), 0);
	assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE + 513), MMU_READ), 0);
	assert_false(is_large(BASE + 512));
	assert_int_equal(STAT(collapsed), 0);
	assert_int_equal(STAT(unmapped), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 600), 1, false, &done), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_table_says_what_the_entry_did, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_it_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(words_in_two_chunks, setup, teardown),
		cmocka_unit_test_setup_teardown(unmapping_a_part_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(unmapping_a_part_splits, setup, teardown),
		cmocka_unit_test_setup_teardown(one_page_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flag_forbids_it, setup, teardown),
		cmocka_unit_test_setup_teardown(edges_of_odd_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(protecting_a_page, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_that_wait_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(protected_pages_move_along, setup, teardown),
		cmocka_unit_test_setup_teardown(no_collapse_while_a_reason_stands, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
