/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* The audit passes what is right, and names each kind of damage, which this does by hand. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mmu/ept.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x143
#define PAGES 1600
#define LARGE 0x2000 /* a slot whose second region is mapped large */

static struct gmem *ram, *large;

static int setup(void **state)
{
	fixture_start(MIB(32));
	ram = object_new(PAGES);
	large = object_filled(1024);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(LARGE), 1024, large, 0, 0), 0);
	for (u64 i = 0; i < 5; i++)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1500), MMU_WRITE), 0);
	assert_int_equal(touch(&vcpu, PAGE(LARGE + 512), MMU_WRITE), 0);
	return 0;
}

/* Only what was repaired gets past the audit at the VM's end. */
static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	gmem_unref(large);
	fixture_end();
	return 0;
}

static void expect(const char *what, u64 gfn)
{
	char start[32];
	const char *found = mmu_audit(&vm);

	assert_non_null(found);
	snprintf(start, sizeof(start), "gfn %#llx: ", (unsigned long long)gfn);
	assert_memory_equal(found, start, strlen(start));
	assert_non_null(strstr(found, what));
	assert_int_equal(hosted_locks_held(), 0);
}

static void clean_states(void **state)
{
	u64 done;

	check_audit();
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 1), 2), 2);
	check_audit();
	assert_int_equal(mmu_range_protect(&vm, GFN(LARGE + 700), 9, true, &done), 0);
	check_audit();
	assert_int_equal(memslot_move(&vm, 1, GFN(0x8001)), 0);
	check_audit();
	assert_int_equal(touch(&vcpu, PAGE(0x8001 + 511), MMU_READ), 0);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	check_audit();
	assert_int_equal(mmu_unmap(&vm, GFN(0), ~0ull), 1);
	check_audit();
}

static const u64 places[] = {BASE, BASE + 4, BASE + 1500, LARGE + 512};

static u64 *word_at(u64 gfn)
{
	return is_large(gfn) ? large_word_of(gfn) : word_of(gfn);
}

static void a_spte_cleared_behind_its_reverse_map(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
		u64 *spte = spte_of(places[i]), e = *spte;

		*spte = 0;
		expect("a reverse map has a spte that is not in the tables", places[i]);
		*spte = ept_format.frozen;
		expect("a reverse map has a spte that is not in the tables", places[i]);
		*spte = e;
	}
}

static void a_spte_in_no_reverse_map(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
		u64 *word = word_at(places[i]), value = *word;

		*word &= ~RMAP_ADDRESS;
		expect("a spte is in no reverse map", places[i]);
		*word = value;
	}
}

static void a_spte_in_the_wrong_chain(void **state)
{
	u64 *a = word_of(BASE), *b = word_of(BASE + 1), value = *a;

	*a = *b;
	expect("a spte is in no reverse map", BASE);
	*a = value;
	/* Two gfns say of one spte that it is theirs. */
	assert_true(rmap_empty(word_of(BASE + 9)));
	*word_of(BASE + 9) = value;
	expect("a reverse map has a spte that is not in the tables", BASE + 9);
	*word_of(BASE + 9) = 0;
	/* A large word with a small spte, and the other way round. */
	*large_word_of(BASE) = value;
	expect("a reverse map has a spte that is not in the tables", BASE & ~511ull);
	*large_word_of(BASE) = 0;
	assert_int_equal(rmap_prepare(slot_of(LARGE), GFN(LARGE + 512)), 0);
	*word_of(LARGE + 512) = *large_word_of(LARGE + 512);
	expect("a reverse map has a spte that is not in the tables", LARGE + 512);
	*word_of(LARGE + 512) = 0;
}

static void a_spte_with_another_page(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
		u64 *spte = spte_of(places[i]);
		u64 other = is_large(places[i]) ? MIB(2) : PAGE_SIZE;

		*spte ^= other;
		expect("a spte shows another page than its object", places[i]);
		*spte ^= other;
	}
}

static void a_page_that_is_not_resident(void **state)
{
	u64 entry = ram->slot_phys[0].entries[3];

	ram->slot_phys[0].entries[3] = (entry & ~GMEM_STATE_MASK) | GMEM_PACKED;
	expect("a spte shows a page that is not resident", BASE + 3);
	/* But while it is being taken away that is as it should be. */
	gmem_invalidate_begin(ram, 3, 1);
	check_audit();
	gmem_invalidate_end(ram, 3, 1);
	ram->slot_phys[0].entries[3] = entry;
}

/* Who has claimed it says later whether it goes, or stays as it is (leave_shared). */
static void a_page_that_is_claimed(void **state)
{
	u64 entry;

	assert_int_equal(gmem_claim(ram, 3, &entry), 0);
	check_audit();
	gmem_settle(ram, 3, entry);
	check_audit();
}

static void a_spte_outside_all_slots(void **state)
{
	const struct page_table_level *l = &ept_format.level[3];
	u64 *spte = spte_of(BASE + 4) - 5; /* BASE - 1 */

	*spte = l->make_leaf(HPA(0x5000), MMU_READ);
	expect("a spte lies in no slot", BASE - 1);
	*spte = 0;
	/* Where the slot has no words yet. */
	spte = spte_of(BASE + 1500) + 40; /* in the same table, but not in the same chunk */
	assert_null(word_of(BASE + 1540));
	assert_int_equal((BASE + 1540) / 512, (BASE + 1500) / 512);
	*spte = l->make_leaf(HPA(0x5000), MMU_READ);
	expect("a spte has no reverse map", BASE + 1540);
	*spte = 0;
}

/* The words of a slot's first 512 pages never came; those of the next begin within a region. */
static void after_words_that_never_came(void **state)
{
	u64 gfn = 0x8003 + 512, *spte, e;

	assert_int_equal(memslot_create(&vm, 3, GFN(0x8003), 600, ram, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(gfn), MMU_READ), 0);
	assert_null(word_of(gfn - 1));
	check_audit();
	spte = spte_of(gfn);
	e = *spte;
	*spte = 0;
	expect("a reverse map has a spte that is not in the tables", gfn);
	*spte = e;
}

/* Of several it is the first that is named. */
static void the_first_of_several(void **state)
{
	u64 *spte = spte_of(BASE), *word = word_of(BASE + 2), e = *spte, value = *word;

	*spte ^= PAGE_SIZE;
	*word = 0;
	expect("a spte shows another page than its object", BASE);
	*spte = e;
	expect("a spte is in no reverse map", BASE + 2);
	*word = value;
}

/* A chain of several is searched to its end. */
static void a_long_chain(void **state)
{
	u64 *word = word_of(BASE), *other = spte_of(BASE + 1);
	bool on = irq_save();

	assert_int_equal(rmap_cache_fill(&vcpu.rmaps), 0);
	rmap_lock(word);
	assert_int_equal(rmap_add(word, other, &vcpu.rmaps), 0);
	rmap_unlock(word);
	irq_restore(on);
	/* BASE's own is found; the other is none of it. */
	expect("a reverse map has a spte that is not in the tables", BASE);
	on = irq_save();
	rmap_lock(word);
	rmap_remove(word, other);
	rmap_unlock(word);
	irq_restore(on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(clean_states, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spte_cleared_behind_its_reverse_map, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_spte_in_no_reverse_map, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spte_in_the_wrong_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spte_with_another_page, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_that_is_not_resident, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_that_is_claimed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spte_outside_all_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(after_words_that_never_came, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_of_several, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_chain, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
