/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* Which pages were used: with the CPU's accessed bits, without them, and for all who share. */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mmu/ept.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x143
#define PAGES 64

static struct gmem *ram;

static int setup(void **state)
{
	fixture_start(MIB(32));
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	return 0;
}

/* The fixture's machine, but its CPUs note nothing in EPT entries. */
static int setup_without(void **state)
{
	setup(state);
	mmu_hw.ept_ad = false;
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static u32 bits(u64 gfn)
{
	return ept_walk(&vm, PAGE(gfn)) & (EPT_RWX | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY);
}

static void touch_pages(u64 first, u64 pages)
{
	for (u64 i = first; i < first + pages; i++)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_READ), 0);
}

static void with_accessed_bits(void **state)
{
	assert_false(mmu_age_unmaps(&vm));
	touch_pages(10, 5);
	assert_int_equal(bits(BASE + 10), EPT_RWX | PAGE_TABLE_ACCESSED);
	assert_int_equal(mmu_age(&vm, GFN(BASE), PAGES), 5);
	assert_int_equal(STAT(aged_young), 5);
	for (u64 i = 10; i < 15; i++)
		assert_int_equal(bits(BASE + i), EPT_RWX);
	assert_int_equal(mmu_age(&vm, GFN(BASE), PAGES), 0);
	/* The CPU uses two of them. */
	*spte_of(BASE + 11) |= PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY;
	*spte_of(BASE + 14) |= PAGE_TABLE_ACCESSED;
	assert_int_equal(mmu_age(&vm, GFN(BASE + 12), 10), 1);
	assert_int_equal(mmu_age(&vm, GFN(0), ~0ull), 1);
	assert_int_equal(bits(BASE + 11), EPT_RWX | PAGE_TABLE_DIRTY);
	assert_int_equal(STAT(flushes), 0);
	assert_int_equal(STAT(unmapped), 0);
}

static void looking_changes_nothing(void **state)
{
	u64 e, word;

	touch_pages(3, 1);
	e = *spte_of(BASE + 3);
	word = *word_of(BASE + 3);
	for (u32 i = 0; i < 2; i++) {
		assert_true(mmu_test_young(&vm, GFN(BASE), PAGES));
		assert_false(mmu_test_young(&vm, GFN(BASE), 3));
		assert_false(mmu_test_young(&vm, GFN(BASE + 4), PAGES));
		assert_false(mmu_test_young(&vm, GFN(BASE + PAGES), 10));
		assert_int_equal(*spte_of(BASE + 3), e);
		assert_int_equal(*word_of(BASE + 3), word);
	}
	assert_int_equal(STAT(aged_young), 0);
	assert_int_equal(mmu_age(&vm, GFN(BASE + 3), 1), 1);
	assert_false(mmu_test_young(&vm, GFN(BASE), PAGES));
}

/* A mapping that goes leaves behind that it had been used; once. */
static void use_is_remembered(void **state)
{
	touch_pages(0, 2);
	*spte_of(BASE + 1) &= ~PAGE_TABLE_ACCESSED;
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 2), 2);
	assert_true(mmu_test_young(&vm, GFN(BASE), 1));
	assert_false(mmu_test_young(&vm, GFN(BASE + 1), 1));
	assert_int_equal(*word_of(BASE), RMAP_YOUNG);
	assert_int_equal(mmu_age(&vm, GFN(BASE), 2), 1);
	assert_int_equal(*word_of(BASE), 0);
	assert_int_equal(mmu_age(&vm, GFN(BASE), 2), 0);
	/* Remembered and used again is one. */
	touch_pages(0, 1);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 1), 1);
	touch_pages(0, 1);
	assert_int_equal(mmu_age(&vm, GFN(BASE), 1), 1);
	assert_int_equal(mmu_age(&vm, GFN(BASE), 1), 0);
}

/* --- R18, R19: the CPU writes the page between the look at the entry and its change --- */

static struct page_table_format format;
static u64 *spte;
static u64 meanwhile; /* bits that the CPU sets, once */

static u64 with_access(u64 e, u32 access)
{
	__atomic_fetch_or(spte, meanwhile, __ATOMIC_SEQ_CST);
	meanwhile = 0;
	return ept_format.level[3].with_access(e, access);
}

static void what_the_cpu_sets_meanwhile_is_kept(void **state)
{
	static const struct {
		u64 before, meanwhile, after;
	} cases[] = {
		{PAGE_TABLE_ACCESSED, PAGE_TABLE_DIRTY, PAGE_TABLE_DIRTY},
		{PAGE_TABLE_ACCESSED, PAGE_TABLE_DIRTY | PAGE_TABLE_ACCESSED, PAGE_TABLE_DIRTY},
		{PAGE_TABLE_ACCESSED, MMU_WRITE, MMU_WRITE},
		{PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY, PAGE_TABLE_ACCESSED, PAGE_TABLE_DIRTY},
	};

	format = ept_format;
	format.level[3].with_access = with_access;
	vm.format = &format;
	touch_pages(0, 1);
	spte = spte_of(BASE);
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		*spte = ept_format.level[3].with_access(*spte,
							MMU_READ | MMU_EXEC | (u32)cases[i].before);
		meanwhile = cases[i].meanwhile;
		assert_int_equal(mmu_age(&vm, GFN(BASE), 1), 1);
		assert_int_equal(meanwhile, 0);
		assert_int_equal(bits(BASE), MMU_READ | MMU_EXEC | cases[i].after);
	}
	vm.format = &ept_format;
}

