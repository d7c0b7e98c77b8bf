/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_live.c */
/*
 * Tables that the guest writes itself, their shadow pages being out of step: what may be stale
 * until which flush, and what may not. The guest has its table of the last level at a window of its
 * own, and writes it there as a CPU does.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"
#include "tests/unit/mmu/shadow_live.h"

static u64 entry_now(u64 table, u32 i)
{
	u64 e = 0;

	assert_int_equal(gpa_read(&vm, GPA((table << 12) + 8ull * i), &e, 8), 0);
	return e;
}

/* --- Going out of step --- */

static void the_third_write_is_the_guests(void **state)
{
	u64 faults, writes;

	(void)state;
	assert_int_equal(led_to(0), DATA);
	assert_false(write_live(TABLE, 1, DATA + 1, MARKED));
	assert_false(write_live(TABLE, 1, DATA + 1, MARKED));
	assert_false(is_let_go(TABLE));
	assert_true(write_live(TABLE, 1, DATA + 1, MARKED));
	assert_true(is_let_go(TABLE));
	assert_int_equal(STAT(shadow_let_go), 1);
	assert_int_equal(vm.shadow->unsync_count, 1);
	faults = STAT(faults);
	writes = STAT(shadow_writes);
	for (u32 i = 0; i < 100; i++)
		assert_true(write_live(TABLE, i, DATA + i, MARKED));
	assert_int_equal(STAT(faults), faults);
	assert_int_equal(STAT(shadow_writes), writes);
	assert_int_equal(shadow_pages_of(TABLE), 1);
	/* It still keeps its region small. */
	assert_true(*rmap_small_count(ram_slot(), GFN(TABLE)) > 0);
}

/* A use of the table in between: who fills it entry by entry is better served by emulation. */
static void a_walk_begins_the_count_anew(void **state)
{
	(void)state;
	assert_int_equal(led_to(0), DATA);
	for (u32 i = 1; i < 8; i++) {
		assert_false(write_live(TABLE, i, DATA + i, MARKED & ~A));
		assert_int_equal(led_to(gva_of(i)), DATA + i);
	}
	assert_int_equal(STAT(shadow_let_go), 0);
}

/* --- What may be stale, and until when --- */

static void stale_until_invlpg(void **state)
{
	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	assert_true(write_live(TABLE, 1, DATA + 51, MARKED));
	assert_int_equal(led_to(0), DATA); /* as the CPU may have it cached */
	drop_address(0x123);
	assert_int_equal(led_to(0), DATA + 50);
	assert_int_equal(led_to(gva_of(1)), DATA + 1);
	assert_true(is_let_go(TABLE));
	assert_true(write_live(TABLE, 2, 0, 0));
	drop_address(gva_of(2));
	assert_int_equal(led_to(gva_of(2)), 0);
}

/* In the four pages of PAE the address says which. */
static void invlpg_in_pae(void **state)
{
	(void)state;
	paging.efer = EFER_NXE;
	paging.pdpte[0] = 3 << 12 | P;
	paging.pdpte[2] = 3 << 12 | P;
	load();
	let_go(TABLE);
	assert_int_equal(led_to(GIB(2)), DATA);
	assert_true(is_let_go(TABLE));
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	drop_address(GIB(1));
	assert_int_equal(led_to(0), DATA);
	drop_address(GIB(2));
	assert_int_equal(led_to(GIB(2)), DATA + 50);
}

static void stale_until_cr3_is_loaded(void **state)
{
	u64 synced;

	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	assert_true(write_live(TABLE, 1, 0, 0));
	assert_int_equal(led_to(0), DATA);
	synced = STAT(shadow_synced);
	load(); /* its own value: a flush all the same */
	assert_int_equal(STAT(shadow_synced), synced + 1);
	assert_false(is_let_go(TABLE));
	assert_int_equal(led_to(0), DATA + 50);
	assert_int_equal(led_to(gva_of(1)), 0);
	assert_int_equal(led_to(gva_of(2)), DATA + 2);
	/* The guest's own mapping of it lets it be written no more, on no CPU. */
	assert_false(write_live(TABLE, 2, DATA + 52, MARKED));
	assert_int_equal(led_to(gva_of(2)), DATA + 52);
}

