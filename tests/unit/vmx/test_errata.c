/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/errata.c */
/* Which CPUs are known to do what wrong, by the signatures that they have. */
#include <cmocka.h>
#include "vmx/errata.h"

static void code_in_large_pages(void **state)
{
	static const u32 stops[] = {
		0x106a5, /* Nehalem */ 0x206c2,	   /* Westmere */ 0x206a7,     /* Sandy Bridge */
		0x306a9, /* Ivy Bridge */ 0x306c3, /* Haswell */ 0x406f1,      /* Broadwell */
		0x50654, /* Skylake */ 0x50657,	   /* Cascade Lake */ 0x906ea, /* Coffee Lake */
		0xa0655,						       /* Comet Lake */
	};
	static const u32 does_not[] = {
		0x706e5, /* Ice Lake */ 0x806c1, /* Tiger Lake */ 0x806f8, /* Sapphire Rapids */
		0x506c9, /* Goldmont */ 0x00f65, /* Pentium 4 */ 0x6fb,	   /* Core 2 */
	};

	for (u32 i = 0; i < ARRAY_SIZE(stops); i++) {
		assert_true(errata_page_size_change(stops[i], 0));
		assert_true(errata_page_size_change(stops[i], ~ARCH_CAP_PSCHANGE_MC_NO));
		assert_false(errata_page_size_change(stops[i], ARCH_CAP_PSCHANGE_MC_NO));
	}
	for (u32 i = 0; i < ARRAY_SIZE(does_not); i++)
		assert_false(errata_page_size_change(does_not[i], 0));
}

/* Later steppings of the last of them report RDCL_NO, and some MDS_NO with it. */
static void what_leaks(void **state)
{
	static const u32 core[] = {0x106a5, 0x206a7, 0x306c3, 0x50654, 0x906ea};
	static const u32 other[] = {0x706e5, 0x806c1, 0x506c9, 0x00f65, 0x1067a};

	for (u32 i = 0; i < ARRAY_SIZE(core); i++) {
		assert_true(errata_l1tf(core[i], 0));
		assert_true(errata_l1tf(core[i], ~ARCH_CAP_RDCL_NO));
		assert_false(errata_l1tf(core[i], ARCH_CAP_RDCL_NO));
		assert_true(errata_mds(core[i], ~ARCH_CAP_MDS_NO));
		assert_false(errata_mds(core[i], ARCH_CAP_MDS_NO));
		assert_true(errata_branch_targets(core[i]));
		assert_true(errata_leaks_to_sibling(core[i], ARCH_CAP_RDCL_NO));
		assert_true(errata_leaks_to_sibling(core[i], ARCH_CAP_MDS_NO));
		assert_false(errata_leaks_to_sibling(core[i], ARCH_CAP_RDCL_NO | ARCH_CAP_MDS_NO));
	}
	for (u32 i = 0; i < ARRAY_SIZE(other); i++) {
		assert_false(errata_mds(other[i], 0) || errata_branch_targets(other[i]));
		assert_false(errata_l1tf(other[i], 0) || errata_leaks_to_sibling(other[i], 0));
	}
}

/* A millisecond of a TSC of 3 GHz, by the timer that counts each 32nd; else as long as it goes. */
static void how_long_a_guest_stays(void **state)
{
	assert_int_equal(errata_longest_stay(true, 3000000, 5), 3000000 / 32);
	assert_int_equal(errata_longest_stay(true, 50000, 0), 50000);
	assert_int_equal(errata_longest_stay(false, 3000000, 5), ~0u);
}

static void who_delivers_interrupts(void **state)
{
	assert_true(errata_interrupt_delivery(true));
	assert_false(errata_interrupt_delivery(false));
}

static void who_restores_vectors(void **state)
{
	assert_true(errata_compacted_xsave(true));
	assert_false(errata_compacted_xsave(false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(code_in_large_pages),	  cmocka_unit_test(what_leaks),
		cmocka_unit_test(how_long_a_guest_stays), cmocka_unit_test(who_delivers_interrupts),
		cmocka_unit_test(who_restores_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
