/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/after_lookup.c */
/* unit-libs: -Wl,--wrap=gmem_lookup -Wl,--wrap=gmem_lookup_to_map */
/* What others do in the moment between a fault's look at the page and its linking. */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/after_lookup.h"
#include "tests/unit/mmu/fixture.h"

static struct gmem *ram;

static int setup(void **state)
{
	pfn_t pfn;

	fixture_start(MIB(16));
	ram = object_new(4);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), 4, ram, 0, 0), 0);
	assert_int_equal(gmem_get_page(ram, 0, true, &pfn), 0);
	/* Another page, so that tables and reverse maps are there. */
	assert_int_equal(touch(&vcpu, GPA(3 << 12), MMU_READ), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_null(after_lookup); /* it was reached */
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void take(void)
{
	take_page(ram, 0);
}

/* R08: the sequence is read before the page is looked up. */
static void a_page_that_was_taken_is_not_linked(void **state)
{
	after_lookup = take;
	assert_int_equal(fault(&vcpu, GPA(0), MMU_WRITE), ERR_AGAIN);
	assert_int_equal(ept_walk(&vm, GPA(0)), 0);
	assert_int_equal(fault(&vcpu, GPA(0), MMU_WRITE), 0);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(0))), gmem_entry_pfn(gmem_entry(ram, 0)).v);
}

static void the_slow_half_leaves_it_to_the_guest(void **state)
{
	after_lookup = take;
	/* The first lookup that finds the page is the one within mmu_fault. */
	assert_int_equal(mmu_fault_slow(&vcpu, GPA(0), MMU_WRITE), 0);
	assert_int_equal(ept_walk(&vm, GPA(0)), 0);
	assert_int_equal(touch(&vcpu, GPA(0), MMU_WRITE), 0);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(0))), gmem_entry_pfn(gmem_entry(ram, 0)).v);
}

/* One that only began holds it off too. */
static void begin(void)
{
	gmem_invalidate_begin(ram, 0, 1);
}

static void an_invalidation_that_began_holds_it_off(void **state)
{
	after_lookup = begin;
	assert_int_equal(fault(&vcpu, GPA(0), MMU_WRITE), ERR_AGAIN);
	assert_int_equal(ept_walk(&vm, GPA(0)), 0);
	gmem_invalidate_end(ram, 0, 1);
	assert_int_equal(fault(&vcpu, GPA(0), MMU_WRITE), 0);
}

/* R34: another vCPU links the same page first. */
static struct mmu_vcpu second;

static void other_vcpu_faults(void)
{
	assert_int_equal(fault(&second, GPA(0), MMU_READ), 0);
}

static void two_vcpus_one_page(void **state)
{
	u64 leaves, tables;
	u32 cached;

	mmu_vcpu_init(&second, &vm);
	assert_int_equal(mmu_vcpu_topup(&second), 0);
	cached = vcpu.cache_count;
	after_lookup = other_vcpu_faults;
	assert_int_equal(fault(&vcpu, GPA(0), MMU_WRITE), 0);
	assert_int_equal(vcpu.cache_count, cached); /* no table was wasted */
	assert_int_equal(STAT(mapped), 2);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 2);
	assert_int_equal(tables, STAT(tables));
	mmu_vcpu_destroy(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_page_that_was_taken_is_not_linked, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_slow_half_leaves_it_to_the_guest, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_invalidation_that_began_holds_it_off, setup,
						teardown),
		cmocka_unit_test_setup_teardown(two_vcpus_one_page, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
