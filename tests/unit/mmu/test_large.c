/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* When a fault maps 2 MiB at once and when it does not; rights, ends and moves of such mappings. */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE 0x400 /* gfn of the slot, where it lies well */

static struct gmem *ram;

static int setup(void **state)
{
	fixture_start(MIB(32));
	ram = NULL;
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	if (ram)
		gmem_unref(ram);
	fixture_end();
	return 0;
}

static struct gmem *object_of_large_pages(u64 pages)
{
	struct gmem *g;

	assert_int_equal(gmem_create_order(pages, GMEM_LARGE_ORDER, &g), 0);
	return g;
}

static void slot_at(u64 base, u64 pages, u64 first, u32 flags)
{
	assert_int_equal(memslot_create(&vm, 1, GFN(base), pages, ram, first, flags), 0);
}

/* --- when --- */

static void check_large(u64 gfn, u64 index, u64 access)
{
	u64 e = ept_walk(&vm, PAGE(gfn));

	assert_true(is_large(gfn));
	assert_int_equal(e & EPT_RWX, access);
	assert_int_equal(EPT_PFN(e), gmem_entry_pfn(gmem_entry(ram, index & ~511ull)).v);
	assert_int_equal(chain_length(large_word_of(gfn)), 1);
	assert_ptr_equal(rmap_spte(large_word_of(gfn), 0), spte_of(gfn));
	assert_int_equal(chain_length(word_of(gfn)), 0);
}

static void one_fault_maps_it_all(u64 pages)
{
	u64 leaves, tables, gfn;

	slot_at(BASE, pages, 0, 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 77), MMU_READ), 0);
	check_large(BASE, 77, EPT_RWX);
	assert_int_equal(ept_walk(&vm, PAGE(BASE)) & PAGE_TABLE_ACCESSED, PAGE_TABLE_ACCESSED);
	assert_int_equal(ept_walk(&vm, PAGE(BASE)) & PAGE_TABLE_DIRTY, 0);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 1);
	assert_int_equal(tables, 3);
	assert_int_equal(STAT(tables), 3);
	for (gfn = BASE; gfn < BASE + 512; gfn++) {
		assert_int_equal(fault(&vcpu, PAGE(gfn), MMU_READ), 0);
		/* Writable at any time, so all of it counts as dirty. */
		assert_true(gmem_entry(ram, gfn - BASE) & GMEM_DIRTY);
	}
	assert_int_equal(fault(&vcpu, PAGE(BASE + 511), MMU_WRITE), 0);
	assert_true(ept_walk(&vm, PAGE(BASE)) & PAGE_TABLE_DIRTY);
	/* Nor does a fault that went to the thread disturb what is there. */
	assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE + 9), MMU_WRITE), 0);
	assert_int_equal(STAT(mapped_large), 1);
	assert_int_equal(STAT(mapped), 512);
	assert_int_equal(STAT(flushes), 0);
}

static void pages_of_2m(void **state)
{
	ram = object_of_large_pages(1024);
	one_fault_maps_it_all(1024);
	assert_false(is_mapped(BASE + 512));
	assert_int_equal(mmu_resident_pages(&vm), 512);
}

static void a_filled_object(void **state)
{
	ram = object_filled(1024);
	one_fault_maps_it_all(1024);
	assert_false(is_mapped(BASE + 512));
	assert_int_equal(fault(&vcpu, PAGE(BASE + 600), MMU_EXEC), 0);
	check_large(BASE + 600, 600, EPT_RWX);
}

static void luck(void **state)
{
	ram = object_lucky();
	one_fault_maps_it_all(512);
}

/* Who comes after another vCPU looks at the mapping, not at each of the 512 pages. */
static void what_is_there_needs_no_look(void **state)
{
	u64 *entry;

	ram = object_filled(512);
	slot_at(BASE, 512, 0, 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	assert_true(is_large(BASE));
	entry = &ram->slot_phys[0].entries[77];
	assert_true(*entry & GMEM_DIRTY);
	*entry &= ~GMEM_DIRTY; /* a look would set it again */
	assert_int_equal(fault(&vcpu, PAGE(BASE + 5), MMU_WRITE), 0);
	assert_int_equal(vcpu.stats.faults_spurious, 1);
	assert_false(*entry & GMEM_DIRTY);
	/* With a right missing the page is made writable again, and so is dirty. */
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_READONLY), 0);
	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 5), MMU_WRITE), 0);
	assert_true(is_large(BASE));
	assert_true(ept_walk(&vm, PAGE(BASE)) & MMU_WRITE);
	assert_true(*entry & GMEM_DIRTY);
}

static void expect_small(u64 gfn)
{
	assert_int_equal(touch(&vcpu, PAGE(gfn), MMU_READ), 0);
	assert_true(is_mapped(gfn));
	assert_false(is_large(gfn));
	assert_int_equal(STAT(mapped_large), 0);
	assert_int_equal(rmap_empty(large_word_of(gfn)), true);
	assert_int_equal(chain_length(word_of(gfn)), 1);
}