/* What did not change stays linked: no fault is taken for it. */
static void what_stays_is_not_linked_anew(void **state)
{
	u64 faults;

	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	load();
	faults = STAT(faults);
	assert_int_equal(led_to(0), DATA + 50);
	assert_int_equal(led_to(gva_of(1)), DATA + 1);
	assert_int_equal(led_to(gva_of(2)), DATA + 2);
	assert_int_equal(STAT(faults), faults);
}

/*
 * The vCPU that flushes was at these tables before they went out of step, and wrote nothing itself.
 */
static void another_vcpu_flushes(void **state)
{
	struct shadow_answer answer;
	struct mmu_vcpu other;
	u64 at;

	(void)state;
	mmu_vcpu_init(&other, &vm);
	assert_int_equal(mmu_shadow_load(&other, &paging), 0);
	assert_int_equal(mmu_shadow_fault(&other, &paging, GVA(0), MMU_READ, &answer), 0);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	assert_int_equal(mmu_shadow_load(&other, &paging), 0);
	assert_true(shadow_cpu(&other, &paging, 0, MMU_READ, &at));
	assert_int_equal(at >> 12, frame_of_page(DATA + 50));
	let_go(TABLE);
	assert_true(write_live(TABLE, 1, DATA + 51, MARKED));
	mmu_shadow_invlpg(&other, GVA(gva_of(1)));
	assert_true(shadow_cpu(&other, &paging, gva_of(1), MMU_READ, &at));
	assert_int_equal(at >> 12, frame_of_page(DATA + 51));
	mmu_vcpu_destroy(&other);
}

/* --- What may not be stale --- */

/* Rights that the guest takes are gone after the flush, and its marks are set anew. */
static void rights_and_marks(void **state)
{
	(void)state;
	assert_int_equal(shadow_access(gva_of(3), MMU_WRITE, NULL), 0);
	assert_int_equal(shadow_access(gva_of(4), MMU_WRITE, NULL), 0);
	assert_int_equal(led_to(gva_of(5)), DATA + 5);
	assert_int_equal(led_to(gva_of(6)), DATA + 6);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA, MARKED & ~W));
	assert_true(write_live(TABLE, 1, DATA + 1, MARKED | XD));
	assert_true(write_live(TABLE, 2, DATA + 2, MARKED & ~U));
	assert_true(write_live(TABLE, 3, DATA + 3, MARKED & ~D));
	assert_true(write_live(TABLE, 4, DATA + 4, MARKED & ~(A | D)));
	assert_true(write_live(TABLE, 5, DATA + 5, MARKED | BIT(45))); /* reserved */
	load();
	assert_int_equal(shadow_access(gva_of(0), MMU_READ, NULL), 0);
	assert_int_equal(shadow_access(gva_of(0), MMU_WRITE, NULL), ERR_FAULT);
	assert_int_equal(shadow_access(gva_of(1), MMU_EXEC, NULL), ERR_FAULT);
	assert_int_equal(shadow_access(gva_of(1), MMU_WRITE, NULL), 0);
	paging.cpl = 3;
	assert_int_equal(shadow_access(gva_of(2), MMU_READ, NULL), ERR_FAULT);
	assert_int_equal(shadow_access(gva_of(6), MMU_READ, NULL), 0);
	paging.cpl = 0;
	assert_int_equal(shadow_access(gva_of(3), MMU_WRITE, NULL), 0);
	assert_true(entry_now(TABLE, 3) & D);
	assert_int_equal(led_to(gva_of(4)), DATA + 4);
	assert_true(entry_now(TABLE, 4) & A);
	assert_int_equal(shadow_access(gva_of(5), MMU_READ, NULL), ERR_FAULT);
}

/* With EFER.NXE clear XD is reserved. */
static void a_bit_that_is_reserved(void **state)
{
	(void)state;
	paging.efer &= ~(u64)EFER_NXE;
	load();
	let_go(TABLE);
	assert_true(write_live(TABLE, 1, DATA + 1, MARKED | XD));
	assert_int_equal(led_to(gva_of(1)), DATA + 1);
	load();
	assert_int_equal(led_to(gva_of(1)), 0);
}

/*
 * What was the supervisor's alone it could run and read; SMEP and SMAP say no when it is the
 * user's.
 */