/* --- R20 --- */

static void without_accessed_bits(void **state)
{
	assert_true(mmu_age_unmaps(&vm));
	touch_pages(0, 3);
	assert_true(mmu_test_young(&vm, GFN(BASE), 3));
	assert_int_equal(mmu_age(&vm, GFN(BASE), PAGES), 3);
	assert_int_equal(STAT(flushes), 1);
	assert_int_equal(STAT(unmapped), 3);
	for (u64 i = 0; i < 3; i++) {
		assert_false(is_mapped(BASE + i));
		assert_int_equal(*word_of(BASE + i), 0);
	}
	assert_false(mmu_test_young(&vm, GFN(BASE), 3));
	assert_int_equal(mmu_age(&vm, GFN(BASE), PAGES), 0);
	assert_int_equal(STAT(flushes), 1);
	/* Whoever comes back is young; that it was written nobody notes. */
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1), MMU_WRITE), 0);
	assert_int_equal(bits(BASE + 1), EPT_RWX | PAGE_TABLE_ACCESSED);
	assert_true(mmu_test_young(&vm, GFN(BASE), 3));
	assert_int_equal(mmu_age(&vm, GFN(BASE), PAGES), 1);
}

/* A neighbour that was mapped along was not asked for. */
static void neighbours_are_not_young(void **state)
{
	touch_pages(0, 8);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 8), 8);
	assert_int_equal(mmu_age(&vm, GFN(BASE), 8), 8);
	vm.fault_around = 4;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 2), MMU_READ), 0); /* gfns 0x144 to 0x147 */
	assert_int_equal(STAT(mapped_around), 3);
	assert_false(mmu_test_young(&vm, GFN(BASE + 1), 1));
	assert_int_equal(mmu_age(&vm, GFN(BASE), 8), 1);
	assert_false(is_mapped(BASE + 1));
}

/* --- large --- */

static struct gmem *map_large(void)
{
	struct gmem *g = object_filled(512);

	assert_int_equal(memslot_create(&vm, 2, GFN(0x2000), 512, g, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x2000), MMU_READ), 0);
	assert_true(is_large(0x2000));
	return g;
}

static void a_large_page_with_accessed_bits(void **state)
{
	struct gmem *g = map_large();

	assert_true(mmu_test_young(&vm, GFN(0x2000 + 100), 1));
	/* Counted are the pages of the range; its only mark is gone then. */
	assert_int_equal(mmu_age(&vm, GFN(0x2000 + 100), 30), 30);
	assert_int_equal(mmu_age(&vm, GFN(0x2000), 512), 0);
	assert_true(is_large(0x2000));
	assert_int_equal(STAT(split) + STAT(flushes), 0);
	*spte_of(0x2000) |= PAGE_TABLE_ACCESSED;
	assert_int_equal(mmu_age(&vm, GFN(0x2000), 512), 512);
	assert_int_equal(STAT(aged_young), 512 + 512);
	gmem_unref(g);
}

static void a_large_page_without_accessed_bits(void **state)
{
	struct gmem *g = map_large();

	assert_true(mmu_test_young(&vm, GFN(0x2000 + 100), 1));
	assert_int_equal(mmu_age(&vm, GFN(0x2000), 512), 512);
	assert_false(is_mapped(0x2000));
	assert_int_equal(STAT(split), 0);
	assert_int_equal(STAT(aged_young), 512);
	assert_int_equal(mmu_age(&vm, GFN(0x2000), 512), 0);
	/* Of a part only the part goes. */
	assert_int_equal(touch(&vcpu, PAGE(0x2000), MMU_READ), 0);
	assert_int_equal(mmu_age(&vm, GFN(0x2000 + 100), 30), 30);
	assert_int_equal(STAT(split), 1);
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(is_mapped(0x2000 + i), i < 100 || i >= 130);
	assert_int_equal(mmu_age(&vm, GFN(0x2000), 512), 512 - 30);
	gmem_unref(g);
}

/* What is remembered of a large mapping is that of all its pages, and told with the first of them. */
static void use_of_a_large_page_is_remembered(void **state)
{
	struct gmem *g = map_large();

	assert_int_equal(mmu_unmap(&vm, GFN(0x2000), 512), 512);
	assert_true(mmu_test_young(&vm, GFN(0x2000 + 511), 1));
	assert_int_equal(mmu_age(&vm, GFN(0x2000 + 7), 1), 1);
	assert_false(mmu_test_young(&vm, GFN(0x2000), 512));
	assert_int_equal(mmu_age(&vm, GFN(0x2000), 512), 0);
	gmem_unref(g);
}

