/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/peek.c */
/*
 * Shadow paging where something is missing: roots that are in no slot, memory, a CR3's place. And what
 * the audit says of tables that do not agree: each of its complaints, by breaking them on purpose.
 */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mem/gmem_private.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 1024u
#define NOWHERE	  0x40000ull /* a gfn without slot */
#define PRESENT	  0x1ull
#define GUEST_VA  (7ull << 12)
#define DATA	  100u /* the page that is at GUEST_VA */
#define CR3S	  512u

static int start(void **state)
{
	shadow_guest_start(MIB(64), RAM_PAGES);
	entry(4, 7, DATA, MARKED);
	return 0;
}

/* H_ENTER maps nothing here, and says all the same what may not be written. */
static void protected_pages_are_not_got_for_writing(void **state)
{
	u64 done;

	load();
	assert_int_equal(mmu_range_protect(&vm, GFN(DATA + 1), 1, true, &done), 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(DATA), 3, true, false, &done), ERR_PERM);
	assert_int_equal(done, 1);
	assert_int_equal(mmu_range_get(&vcpu, GFN(DATA), 3, true, true, &done), ERR_PERM);
	assert_int_equal(done, 1);
	assert_int_equal(mmu_range_get(&vcpu, GFN(DATA), 3, false, false, &done), 0);
	assert_int_equal(done, 3);
	assert_int_equal(mmu_range_protect(&vm, GFN(DATA + 1), 1, false, &done), 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(DATA), 3, true, false, &done), 0);
	assert_int_equal(done, 3);
}

/* R02: a table's page that is put away is written, too, where a device zeroes the whole of it. */
static void a_table_zeroed_where_it_is_put_away(void **state)
{
	u64 marked[GMEM_LARGE_PAGES / 64] = {BIT(4)};
	struct gmem_taken t = {0};

	load();
	assert_int_equal(shadow_access(GUEST_VA, MMU_READ, NULL), 0);
	gmem_take(ram, 0, GMEM_LARGE_PAGES, marked, &t);
	assert_int_equal(gmem_entry_state(gmem_entry(ram, 4)), GMEM_PACKED);
	assert_int_equal(shadow_access(GUEST_VA, MMU_READ, NULL), 0);
	assert_int_equal(gmem_entry_state(gmem_entry(ram, 4)), GMEM_PACKED);
	assert_int_equal(gpa_zero(&vm, GPA(4 << PAGE_SHIFT), PAGE_SIZE), 0);
	assert_int_equal(gmem_entry_state(gmem_entry(ram, 4)), GMEM_ABSENT);
	assert_int_equal(shadow_access(GUEST_VA, MMU_READ, NULL), ERR_FAULT);
	assert_null(mmu_audit(&vm));
}

/* --- Roots that are nowhere --- */

static void cr3_in_no_slot(void **state)
{
	paging.cr3 = NOWHERE << 12;
	load();
	assert_int_equal(shadow_access(GUEST_VA, MMU_READ, NULL), ERR_NOENT);
	assert_null(mmu_audit(&vm));
	paging.cr3 = 1 << 12;
	load();
	assert_int_equal(shadow_access(GUEST_VA, MMU_WRITE, NULL), 0);
}

/* The slot comes later: what was loaded meanwhile is looked at again. */
static void cr3_whose_slot_comes(void **state)
{
	paging.cr3 = NOWHERE << 12;
	load();
	assert_int_equal(memslot_create(&vm, 2, GFN(NOWHERE), 8, ram, 0, 0), 0);
	entry(NOWHERE, 0, 2, MARKED);
	assert_int_equal(shadow_access(GUEST_VA, MMU_READ, NULL), 0);
	assert_null(mmu_audit(&vm));
}