/* Pages of 2 MiB may be cut off at a slot's ends, but never lie askew in guest memory. */
static void where_pages_of_2m_may_lie(void **state)
{
	ram = object_of_large_pages(1024);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE + 1), 512, ram, 0, 0), ERR_ALIGN);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 512, ram, 1, 0), ERR_ALIGN);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE + 256), 512, ram, 0, 0), ERR_ALIGN);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE + 5), 1019, ram, 5, 0), 0);
	expect_small(BASE + 5);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_READ), 0);
	check_large(BASE + 512, 512, EPT_RWX);
	assert_int_equal(memslot_move(&vm, 1, GFN(BASE + 6)), ERR_ALIGN);
	assert_int_equal(memslot_move(&vm, 1, GFN(0x8000 + 4)), ERR_ALIGN);
	assert_true(is_large(BASE + 512));
	assert_int_equal(memslot_move(&vm, 1, GFN(0x8000 + 5)), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x8000 + 512), MMU_READ), 0);
	check_large(0x8000 + 512, 512, EPT_RWX);
}

/* --- when not --- */

static void not_beyond_the_slot(void **state)
{
	ram = object_filled(1024);
	slot_at(BASE + 1, 1022, 1, 0); /* one page short at either end */
	expect_small(BASE + 1);
	expect_small(BASE + 511);
	expect_small(BASE + 512);
	expect_small(BASE + 1022);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	slot_at(BASE + 1, 1023, 1, 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_READ), 0);
	check_large(BASE + 512, 512, EPT_RWX);
}

static void not_where_gfn_and_object_are_at_odds(void **state)
{
	ram = object_filled(1024);
	slot_at(BASE, 1023, 1, 0);
	expect_small(BASE + 5);
	assert_int_equal(EPT_PFN(ept_walk(&vm, PAGE(BASE + 5))),
			 gmem_entry_pfn(gmem_entry(ram, 6)).v);
}

static void not_against_the_slot_s_flags(void **state)
{
	ram = object_filled(512);
	slot_at(BASE, 512, 0, MEMSLOT_NO_LARGE);
	expect_small(BASE + 9);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	slot_at(BASE, 512, 0, MEMSLOT_LOG_DIRTY);
	expect_small(BASE + 9);
}

static void not_on_a_cpu_without(void **state)
{
	ram = object_of_large_pages(512);
	mmu_hw.ept_2m = false;
	slot_at(BASE, 512, 0, 0);
	expect_small(BASE + 511);
	expect_small(BASE);
	assert_int_equal(EPT_PFN(ept_walk(&vm, PAGE(BASE + 511))),
			 gmem_entry_pfn(gmem_entry(ram, 0)).v + 511);
}

/* R07. Code is small, and takes away what is large; a split mapping is code's as much as data's. */
static void not_for_code_where_that_is_unsafe(void **state)
{
	ram = object_filled(1536);
	mmu_hw.large_nx = true;
	slot_at(BASE, 1536, 0, 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	check_large(BASE, 0, MMU_READ | MMU_WRITE);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 77), MMU_EXEC), 0);
	assert_false(is_large(BASE + 77));
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 77)) & EPT_RWX, EPT_RWX);
	assert_int_equal(STAT(unmapped_large), 1);
	/* It stays small, whether a fault goes to the thread or not. */
	assert_int_equal(touch(&vcpu, PAGE(BASE + 78), MMU_WRITE), 0);
	assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE + 79), MMU_READ), 0);
	assert_false(is_large(BASE + 79));
	assert_true(is_mapped(BASE + 77));

	assert_int_equal(touch(&vcpu, PAGE(BASE + 600), MMU_EXEC), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 601), MMU_READ), 0);
	assert_false(is_large(BASE + 601));

	assert_int_equal(touch(&vcpu, PAGE(BASE + 1024), MMU_READ), 0);
	check_large(BASE + 1024, 1024, MMU_READ | MMU_WRITE);
	mmu_split(&vm, slot_of(BASE + 1024), GFN(BASE + 1024));
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 1500)) & EPT_RWX, EPT_RWX);
}

static void not_over_a_protected_page(void **state)
{
	u64 done;

	ram = object_filled(1024);
	slot_at(BASE, 1024, 0, 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 511), 1, true, &done), 0);
	expect_small(BASE);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_READ), 0);
	check_large(BASE + 512, 512, EPT_RWX);
}

static void not_with_a_page_missing(void **state)
{
	u64 entry;

	ram = object_lucky();
	slot_at(BASE, 512, 0, 0);
	assert_int_equal(gmem_claim(ram, 300, &entry), 0);
	expect_small(BASE + 5);
	gmem_settle(ram, 300, (entry & PAGE_MASK) | GMEM_SHARED);
	expect_small(BASE + 6);
	assert_int_equal(gmem_claim(ram, 300, &entry), 0);
	gmem_settle(ram, 300, (entry & PAGE_MASK) | GMEM_GOT_PAGE);
}

