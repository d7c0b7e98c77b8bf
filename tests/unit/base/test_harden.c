/* SPDX-License-Identifier: MIT */
/* Which protections are switched on, by what CPUID shows. */
/* unit-sources: kernel/base/harden.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/harden.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"

#define INTEL_EBX   0x756e6547
#define LEAF_1_MCE  BIT(7)
#define LEAF_7_SMEP BIT(7)
#define LEAF_7_SMAP BIT(20)
#define LEAF_7_UMIP BIT(2)
#define EXTENDED_NX BIT(20)
#define XD_DISABLE  BIT(34)
#define LIMIT_CPUID BIT(22)

static const struct cpuid_regs limited = {.eax = 3, .ebx = INTEL_EBX};
static struct cpuid_regs leaf0, leaf1, leaf7;
static bool nx_there, xd_stuck;
static u64 misc_enable, efer;
static u32 reads, writes;

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0:
		return misc_enable & LIMIT_CPUID ? limited : leaf0;
	case 1:
		return leaf1;
	case 7:
		return leaf7;
	case 0x80000000:
		return (struct cpuid_regs){.eax = 0x80000008};
	case 0x80000001:
		return (struct cpuid_regs){
			.edx = nx_there && !(misc_enable & XD_DISABLE) ? EXTENDED_NX : 0};
	}
	return (struct cpuid_regs){0};
}

static u64 fake_rdmsr(u32 index)
{
	return index == MSR_EFER ? efer : index == MSR_IA32_MISC_ENABLE ? misc_enable : 0;
}

static void fake_wrmsr(u32 index, u64 value)
{
	if (index == MSR_EFER)
		efer = value;
	else if (index == MSR_IA32_MISC_ENABLE && !xd_stuck)
		misc_enable = value;
}

static int safe_rdmsr(u32 index, u64 *value)
{
	reads++;
	*value = fake_rdmsr(index);
	return 0;
}

static int safe_wrmsr(u32 index, u64 value)
{
	writes++;
	fake_wrmsr(index, value);
	return 0;
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){
		.cpuid = fake_cpuid, .rdmsr = fake_rdmsr, .wrmsr = fake_wrmsr};
	leaf0 = (struct cpuid_regs){.eax = 7, .ebx = INTEL_EBX};
	leaf1 = (struct cpuid_regs){.edx = LEAF_1_MCE};
	leaf7 = (struct cpuid_regs){.ebx = LEAF_7_SMEP | LEAF_7_SMAP, .ecx = LEAF_7_UMIP};
	nx_there = true;
	xd_stuck = false;
	misc_enable = 0;
	efer = 0;
	hosted_cr[0] = CR0_TS | CR0_EM;
	hosted_cr[4] = CR4_PAE;
	return 0;
}

static void test_all(void **state)
{
	cpu_harden();
	assert_int_equal(hosted_cr[0], CR0_WP);
	assert_int_equal(hosted_cr[4],
			 CR4_PAE | CR4_OSFXSR | CR4_MCE | CR4_SMEP | CR4_SMAP | CR4_UMIP);
}

/* A bit that CPUID does not show is not set: it would be #GP. */
static void test_each_alone(void **state)
{
	leaf7 = (struct cpuid_regs){.ebx = LEAF_7_SMEP};
	leaf1.edx = 0;
	cpu_harden();
	assert_int_equal(hosted_cr[4], CR4_PAE | CR4_OSFXSR | CR4_SMEP);
	setup(state);
	leaf7 = (struct cpuid_regs){.ecx = LEAF_7_UMIP};
	cpu_harden();
	assert_int_equal(hosted_cr[4], CR4_PAE | CR4_OSFXSR | CR4_MCE | CR4_UMIP);
	setup(state);
	leaf7 = (struct cpuid_regs){.ebx = LEAF_7_SMAP};
	cpu_harden();
	assert_int_equal(hosted_cr[4], CR4_PAE | CR4_OSFXSR | CR4_MCE | CR4_SMAP);
	setup(state);
	leaf0.eax = 6;
	cpu_harden();
	assert_int_equal(hosted_cr[4], CR4_PAE | CR4_OSFXSR | CR4_MCE);
}

static void test_nx(void **state)
{
	assert_int_equal(harden_enable_nx(safe_rdmsr, safe_wrmsr), 0);
	assert_int_equal(efer, EFER_NXE);
	assert_int_equal(misc_enable, 0);
	assert_false(harden_nx_was_hidden());
}

/* The firmware hid it: switched on again where that works. */
static void test_nx_hidden(void **state)
{
	misc_enable = XD_DISABLE | 1;
	assert_int_equal(harden_enable_nx(safe_rdmsr, safe_wrmsr), 0);
	assert_int_equal(misc_enable, 1);
	assert_true(harden_nx_was_hidden());
	assert_int_equal(efer, EFER_NXE);
	setup(state);
	misc_enable = XD_DISABLE;
	xd_stuck = true;
	assert_int_equal(harden_enable_nx(safe_rdmsr, safe_wrmsr), ERR_NOTSUP);
	assert_int_equal(efer, 0);
	setup(state);
	misc_enable = XD_DISABLE;
	leaf0.ebx = 0; /* nobody else has that MSR */
	assert_int_equal(harden_enable_nx(safe_rdmsr, safe_wrmsr), ERR_NOTSUP);
	assert_int_equal(misc_enable, XD_DISABLE);
}

/* With the limit leaf 7 is not looked at: SMEP would stay off. */
static void test_leaves_hidden(void **state)
{
	misc_enable = LIMIT_CPUID | 1;
	harden_show_cpuid(safe_rdmsr, safe_wrmsr);
	assert_int_equal(misc_enable, 1);
	cpu_harden();
	assert_true(hosted_cr[4] & CR4_SMEP);
	writes = 0;
	harden_show_cpuid(safe_rdmsr, safe_wrmsr);
	assert_int_equal(writes, 0);
	leaf0.ebx = 0; /* nobody else has that MSR */
	reads = 0;
	harden_show_cpuid(safe_rdmsr, safe_wrmsr);
	assert_int_equal(reads, 0);
}

static void test_no_nx(void **state)
{
	nx_there = false;
	assert_int_equal(harden_enable_nx(safe_rdmsr, safe_wrmsr), ERR_NOTSUP);
	assert_int_equal(efer, 0);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all),	      TEST(test_each_alone), TEST(test_nx),
		TEST(test_nx_hidden), TEST(test_no_nx),	     TEST(test_leaves_hidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
