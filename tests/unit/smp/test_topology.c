/* SPDX-License-Identifier: MIT */
/* Threads of one core, by CPUID and by APIC ids as firmware gives them. */
/* unit-sources: smp/topology.c */
#include <cmocka.h>
#include "kernel/base/x86.h"
#include "smp/topology.h"

#define SHARES(bits, ...)                                \
	topology_shares_core((const u32[]){__VA_ARGS__}, \
			     sizeof((const u32[]){__VA_ARGS__}) / sizeof(u32), (bits))

static u32 highest;
static struct cpuid_regs leaf_b;

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	if (leaf == 0)
		return (struct cpuid_regs){.eax = highest};
	if (leaf != 0xb || subleaf != 0)
		fail_msg("leaf %#x, %u", leaf, subleaf);
	return leaf_b;
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.cpuid = fake_cpuid};
	highest = 0x16;
	leaf_b = (struct cpuid_regs){.eax = 1, .ebx = 2, .ecx = 1 << 8};
	return 0;
}

static void bits_of_a_thread(void **state)
{
	assert_int_equal(topology_thread_bits(), 1);
	leaf_b.eax = 0xffffffe0; /* reserved bits above, a core of one thread */
	assert_int_equal(topology_thread_bits(), 0);
	setup(state);
	leaf_b.ecx = 2 << 8; /* the first level is that of cores */
	assert_int_equal(topology_thread_bits(), 0);
	setup(state);
	leaf_b.ebx = 0;
	assert_int_equal(topology_thread_bits(), 0);
	setup(state);
	highest = 0xa;
	assert_int_equal(topology_thread_bits(), 0);
}

static void threads_of_a_core(void **state)
{
	assert_true(SHARES(1, 0, 1));
	assert_true(SHARES(1, 0, 2, 4, 6, 5));
	assert_false(SHARES(1, 0, 2, 4, 6));
	assert_false(SHARES(1, 1, 2)); /* neighbours in number alone */
	assert_false(SHARES(0, 0, 1, 2, 3));
	assert_false(SHARES(1, 3));
	assert_false(topology_shares_core(NULL, 0, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(bits_of_a_thread, setup),
		cmocka_unit_test_setup(threads_of_a_core, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
