/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* Pages that Weir keeps at hand: where one may be, what it shows, how long it stays, what it costs. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mmu/gpa_pin.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define PAGES 64u
#define BASE  0x100000ull
#define ROM   0x400000ull
#define APIC  0xfee00000ull

static struct gmem *ram, *apic;
static struct gmem_account account;

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	apic = object_new(1);
	account = (struct gmem_account){.pins_max = 4};
	gmem_set_account(ram, &account);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE >> 12), PAGES, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM >> 12), 4, ram, 8, MEMSLOT_READONLY), 0);
	assert_int_equal(memslot_create(&vm, 3, GFN(APIC >> 12), 1, apic, 0, MEMSLOT_PRIVATE), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(account.pins, 0);
	memslots_destroy(&vm);
	gmem_unref(ram);
	gmem_unref(apic);
	fixture_end();
	return 0;
}

static void what_it_shows(void **state)
{
	struct gpa_pin p;
	u32 word = 0x12345678, seen;

	assert_int_equal(gpa_write(&vm, GPA(BASE + 0x5ff0), &word, 4), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x5ff0), &p), 0);
	assert_int_equal(*(u32 *)p.at, word);
	*(u32 *)p.at = ~word;
	assert_int_equal(gpa_read(&vm, GPA(BASE + 0x5ff0), &seen, 4), 0);
	assert_int_equal(seen, ~word);
	/* The guest's own access finds the same frame. */
	assert_int_equal(touch(&vcpu, GPA(BASE + 0x5000), MMU_WRITE), 0);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(BASE + 0x5000))), p.pfn.v);
	/* It stays. */
	assert_int_equal(gmem_drop(ram, 5), ERR_BUSY);
	assert_true(gmem_stays(ram, 5));
	gpa_unpin(&p);
	assert_null(p.object);
	gpa_unpin(&p);
	assert_int_equal(gmem_drop(ram, 5), 0);
}

static void where_none_may_be(void **state)
{
	static const u64 nowhere[] = {0,    BASE - 1, BASE + PAGES * PAGE_SIZE, ROM, ROM + 0xfff,
				      APIC, ~0ull};
	struct gpa_pin p[5] = {0};
	u64 done;

	for (u32 i = 0; i < ARRAY_SIZE(nowhere); i++)
		assert_int_equal(gpa_pin(&vm, GPA(nowhere[i]), &p[0]), ERR_NOSLOT);
	assert_int_equal(mmu_range_protect(&vm, GFN((BASE >> 12) + 1), 1, true, &done), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x1000), &p[0]), ERR_PERM);
	assert_int_equal(mmu_range_protect(&vm, GFN((BASE >> 12) + 1), 1, false, &done), 0);
	/* The VM's bound, and nothing is left of what failed. */
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(gpa_pin(&vm, GPA(BASE + i * 0x1000), &p[i]), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x4000), &p[4]), ERR_NOSPC);
	assert_null(p[4].object);
	gpa_unpin(&p[2]);
	/* Twice the same page: two pins. */
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x1234), &p[4]), 0);
	for (u32 i = 0; i < 5; i++)
		gpa_unpin(&p[i]);
}

static void without_memory(void **state)
{
	struct gpa_pin p = {0};
	int err;

	for (u32 n = 1;; n++) {
		hosted_fail_after(n);
		err = gpa_pin(&vm, GPA(BASE + 0x7000), &p);
		hosted_fail_after(0);
		if (!err)
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_null(p.object);
		assert_int_equal(account.pins, 0);
	}
	gpa_unpin(&p);
}

/* The page stays until it is unpinned, and nobody sees what is written to it. */
static void its_slot_goes(void **state)
{
	struct gpa_pin p;
	u8 byte = 7;

	assert_int_equal(gpa_pin(&vm, GPA(BASE), &p), 0);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	assert_int_equal(gpa_read(&vm, GPA(BASE), &byte, 1), ERR_NOSLOT);
	*(u8 *)p.at = 9;
	assert_int_equal(gpa_pin(&vm, GPA(BASE), &p), ERR_NOSLOT);
	assert_int_equal(*(u8 *)p.at, 9);
	gpa_unpin(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_it_shows, setup, teardown),
		cmocka_unit_test_setup_teardown(where_none_may_be, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(its_slot_goes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
