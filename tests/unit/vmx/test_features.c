/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/features.c vmx/cpuid.c vmx/errata.c */
/*
 * What a guest is told of how its CPU speculates: what it need not fear, and what it has to; and of
 * what its page tables may hold.
 */
#include <setjmp.h>
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/machine.h"
#include "kernel/base/msr.h"
#include "smp/irq.h"
#include "vmx/capability.h"
#include "vmx/features.h"

struct vmx_controls vmx_boot_controls;

static u64 host_capabilities;
static u32 host_lacks; /* bits of leaf 0x80000001's EDX */
static bool in_bochs;

static struct cpuid_regs host(u32 leaf, u32 subleaf)
{
	if (leaf == 0 || leaf == 0x80000000)
		return (struct cpuid_regs){leaf + 0x20, 0, 0, 0};
	return (struct cpuid_regs){~0u, ~0u, ~0u, leaf == 0x80000001 ? ~host_lacks : ~0u};
}

int rdmsr_safe(u32 index, u64 *value)
{
	*value = index == MSR_IA32_ARCH_CAPABILITIES ? host_capabilities : 0;
	return 0;
}

bool machine_is_bochs(void)
{
	return in_bochs;
}

static void speculation(void **state)
{
	/* RSBA and RRSBA: returns do not stay with the RSB, so that retpolines are not enough. */
	const u64 weaknesses = BIT(2) | BIT(19);
	/* TSX_CTRL, MISC_PACKAGE_CTLS, XAPIC_DISABLE: MSRs that a guest has not. */
	const u64 others = BIT(7) | BIT(10) | BIT(21) | BIT(63);

	hosted_machine.cpuid = host;
	host_capabilities = 0;
	features_init();
	/* Weir flushes the L1D cache: a guest need not. */
	assert_int_equal(guest_features.arch_capabilities_value, BIT(3));
	host_capabilities = weaknesses;
	features_init();
	assert_int_equal(guest_features.arch_capabilities_value, weaknesses | BIT(3));
	host_capabilities = ~0ull;
	features_init();
	assert_int_equal(guest_features.arch_capabilities_value & others, 0);
	/* RDCL_NO, MDS_NO, TAA_NO, BHI_NO, ITS_NO */
	assert_int_equal(guest_features.arch_capabilities_value &
				 (BIT(0) | BIT(5) | BIT(8) | BIT(20) | BIT(62)),
			 BIT(0) | BIT(5) | BIT(8) | BIT(20) | BIT(62));
}

/* As CPUID shows it, so the walker takes it. */
static void page_tables(void **state)
{
	hosted_machine.cpuid = host;
	features_init();
	assert_true(guest_features.pages_1g);
	assert_true(guest_features.efer & EFER_NXE);
	host_lacks = CPUID_81_EDX_1G;
	features_init();
	assert_false(guest_features.pages_1g);
	assert_true(guest_features.efer & EFER_NXE);
	host_lacks = CPUID_81_EDX_NX;
	features_init();
	assert_true(guest_features.pages_1g);
	assert_false(guest_features.efer & EFER_NXE);
	host_lacks = 0;
}

static void vectors_in_bochs(void **state)
{
	hosted_machine.cpuid = host;
	features_init();
	assert_false(guest_features.no_xsavec);
	in_bochs = true;
	features_init();
	assert_true(guest_features.no_xsavec);
	in_bochs = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_in_bochs),
		cmocka_unit_test(speculation),
		cmocka_unit_test(page_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
