/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_live.c
   tests/unit/mmu/chain_reads.c */
/* unit-libs: -Wl,--wrap=rmap_spte_of_many -Wl,--wrap=rmap_next_of_many */
/*
 * A page of the guest's that is at as many addresses as may be: whoever looks at all of them has its
 * word locked meanwhile, and goes by the chain once, not from its head for each.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/chain_reads.h"
#include "tests/unit/mmu/shadow_guest.h"
#include "tests/unit/mmu/shadow_live.h"

#define PAGE (DATA + 20)

/* With each right, and marked. */
static void reach_all(void)
{
	for (u32 i = 0; i < RMAP_CHAIN_MAX; i++)
		assert_int_equal(shadow_access(GIB(1) + gva_of(i), MMU_WRITE, NULL), 0);
	chain_reads = 0;
}

static int start(void **state)
{
	shadow_live_start(state);
	entry(2, 1, 40, MARKED);
	entry(40, 0, 41, MARKED);
	for (u32 i = 0; i < RMAP_CHAIN_MAX; i++)
		entry(41, i, PAGE, MARKED);
	reach_all();
	return 0;
}

/* By one who looked at each. */
static void once(void)
{
	assert_in_range(chain_reads, RMAP_CHAIN_MAX, 2 * RMAP_CHAIN_MAX);
	chain_reads = 0;
}

static void sweeps(void **state)
{
	u64 log[RAM_PAGES / 64];

	(void)state;
	assert_true(mmu_test_young(&vm, GFN(PAGE), 1));
	once();
	assert_int_equal(mmu_age(&vm, GFN(PAGE), 1), 1);
	once();
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY), 0);
	once();
	reach_all();
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, log, RAM_PAGES / 64), 0);
	assert_true(log[PAGE / 64] & BIT(PAGE % 64));
	once();
	assert_int_equal(mmu_unmap(&vm, GFN(PAGE), 1), 1);
	once();
}

static void a_look(void **state)
{
	struct mmu_page_state look;

	(void)state;
	assert_int_equal(mmu_page_state(&vm, GFN(PAGE), &look), 0);
	assert_true(look.dirty);
	once();
}

/* All lose the right to write it. */
static void it_becomes_a_table(void **state)
{
	(void)state;
	entry(3, 5, PAGE, MARKED);
	entry(PAGE, 0, DATA, MARKED);
	chain_reads = 0;
	assert_int_equal(led_to(5ull << 21), DATA);
	once();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, shadow_guest_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sweeps),
		TEST(a_look),
		TEST(it_becomes_a_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