static void a_page_that_becomes_the_users(void **state)
{
	(void)state;
	paging.cr4 |= CR4_SMEP | CR4_SMAP;
	load();
	for (u32 i = 0; i < 8; i++)
		entry(TABLE, i, DATA + i, MARKED & ~U);
	entry(WINDOWS, TABLE, TABLE, MARKED & ~U);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA, MARKED));
	assert_true(write_live(TABLE, 1, DATA + 1, MARKED));
	load();
	assert_int_equal(shadow_access(gva_of(0), MMU_EXEC, NULL), ERR_FAULT);
	assert_int_equal(shadow_access(gva_of(1), MMU_READ, NULL), ERR_FAULT);
}

/* The user's page becomes the supervisor's, which needs no flush to be used by him. */
static void a_page_that_becomes_the_supervisors(void **state)
{
	(void)state;
	paging.cr4 |= CR4_SMAP;
	entry(WINDOWS, TABLE, TABLE, MARKED & ~U);
	load();
	paging.rflags |= BIT(18);
	let_go(TABLE);
	paging.rflags &= ~BIT(18);
	assert_true(write_live(TABLE, 0, DATA, MARKED & ~U));
	assert_int_equal(shadow_access(0, MMU_READ, NULL), 0);
}

/* Of more rights, or of a page where none was, a CPU has nothing cached. */
static void what_is_given_needs_no_flush(void **state)
{
	(void)state;
	entry(TABLE, 0, DATA, MARKED & ~W);
	entry(TABLE, 6, 0, 0);
	let_go(TABLE);
	assert_int_equal(shadow_access(0, MMU_READ, NULL), 0);
	assert_true(write_live(TABLE, 0, DATA, MARKED));
	assert_true(write_live(TABLE, 6, DATA + 56, MARKED));
	assert_int_equal(shadow_access(0, MMU_WRITE, NULL), 0);
	assert_int_equal(led_to(gva_of(6)), DATA + 56);
	assert_true(is_let_go(TABLE));
}

/* A fault takes what the entry is now, whatever the page has had there. */
static void a_fault_takes_what_is_there_now(void **state)
{
	u64 at;

	(void)state;
	entry(TABLE, 0, DATA, MARKED & ~W);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	assert_int_equal(shadow_access(0, MMU_WRITE, &at), 0);
	assert_int_equal(at >> 12, frame_of_page(DATA + 50));
	assert_int_equal(led_to(0), DATA + 50);
}

/* The guest's own fault makes the CPU forget the address (SDM 3A 4.10.4.1), and no other. */
static void a_fault_of_the_guests_forgets_the_address(void **state)
{
	(void)state;
	entry(TABLE, 0, DATA, MARKED & ~W);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, 0, 0));
	assert_true(write_live(TABLE, 1, 0, 0));
	assert_int_equal(led_to(0), DATA);
	assert_int_equal(shadow_access(0, MMU_WRITE, NULL), ERR_FAULT);
	assert_int_equal(led_to(0), 0);
	assert_int_equal(led_to(gva_of(1)), DATA + 1);
}

/* What Weir writes to such a table is there at once, as before. */
static void what_weir_writes_is_not_stale(void **state)
{
	(void)state;
	let_go(TABLE);
	for (u32 i = 0; i < 10; i++) {
		entry(TABLE, 0, DATA + 50 + i % 2, MARKED);
		assert_int_equal(led_to(0), DATA + 50 + i % 2);
	}
	assert_true(is_let_go(TABLE));
	/* One that is none of an entry: it is no table any more. */
	put((TABLE << 12) + 1, 0, 1);
	assert_int_equal(shadow_pages_of(TABLE), 0);
	assert_false(is_let_go(TABLE));
	assert_int_equal(vm.shadow->unsync_count, 0);
}

/*
 * R04: at an address where the table was not before nothing can have been cached. The fault that
 * links it there takes its own entry as it is; the others are in the page.
 */
