/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_big.c tests/unit/mmu/peek.c */
/*
 * Pages of 2 MiB in shadow tables: what takes them away, makes them small and lets them be large
 * again; and what the audit says of them. It is looked at after each test, both ways.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"
#include "tests/unit/mmu/shadow_big.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

/* --- Taking away --- */

static void is_gone(u64 gva)
{
	u64 at;

	assert_false(shadow_cpu(&vcpu, &paging, gva, MMU_READ, &at));
}

/* Both mapped large, at the guest's own addresses. */
static void two_regions(void)
{
	begin_with(large_object(1024));
	slot_of_big(BIG, 0, 1024, 0);
	no_paging();
	reaches(BIG << 12, BIG, MMU_WRITE);
	reaches((BIG + 512) << 12, BIG + 512, MMU_WRITE);
}

static void whole_and_in_part(void **state)
{
	(void)state;
	two_regions();
	assert_int_equal(mmu_unmap(&vm, GFN(BIG), 512), 512);
	assert_int_equal(STAT(split), 0);
	is_gone(BIG << 12);
	/* What was used when it was taken is remembered. */
	assert_true(*large_word_of(BIG) & RMAP_YOUNG);
	reaches((BIG + 512) << 12, BIG + 512, MMU_READ);
	all_in_one(BIG << 12, BIG);
	assert_int_equal(mmu_unmap(&vm, GFN(BIG + 7), 1), 1);
	assert_int_equal(STAT(split), 1);
	is_gone((BIG + 7) << 12);
	small_at(BIG + 7);
	small_at(BIG + 8);
	assert_true(is_mapped_large(BIG + 512));
}

/* What mem/ announces: both that are mapped large are swept. */
static void by_the_object(void **state)
{
	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	assert_int_equal(memslot_create(&vm, 3, GFN(0x8000), 512, big, 0, 0), 0);
	no_paging();
	reaches(BIG << 12, BIG, MMU_WRITE);
	reaches(0x8000ull << 12, 0x8000, MMU_WRITE);
	assert_int_equal(gmem_drop(big, 0), 0);
	is_gone(BIG << 12);
	is_gone(0x8000ull << 12);
	reaches(BIG << 12, BIG, MMU_WRITE);
}

static void split_and_joined(void **state)
{
	u64 young[LARGE_PAGES / 64] = {0};

	(void)state;
	begin_with(object_filled(512));
	slot_of_big(BIG, 0, 512, 0);
	no_paging();
	reaches(BIG << 12, BIG, MMU_WRITE);
	/* A large page is used as a whole. */
	assert_int_equal(gmem_age_marked(big, 0, 512, young), 512);
	for (u32 i = 0; i < ARRAY_SIZE(young); i++)
		assert_int_equal(young[i], ~0ull);
	assert_int_equal(gmem_age_marked(big, 0, 512, young), 0);
	reaches((BIG + 1) << 12, BIG + 1, MMU_WRITE);
	gmem_split(big, 0, 512);
	is_gone(BIG << 12);
	small_at(BIG + 70);
	memset(young, 0, sizeof(young));
	(void)gmem_age_marked(big, 0, 512, young); /* as when it went */
	shadow_cpu_forget();
	reaches((BIG + 70) << 12, BIG + 70, MMU_READ);
	memset(young, 0, sizeof(young));
	assert_int_equal(gmem_age_marked(big, 0, 512, young), 1);
	assert_int_equal(young[1], BIT(70 - 64));
	gmem_join(big, 0, 512);
	all_in_one((BIG + 70) << 12, BIG + 70);
}

static void with_its_slot(void **state)
{
	(void)state;
	two_regions();
	assert_int_equal(memslot_move(&vm, 2, GFN(BIG + 0x1000)), 0);
	is_gone(BIG << 12);
	assert_int_equal(shadow_access(BIG << 12, MMU_READ, NULL), ERR_NOSLOT);
	all_in_one((BIG + 0x1000) << 12, BIG + 0x1000);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	assert_int_equal(shadow_access((BIG + 0x1000) << 12, MMU_READ, NULL), ERR_NOSLOT);
	/* The roots that it has, and the one that it had before. */
	assert_int_equal(vm.shadow->pages, 5);
}

/* --- The log, and what the guest protects --- */

static void a_log_begins_and_ends(void **state)
{
	u64 log[8] = {0};

	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	no_paging();
	reaches(BIG << 12, BIG, MMU_WRITE);
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_LOG_DIRTY), 0);
	assert_false(is_mapped_large(BIG));
	is_gone(BIG << 12);
	reaches((BIG + 65) << 12, BIG + 65, MMU_WRITE);
	reaches((BIG + 66) << 12, BIG + 66, MMU_READ);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 2, log, 8), 0);
	assert_int_equal(log[1], BIT(1));
	assert_int_equal(log[0] | log[2] | log[7], 0);
	assert_int_equal(memslot_set_flags(&vm, 2, 0), 0);
	all_in_one((BIG + 66) << 12, BIG + 66);
}

static void a_page_is_protected(void **state)
{
	u64 done;

	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	no_paging();
	reaches(BIG << 12, BIG, MMU_WRITE);
	assert_int_equal(mmu_range_protect(&vm, GFN(BIG + 5), 1, true, &done), 0);
	assert_false(is_mapped_large(BIG));
	is_gone((BIG + 5) << 12);
	assert_int_equal(shadow_access((BIG + 5) << 12, MMU_WRITE, NULL), ERR_PERM);
	small_at(BIG + 5);
	reaches((BIG + 6) << 12, BIG + 6, MMU_WRITE);
	assert_int_equal(mmu_range_protect(&vm, GFN(BIG + 5), 1, false, &done), 0);
	all_in_one((BIG + 5) << 12, BIG + 5);
}

