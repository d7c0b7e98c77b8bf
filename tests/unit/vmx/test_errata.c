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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(code_in_large_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