/* --- by the object --- */

static void through_every_slot_and_vm(void **state)
{
	static struct mmu_vm other;
	struct gmem *another = object_new(PAGES);
	struct mmu_vcpu v;

	/* None of this is about what another object shows at the same indexes. */
	assert_int_equal(memslot_create(&vm, 3, GFN(0x3000), PAGES, another, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x3000 + 9), MMU_READ), 0);
	/* Pages 8 to 23 of the object, once more; and pages 0 to 9 in another VM. */
	assert_int_equal(memslot_create(&vm, 2, GFN(0x2000), 16, ram, 8, 0), 0);
	assert_int_equal(mmu_vm_create(&other, MMU_EPT), 0);
	mmu_vcpu_init(&v, &other);
	assert_int_equal(memslot_create(&other, 1, GFN(0x77), 10, ram, 0, 0), 0);

	touch_pages(4, 6);					   /* 4 to 9 */
	assert_int_equal(touch(&vcpu, PAGE(0x2000), MMU_READ), 0); /* 8 */
	assert_int_equal(touch(&v, PAGE(0x77 + 9), MMU_READ), 0);  /* 9 */
	assert_int_equal(touch(&v, PAGE(0x77 + 1), MMU_READ), 0);  /* 1 */
	assert_true(gmem_test_young(ram, 1, 1) && gmem_test_young(ram, 8, 1));
	assert_false(gmem_test_young(ram, 2, 2) || gmem_test_young(ram, 10, PAGES - 10));
	assert_int_equal(gmem_age(ram, 8, 1), 2);
	assert_false(gmem_test_young(ram, 8, 1));
	assert_true(gmem_test_young(ram, 9, 1));
	assert_int_equal(gmem_age(ram, 0, PAGES), 5 + 2); /* 4 to 7, 9 here; 1, 9 there */
	assert_int_equal(gmem_age(ram, 0, PAGES), 0);

	/* What it takes away is gone everywhere. */
	assert_int_equal(gmem_drop(ram, 9), 0);
	assert_int_equal(ept_walk(&other, PAGE(0x77 + 9)), 0);
	assert_false(is_mapped(BASE + 9));
	assert_true(is_mapped(0x2000) && is_mapped(BASE + 8));
	assert_null(mmu_audit(&other));
	mmu_vcpu_destroy(&v);
	mmu_vm_destroy(&other);
	assert_int_equal(gmem_age(ram, 0, PAGES), 0);
	assert_true(is_mapped(0x3000 + 9));
	assert_int_equal(gmem_age(another, 0, PAGES), 1);
	gmem_unref(another);
}

/* Which pages were young, by their place in the object, from every slot that shows them. */
static void which_they_are(void **state)
{
	u64 young[2] = {0};
	struct gmem *g;

	assert_int_equal(memslot_create(&vm, 7, GFN(0x9000), 16, ram, 8, 0), 0);
	touch_pages(4, 2);
	assert_int_equal(touch(&vcpu, PAGE(0x9000 + 15), MMU_READ), 0); /* 23 */
	touch_pages(63, 1);
	assert_int_equal(gmem_age_marked(ram, 5, 59, young), 3);
	assert_int_equal(young[0], BIT(0) | BIT(23 - 5) | BIT(63 - 5));
	assert_int_equal(gmem_age_marked(ram, 0, PAGES, young + 1), 1);
	assert_int_equal(young[1], BIT(4));

	/* Of a large mapping all that were asked for, and none beside them. */
	g = map_large();
	for (u32 i = 0; i < 2; i++)
		young[i] = 0;
	assert_int_equal(gmem_age_marked(g, 100, 70, young), 70);
	assert_int_equal(young[0], ~0ull);
	assert_int_equal(young[1], BIT(6) - 1);
	assert_int_equal(gmem_age_marked(g, 100, 70, young), 0);
	gmem_unref(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(with_accessed_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(looking_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(use_is_remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_cpu_sets_meanwhile_is_kept, setup,
						teardown),
		cmocka_unit_test_setup_teardown(without_accessed_bits, setup_without, teardown),
		cmocka_unit_test_setup_teardown(neighbours_are_not_young, setup_without, teardown),
		cmocka_unit_test_setup_teardown(a_large_page_with_accessed_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_page_without_accessed_bits, setup_without,
						teardown),
		cmocka_unit_test_setup_teardown(use_of_a_large_page_is_remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(use_of_a_large_page_is_remembered, setup_without,
						teardown),
		cmocka_unit_test_setup_teardown(through_every_slot_and_vm, setup, teardown),
		cmocka_unit_test_setup_teardown(which_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(which_they_are, setup_without, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