/*
 * Who protects counts first and takes the mapping after; a fault between the two maps a small one.
 */
static void a_page_is_about_to_be_protected(void **state)
{
	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	big_entry(1, BIG, MARKED & ~DIRTY);
	reaches(AT(1, 3), BIG + 3, MMU_READ);
	assert_true(is_mapped_large(BIG));
	++*rmap_small_count(slot_of(BIG), GFN(BIG));
	reaches(AT(1, 3), BIG + 3, MMU_WRITE);
	assert_false(is_mapped_large(BIG));
	assert_int_equal(chain_length(word_of(BIG + 3)), 1);
	--*rmap_small_count(slot_of(BIG), GFN(BIG));
}

static void what_a_page_is_said_to_be(void **state)
{
	struct mmu_page_state s;

	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	no_paging();
	reaches(BIG << 12, BIG, MMU_WRITE);
	assert_int_equal(mmu_page_state(&vm, GFN(BIG + 400), &s), 0);
	assert_true(s.large && s.mapped && s.writable && s.accessed && s.dirty);
	assert_true(mmu_split(&vm, slot_of(BIG), GFN(BIG)));
	assert_true(*large_word_of(BIG) & RMAP_YOUNG); /* it was accessed */
	assert_false(mmu_split(&vm, slot_of(BIG), GFN(BIG)));
	assert_int_equal(mmu_page_state(&vm, GFN(BIG + 400), &s), 0);
	assert_false(s.large || s.mapped);
}

/* --- Without memory --- */

static void each_allocation_fails_once(void **state)
{
	u32 refused = 0;

	(void)state;
	begin_with(large_object(512));
	slot_of_big(BIG, 0, 512, 0);
	big_entry(1, BIG, MARKED);
	for (u32 n = 1;; n++) {
		struct shadow_answer answer;
		struct mmu_vcpu other;
		bool reached;
		int err;

		mmu_vcpu_init(&other, &vm);
		hosted_fail_after(n);
		err = mmu_shadow_load(&other, &paging);
		if (!err)
			err = mmu_shadow_fault(&other, &paging, GVA(AT(1, 1)), MMU_WRITE, &answer);
		reached = hosted_fail_happened();
		hosted_fail_after(0);
		assert_null(mmu_audit(&vm));
		refused += err == ERR_NOMEM;
		assert_int_equal(mmu_shadow_load(&other, &paging), 0);
		assert_int_equal(
			mmu_shadow_fault(&other, &paging, GVA(AT(1, 1)), MMU_WRITE, &answer), 0);
		assert_true(is_mapped_large(BIG));
		mmu_vcpu_destroy(&other);
		shadow_zap_all(&vm);
		assert_int_equal(gmem_drop(big, 0), 0);
		if (!reached)
			break;
	}
	assert_true(refused > 10);
}

/* --- What the audit finds --- */

static void audit_of_large_entries(void **state)
{
	u64 *word, *spte, e;

	(void)state;
	begin_with(large_object(1024));
	slot_of_big(BIG, 0, 1024, 0);
	big_entry(1, BIG, MARKED);
	reaches(AT(1, 1), BIG + 1, MMU_WRITE);
	assert_null(mmu_audit(&vm));
	word = large_word_of(BIG);
	spte = rmap_spte(word, 0);
	e = *spte;
	spte[1] = e;
	audit_says("in no reverse map");
	spte[1] = 0;
	*spte = 0;
	audit_says("keeps the word of a leaf");
	shadow_leaf_gone(spte);
	audit_says("not in the tables");
	shadow_page_of(virt_to_phys(spte).v)->words[1] = word;
	*spte = e + MIB(2);
	audit_says("another page");
	*spte = e + PAGE_SIZE;
	audit_says("not aligned");
	*spte = e;
	*word |= RMAP_SMALL;
	audit_says("to be small");
	*word &= ~RMAP_SMALL;
	mmu_hw.large_nx = true;
	audit_says("may be executed");
	mmu_hw.large_nx = false;
	assert_int_equal(rmap_prepare(slot_of(BIG), GFN(BIG + 9)), 0);
	*word_of(BIG + 9) |= RMAP_PROTECTED;
	audit_says("a protected page among them");
	assert_int_equal(mmu_unmap(&vm, GFN(BIG), 512), 512);
	audit_says("does not count all");
	*word_of(BIG + 9) &= ~RMAP_PROTECTED;
	assert_null(mmu_audit(&vm));
	/* At another level. */
	entry(4, 9, 100, MARKED);
	reaches(9ull << 12, 100, MMU_READ);
	spte = rmap_spte(word_of(100), 0);
	*spte |= SPTE_PAGE;
	audit_says("at another level");
	*spte &= ~SPTE_PAGE;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, shadow_big_start, shadow_big_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whole_and_in_part),
		TEST(by_the_object),
		TEST(split_and_joined),
		TEST(with_its_slot),
		TEST(a_log_begins_and_ends),
		TEST(a_page_is_protected),
		TEST(a_page_is_about_to_be_protected),
		TEST(what_a_page_is_said_to_be),
		TEST(each_allocation_fails_once),
		TEST(audit_of_large_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
