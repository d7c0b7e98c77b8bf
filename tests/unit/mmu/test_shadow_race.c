/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/after_lookup.c */
/* unit-libs: -Wl,--wrap=gmem_lookup */
/*
 * What others do in the moment between a shadow fault's look at the page and its linking, as
 * test_fault_race does it with EPT.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/after_lookup.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 64
#define PAGE	  40u /* the one under test; tables are 1 to 4 */

static int setup(void **state)
{
	(void)state;
	shadow_guest_start(MIB(16), RAM_PAGES);
	entry(4, 0, PAGE, MARKED);
	entry(PAGE, 0, 0, 0); /* resident */
	load();
	after_index = PAGE;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_null(after_lookup); /* it was reached */
	return shadow_guest_end(state);
}

static int fault_at(u64 gva)
{
	struct shadow_answer answer;

	return mmu_shadow_fault(&vcpu, &paging, GVA(gva), MMU_WRITE, &answer);
}

static void take(void)
{
	take_page(ram, PAGE);
}

/* R08: the sequence is read before the page is looked up, and again under the lock of the link. */
static void a_page_that_was_taken_is_not_linked(void **state)
{
	u64 retries = STAT(faults_retry), at;

	(void)state;
	after_lookup = take;
	assert_int_equal(fault_at(0), 0);
	assert_int_equal(STAT(faults_retry), retries + 1);
	assert_false(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_WRITE, &at));
	assert_int_equal(at >> 12, frame_of_page(PAGE));
	assert_int_not_equal(at >> 12, after_frame);
}

static void begin(void)
{
	gmem_invalidate_begin(ram, PAGE, 1);
}

/* One that only began holds it off too. */
static void an_invalidation_that_began_holds_it_off(void **state)
{
	bool linked;
	u64 at;

	(void)state;
	after_lookup = begin;
	assert_int_equal(fault_at(0), 0);
	linked = shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at);
	gmem_invalidate_end(ram, PAGE, 1);
	assert_false(linked);
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_page_that_was_taken_is_not_linked),
		TEST(an_invalidation_that_began_holds_it_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