/* R30: how many pages a VM may have is what its slots say by now. */
static void the_limit_follows_the_slots(void **state)
{
	struct gmem *more = object_new(1000 * RAM_PAGES);
	u32 before;

	load();
	before = vm.shadow->limit;
	assert_int_equal(memslot_create(&vm, 2, GFN(NOWHERE), 1000 * RAM_PAGES, more, 0, 0), 0);
	assert_int_equal(shadow_access(GUEST_VA, MMU_READ, NULL), 0);
	assert_true(vm.shadow->limit > before);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	entry(4, 8, DATA, MARKED);
	assert_int_equal(shadow_access(8ull << 12, MMU_READ, NULL), 0);
	assert_int_equal(vm.shadow->limit, before);
	gmem_unref(more);
}

/* Of the four of PAE one is nowhere and one is not there: the others work. */
static void pdptes_in_no_slot(void **state)
{
	paging.efer = EFER_NXE;
	paging.cr3 = 0;
	paging.pdpte[0] = 3 << 12 | PRESENT;
	paging.pdpte[1] = NOWHERE << 12 | PRESENT;
	paging.pdpte[3] = 3 << 12 | PRESENT;
	load();
	assert_int_equal(shadow_access(GUEST_VA, MMU_WRITE, NULL), 0);
	assert_int_equal(shadow_access(GIB(1) + GUEST_VA, MMU_READ, NULL), ERR_NOENT);
	assert_int_equal(shadow_access(GIB(2) + GUEST_VA, MMU_READ, NULL), ERR_FAULT);
	assert_int_equal(shadow_access(GIB(3) + GUEST_VA, MMU_READ, NULL), 0);
}

/* More vCPUs than there are CR3s for: they have no memory, and the others' come back. */
static void no_cr3_is_left(void **state)
{
	struct mmu_vcpu *many = calloc(CR3S, sizeof(*many));

	assert_non_null(many);
	for (u32 i = 0; i < CR3S; i++) {
		mmu_vcpu_init(&many[i], &vm);
		assert_int_equal(mmu_shadow_load(&many[i], &paging), 0);
	}
	assert_int_equal(mmu_shadow_load(&vcpu, &paging), ERR_NOMEM);
	mmu_vcpu_destroy(&many[CR3S / 2]);
	load();
	assert_int_equal(shadow_access(GUEST_VA, MMU_READ, NULL), 0);
	mmu_vcpu_init(&many[CR3S / 2], &vm);
	for (u32 i = 0; i < CR3S; i++)
		mmu_vcpu_destroy(&many[i]);
	free(many);
}

/* Each allocation fails once; nothing is half done, and the next try succeeds. */
static void memory_runs_out(void **state)
{
	u32 refused = 0;

	for (u32 n = 1;; n++) {
		struct mmu_vcpu other;
		struct shadow_answer answer = {0};
		bool reached;
		int err;

		mmu_vcpu_init(&other, &vm);
		hosted_fail_after(n);
		err = mmu_shadow_load(&other, &paging);
		if (!err)
			err = mmu_shadow_fault(&other, &paging, GVA(GUEST_VA), MMU_WRITE, &answer);
		reached = hosted_fail_happened();
		hosted_fail_after(0);
		assert_null(mmu_audit(&vm));
		if (err) {
			assert_int_equal(err, ERR_NOMEM);
			refused++;
			assert_int_equal(mmu_shadow_load(&other, &paging), 0);
			assert_int_equal(mmu_shadow_fault(&other, &paging, GVA(GUEST_VA), MMU_WRITE,
							  &answer),
					 0);
		}
		mmu_vcpu_destroy(&other);
		shadow_zap_all(&vm);
		gmem_drop(ram, DATA);
		if (!reached)
			break;
	}
	assert_true(refused > 10);
}

/* --- What the audit finds --- */

static int start_mapped(void **state)
{
	start(state);
	load();
	assert_int_equal(shadow_access(GUEST_VA, MMU_WRITE, NULL), 0);
	assert_null(mmu_audit(&vm));
	return 0;
}

static void audit_of_an_entry_in_no_chain(void **state)
{
	struct shadow_page *leaves = shadow_page_for_table(4), *above = shadow_page_for_table(3);

	leaves->table[8] = leaves->table[7];
	audit_says("in no reverse map");
	leaves->words[8] = leaves->words[7];
	audit_says("in no reverse map");
	leaves->words[8] = NULL;
	leaves->table[8] = 0;
	above->table[1] = above->table[0];
	audit_says("in no reverse map");
	above->table[1] = 0;
}