static void not_where_frames_lie_otherwise(void **state)
{
	u64 entry[2];

	ram = object_lucky();
	slot_at(BASE, 512, 0, 0);
	for (u32 i = 0; i < 2; i++)
		assert_int_equal(gmem_claim(ram, 40 + i, &entry[i]), 0);
	for (u32 i = 0; i < 2; i++)
		gmem_settle(ram, 40 + i, entry[!i]);
	expect_small(BASE + 5);
	expect_small(BASE + 40);
	expect_small(BASE + 41);
}

static void memory_for_tables_runs_out(void **state)
{
	ram = object_filled(512);
	slot_at(BASE, 512, 0, 0);
	mmu_vcpu_destroy(&vcpu);
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), ERR_TOO_HARD);
	assert_false(is_mapped(BASE));
	assert_true(rmap_empty(large_word_of(BASE)));
	mmu_vcpu_init(&vcpu, &vm);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
	check_large(BASE, 0, EPT_RWX);
}

/* --- rights --- */

static void rights_come_and_go_in_one_piece(void **state)
{
	ram = object_filled(512);
	slot_at(BASE, 512, 0, MEMSLOT_READONLY);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1), MMU_READ), 0);
	check_large(BASE, 0, EPT_R | EPT_X);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1), MMU_WRITE), ERR_NOSLOT);
	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	check_large(BASE, 0, EPT_R | EPT_X);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1), MMU_WRITE), 0);
	check_large(BASE, 0, EPT_RWX);
	assert_int_equal(STAT(flushes), 0);
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_READONLY), 0);
	check_large(BASE, 0, EPT_R | EPT_X);
	assert_int_equal(STAT(write_protected), 512);
	assert_int_equal(STAT(split), 0);
	assert_int_equal(STAT(flushes), 1);
}

/* --- ends --- */

static void whole_regions_are_dropped_in_one_piece(void **state)
{
	u64 leaves, tables;

	ram = object_of_large_pages(2048);
	slot_at(BASE, 2048, 0, 0);
	for (u64 gfn = BASE; gfn < BASE + 2048; gfn += 512)
		assert_int_equal(touch(&vcpu, PAGE(gfn + 3), MMU_WRITE), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 512), 1024), 1024);
	assert_int_equal(STAT(unmapped_large), 2);
	assert_int_equal(STAT(unmapped), 1024);
	assert_int_equal(STAT(split), 0);
	assert_true(is_large(BASE) && is_large(BASE + 1536));
	assert_false(is_mapped(BASE + 512) || is_mapped(BASE + 1024));
	/* A spte that was used when it was taken is remembered. */
	assert_true(*large_word_of(BASE + 512) & RMAP_YOUNG);
	assert_int_equal(gmem_drop(ram, 0), 0);
	assert_false(is_mapped(BASE));
	assert_int_equal(memslot_delete(&vm, 1), 0);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 0);
	assert_int_equal(tables, 1);
	assert_int_equal(STAT(unmapped_large), 4);
}

/* R26. At a base of another alignment the same pages are mapped one by one; and large again at home. */
static void moving_to_another_alignment(void **state)
{
	static const u64 bases[] = {BASE + 1, BASE - 511, 0x10000, 0x10000 + 256, BASE};

	ram = object_filled(1536);
	slot_at(BASE, 1536, 0, 0);
	for (u64 i = 0; i < 1536; i += 512)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	for (u32 b = 0; b < ARRAY_SIZE(bases); b++) {
		u64 leaves, tables;

		assert_int_equal(memslot_move(&vm, 1, GFN(bases[b])), 0);
		ept_census(&vm, &leaves, &tables);
		assert_int_equal(leaves, 0);
		assert_int_equal(tables, 1);
		grace();
		for (u64 i = 0; i < 1536; i += 100) {
			assert_int_equal(touch(&vcpu, PAGE(bases[b] + i), MMU_WRITE), 0);
			assert_int_equal(is_large(bases[b] + i), bases[b] % 512 == 0);
			assert_int_equal(EPT_PFN(ept_walk(&vm, PAGE(bases[b] + i))) & ~511ull,
					 gmem_entry_pfn(gmem_entry(ram, i)).v & ~511ull);
		}
		check_audit();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pages_of_2m, setup, teardown),
		cmocka_unit_test_setup_teardown(a_filled_object, setup, teardown),
		cmocka_unit_test_setup_teardown(luck, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_there_needs_no_look, setup, teardown),
		cmocka_unit_test_setup_teardown(where_pages_of_2m_may_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(not_beyond_the_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(not_where_gfn_and_object_are_at_odds, setup,
						teardown),
		cmocka_unit_test_setup_teardown(not_against_the_slot_s_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(not_on_a_cpu_without, setup, teardown),
		cmocka_unit_test_setup_teardown(not_for_code_where_that_is_unsafe, setup, teardown),
		cmocka_unit_test_setup_teardown(not_over_a_protected_page, setup, teardown),
		cmocka_unit_test_setup_teardown(not_with_a_page_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(not_where_frames_lie_otherwise, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_for_tables_runs_out, setup, teardown),
		cmocka_unit_test_setup_teardown(rights_come_and_go_in_one_piece, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_regions_are_dropped_in_one_piece, setup,
						teardown),
		cmocka_unit_test_setup_teardown(moving_to_another_alignment, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