static void a_table_at_another_address(void **state)
{
	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	entry(3, 2, TABLE, MARKED);
	assert_int_equal(led_to(2ull << 21 | gva_of(2)), DATA + 2);
	assert_int_equal(led_to(2ull << 21), DATA + 50);
	/* By a table above it. */
	let_go(TABLE);
	assert_true(write_live(TABLE, 1, DATA + 51, MARKED));
	entry(1, 1, 2, MARKED);
	assert_int_equal(led_to(BIT(39) | gva_of(2)), DATA + 2);
	assert_int_equal(led_to(BIT(39) | gva_of(1)), DATA + 51);
	/* By a root. */
	let_go(TABLE);
	assert_true(write_live(TABLE, 2, DATA + 52, MARKED));
	entry(6, 0, 2, MARKED);
	paging.cr3 = 6 << 12;
	load();
	assert_int_equal(led_to(gva_of(0)), DATA + 50);
	assert_int_equal(led_to(gva_of(2)), DATA + 52);
}

/* The same with other rights above it: a page of its own, for which the table is protected. */
static void a_table_with_other_rights(void **state)
{
	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	entry(3, 2, TABLE, MARKED & ~W);
	assert_int_equal(led_to(2ull << 21), DATA + 50);
	assert_int_equal(shadow_pages_of(TABLE), 2);
	assert_false(is_let_go(TABLE));
	/* They go together, and come back together. */
	assert_false(write_live(TABLE, 1, DATA + 51, MARKED));
	assert_false(write_live(TABLE, 1, DATA + 51, MARKED));
	assert_true(write_live(TABLE, 0, DATA, MARKED));
	assert_int_equal(vm.shadow->unsync_count, 2);
	load();
	assert_int_equal(vm.shadow->unsync_count, 0);
	assert_int_equal(led_to(0), DATA);
	assert_int_equal(led_to(2ull << 21), DATA);
}

/* A table of 1024 entries is two pages here. */
static void a_table_of_four_byte_entries(void **state)
{
	u32 value = (DATA + 50) << 12 | MARKED;
	u64 at;

	(void)state;
	paging.cr4 = 0;
	paging.cr3 = 10 << 12;
	paging.efer = 0;
	put(10 << 12, 11 << 12 | MARKED, 4);
	put((10 << 12) + 4, WINDOWS << 12 | MARKED, 4);
	put((WINDOWS << 12), 11 << 12 | MARKED, 4);
	put((11 << 12) + 4 * 2, (DATA + 2) << 12 | MARKED, 4);
	put((11 << 12) + 4 * 600, (DATA + 3) << 12 | MARKED, 4);
	load();
	for (u32 n = 0; n < 4; n++) {
		assert_int_equal(shadow_access(gva_of(2), MMU_READ, &at), 0);
		assert_int_equal(shadow_access(gva_of(600), MMU_READ, &at), 0);
		if (shadow_access(MIB(4) + 4, MMU_WRITE, &at) == SHADOW_EMULATE)
			put((11 << 12) + 4, 0, 4);
	}
	assert_true(is_let_go(11));
	assert_int_equal(vm.shadow->unsync_count, 2);
	for (u32 i = 2; i <= 600; i += 598) {
		assert_int_equal(shadow_access(MIB(4) + 4 * i, MMU_WRITE, &at), 0);
		memcpy(hosted_arena + at, &value, 4);
	}
	drop_address(gva_of(600));
	assert_int_equal(led_to(gva_of(600)), DATA + 50);
	assert_int_equal(led_to(gva_of(2)), DATA + 2);
	load();
	assert_int_equal(led_to(gva_of(2)), DATA + 50);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, shadow_live_start, shadow_guest_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_third_write_is_the_guests),
		TEST(a_walk_begins_the_count_anew),
		TEST(stale_until_invlpg),
		TEST(invlpg_in_pae),
		TEST(stale_until_cr3_is_loaded),
		TEST(what_stays_is_not_linked_anew),
		TEST(another_vcpu_flushes),
		TEST(rights_and_marks),
		TEST(a_bit_that_is_reserved),
		TEST(a_page_that_becomes_the_users),
		TEST(a_page_that_becomes_the_supervisors),
		TEST(what_is_given_needs_no_flush),
		TEST(a_fault_takes_what_is_there_now),
		TEST(a_fault_of_the_guests_forgets_the_address),
		TEST(what_weir_writes_is_not_stale),
		TEST(a_table_at_another_address),
		TEST(a_table_with_other_rights),
		TEST(a_table_of_four_byte_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