static void audit_of_an_entry_that_skips_a_level(void **state)
{
	struct shadow_page *leaves = shadow_page_for_table(4), *top = shadow_page_for_table(2);
	u64 *spte = &top->table[9];

	assert_true(rmap_trylock(&leaves->parents));
	assert_int_equal(rmap_add(&leaves->parents, spte, &vcpu.rmaps), 0);
	*spte = shadow_page_for_table(3)->table[0];
	rmap_unlock_tried(&leaves->parents);
	audit_says("another level");
	assert_true(rmap_trylock(&leaves->parents));
	rmap_remove(&leaves->parents, spte);
	*spte = 0;
	rmap_unlock_tried(&leaves->parents);
}

static void audit_of_a_chain_without_entry(void **state)
{
	struct shadow_page *leaves = shadow_page_for_table(4);
	u64 e = leaves->table[7], *word = leaves->words[7];

	leaves->table[7] = 0;
	audit_says("keeps the word of a leaf");
	leaves->words[7] = NULL;
	audit_says("not in the tables");
	leaves->words[7] = word;
	leaves->table[7] = e;
}

static void audit_of_what_is_shown(void **state)
{
	struct shadow_page *leaves = shadow_page_for_table(4);
	u64 *e = gmem_entry_find(ram, DATA), was = *e;

	*e = GMEM_ABSENT;
	audit_says("not resident");
	*e = was + BIT(GMEM_PFN_SHIFT);
	audit_says("another page");
	*e = was;
	leaves->table[7] ^= BIT(20);
	audit_says("another page");
	leaves->table[7] ^= BIT(20);
}

static void audit_of_tables_of_the_guests(void **state)
{
	struct shadow_page *leaves = shadow_page_for_table(4);
	u64 *word = rmap_word(&vm.slots->slots[0], GFN(4));

	*word ^= RMAP_TABLE;
	audit_says("whether it is a table");
	*word ^= RMAP_TABLE;
	/* The guest maps its table to read it. */
	entry(4, 6, 4, MARKED);
	assert_int_equal(shadow_access(6ull << 12, MMU_READ, NULL), 0);
	leaves = shadow_page_for_table(4);
	assert_false(leaves->table[6] & SPTE_W);
	leaves->table[6] |= SPTE_W;
	audit_says("mapped for writing");
	leaves->table[6] &= ~SPTE_W;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(protected_pages_are_not_got_for_writing, start,
						shadow_guest_end),
		cmocka_unit_test_setup_teardown(a_table_zeroed_where_it_is_put_away, start,
						shadow_guest_end),
		cmocka_unit_test_setup_teardown(cr3_in_no_slot, start, shadow_guest_end),
		cmocka_unit_test_setup_teardown(cr3_whose_slot_comes, start, shadow_guest_end),
		cmocka_unit_test_setup_teardown(the_limit_follows_the_slots, start,
						shadow_guest_end),
		cmocka_unit_test_setup_teardown(pdptes_in_no_slot, start, shadow_guest_end),
		cmocka_unit_test_setup_teardown(no_cr3_is_left, start, shadow_guest_end),
		cmocka_unit_test_setup_teardown(memory_runs_out, start, shadow_guest_end),
		cmocka_unit_test_setup_teardown(audit_of_an_entry_in_no_chain, start_mapped,
						shadow_guest_end),
		cmocka_unit_test_setup_teardown(audit_of_an_entry_that_skips_a_level, start_mapped,
						shadow_guest_end),
		cmocka_unit_test_setup_teardown(audit_of_a_chain_without_entry, start_mapped,
						shadow_guest_end),
		cmocka_unit_test_setup_teardown(audit_of_what_is_shown, start_mapped,
						shadow_guest_end),
		cmocka_unit_test_setup_teardown(audit_of_tables_of_the_guests, start_mapped,
						shadow_guest_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
