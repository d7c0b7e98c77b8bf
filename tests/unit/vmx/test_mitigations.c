/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/mitigations.c vmx/errata.c */
/* What entry.S is told to do, by what the CPU says of itself and by what the guest has set. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "smp/irq.h"
#include "tests/hosted/hosted.h"
#include "vmx/cpuid.h"
#include "vmx/vcpu.h"

#define HASWELL	   0x306c3
#define ALDER_LAKE 0x90672
#define IBRS_ALL   BIT(1)

static struct vmx_vcpu v;
static u32 signature, edx_7, edx_7_2;
static u64 capabilities;
static bool threads;

static struct cpuid_regs host(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0:
		return (struct cpuid_regs){0x20, 0, 0, 0};
	case 1:
		return (struct cpuid_regs){signature, 0, 0, 0};
	case 7:
		return (struct cpuid_regs){2, 0, 0, subleaf == 2 ? edx_7_2 : edx_7};
	}
	return (struct cpuid_regs){0};
}

int rdmsr_safe(u32 index, u64 *value)
{
	*value = capabilities;
	return 0;
}

bool topology_threads_started(void)
{
	return threads;
}

static void update(u64 guest_spec_ctrl)
{
	v.msr.spec_ctrl = guest_spec_ctrl;
	mitigations_init();
	mitigations_update(&v);
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	hosted_machine.cpuid = host;
	signature = ALDER_LAKE;
	edx_7 = (u32)(CPUID_7_EDX_IBRS | CPUID_7_EDX_ARCH_CAP);
	edx_7_2 = 0;
	capabilities = IBRS_ALL;
	vmx_set_mitigations(true);
	threads = false;
	hosted_log_reset();
	return 0;
}

static void check_switch(u32 guest_value, u32 host_value)
{
	assert_true(v.entry.flags & (u32)ENTRY_SPEC_CTRL);
	assert_int_equal(v.entry.guest_spec_ctrl, guest_value);
	assert_int_equal(v.entry.host_spec_ctrl, host_value);
}

static void branches_of_the_guest(void **state)
{
	v.entry.flags = (u32)ENTRY_RESUME;
	update(0);
	check_switch(0, SPEC_CTRL_IBRS);
	assert_true(v.entry.flags & (u32)ENTRY_RESUME);
	update(SPEC_CTRL_IBRS);
	assert_false(v.entry.flags & (u32)ENTRY_SPEC_CTRL);
	update(SPEC_CTRL_IBRS | SPEC_CTRL_SSBD);
	check_switch(SPEC_CTRL_IBRS | SPEC_CTRL_SSBD, SPEC_CTRL_IBRS);
	vmx_set_mitigations(false);
	update(SPEC_CTRL_IBRS);
	check_switch(SPEC_CTRL_IBRS, 0);
	edx_7 = 0; /* no such MSR */
	update(0);
	assert_false(v.entry.flags & (u32)ENTRY_SPEC_CTRL);
}

/* Without IBRS_ALL what was predicted before the bit was written counts: a guest's own is no help. */
static void older_cpus(void **state)
{
	capabilities = 0;
	update(SPEC_CTRL_IBRS);
	check_switch(SPEC_CTRL_IBRS, SPEC_CTRL_IBRS);
	capabilities = IBRS_ALL;
	edx_7 = (u32)CPUID_7_EDX_IBRS; /* no MSR to say so */
	update(SPEC_CTRL_IBRS);
	check_switch(SPEC_CTRL_IBRS, SPEC_CTRL_IBRS);
	vmx_set_mitigations(false);
	update(0);
	assert_false(v.entry.flags & (u32)ENTRY_SPEC_CTRL);
}

/* Their history: set for Weir, and so for the guest, whatever that sets besides. */
static void history_of_the_guest_s_branches(void **state)
{
	edx_7_2 = (u32)BIT(4);
	update(0);
	check_switch(SPEC_CTRL_BHI, SPEC_CTRL_IBRS | SPEC_CTRL_BHI);
	update(SPEC_CTRL_IBRS);
	assert_false(v.entry.flags & (u32)ENTRY_SPEC_CTRL);
	/* The guest does not see it. */
	assert_int_equal(v.msr.spec_ctrl, SPEC_CTRL_IBRS);
	capabilities = IBRS_ALL | BIT(20); /* BHI_NO */
	update(0);
	check_switch(0, SPEC_CTRL_IBRS);
	capabilities = IBRS_ALL;
	vmx_set_mitigations(false);
	update(0);
	assert_false(v.entry.flags & (u32)ENTRY_SPEC_CTRL);
	vmx_set_mitigations(true);
	edx_7 = 0;
	update(0);
	assert_false(v.entry.flags & (u32)ENTRY_SPEC_CTRL);
}

static void code_in_large_pages(void **state)
{
	assert_false(mitigations_large_nx());
	signature = HASWELL;
	assert_true(mitigations_large_nx());
	capabilities = BIT(6);
	assert_false(mitigations_large_nx());
	edx_7 = 0; /* no MSR to say so */
	assert_true(mitigations_large_nx());
	vmx_set_mitigations(false);
	assert_false(mitigations_large_nx());
}

static u32 warnings(void)
{
	hosted_log_reset();
	mitigations_init();
	return hosted_log_count(LOG_WARN);
}

static void what_no_flush_cures_is_told(void **state)
{
	signature = HASWELL;
	capabilities = 0;
	edx_7 |= (u32)(CPUID_7_EDX_L1D_FLUSH | CPUID_7_EDX_MD_CLEAR);
	assert_int_equal(warnings(), 0);
	threads = true;
	assert_int_equal(warnings(), 1);
	assert_non_null(strstr(hosted_log_last(), "Hyper-Threading"));
	capabilities = BIT(0); /* RDCL_NO alone: MDS is left */
	assert_int_equal(warnings(), 1);
	capabilities = BIT(0) | BIT(5);
	assert_int_equal(warnings(), 0);
	capabilities = 0;
	threads = false;
	edx_7 = (u32)(CPUID_7_EDX_IBRS | CPUID_7_EDX_MD_CLEAR);
	assert_int_equal(warnings(), 1);
	assert_non_null(strstr(hosted_log_last(), "flush"));
	edx_7 |= (u32)CPUID_7_EDX_ARCH_CAP;
	capabilities = BIT(3); /* the hypervisor below flushes */
	assert_int_equal(warnings(), 0);
	capabilities = 0;
	threads = true;
	assert_int_equal(warnings(), 2);
	vmx_set_mitigations(false);
	assert_int_equal(warnings(), 0);
	vmx_set_mitigations(true);
	signature = ALDER_LAKE;
	assert_int_equal(warnings(), 0);
}

/* What old microcode has no cure for: the CPU says that it needs one, and that it has none. */
static void what_the_microcode_lacks_is_told(void **state)
{
	const u32 all = (u32)(CPUID_7_EDX_IBRS | CPUID_7_EDX_ARCH_CAP | CPUID_7_EDX_L1D_FLUSH |
			      CPUID_7_EDX_MD_CLEAR);

	signature = HASWELL;
	capabilities = 0;
	edx_7 = all & ~(u32)CPUID_7_EDX_MD_CLEAR;
	assert_int_equal(warnings(), 1);
	assert_non_null(strstr(hosted_log_last(), "(MDS)"));
	capabilities = BIT(0); /* RDCL_NO is another matter */
	assert_int_equal(warnings(), 1);
	capabilities = BIT(5); /* MDS_NO */
	assert_int_equal(warnings(), 0);
	edx_7 = all & ~(u32)CPUID_7_EDX_IBRS;
	assert_int_equal(warnings(), 1);
	assert_non_null(strstr(hosted_log_last(), "Spectre v2"));
	edx_7 = 0; /* as before 2018; L1TF is told as well */
	assert_int_equal(warnings(), 3);
	vmx_set_mitigations(false);
	assert_int_equal(warnings(), 0);
	vmx_set_mitigations(true);
	signature = ALDER_LAKE;
	assert_int_equal(warnings(), 0);
}

static void history_that_nothing_keeps_apart_is_told(void **state)
{
	assert_int_equal(warnings(), 1);
	assert_non_null(strstr(hosted_log_last(), "BHI"));
	edx_7_2 = (u32)BIT(4); /* BHI_DIS_S */
	assert_int_equal(warnings(), 0);
	edx_7_2 = 0;
	capabilities = IBRS_ALL | BIT(20); /* BHI_NO */
	assert_int_equal(warnings(), 0);
	capabilities = 0;
	assert_int_equal(warnings(), 0);
	capabilities = IBRS_ALL;
	vmx_set_mitigations(false);
	assert_int_equal(warnings(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(branches_of_the_guest, setup),
		cmocka_unit_test_setup(older_cpus, setup),
		cmocka_unit_test_setup(history_of_the_guest_s_branches, setup),
		cmocka_unit_test_setup(code_in_large_pages, setup),
		cmocka_unit_test_setup(what_no_flush_cures_is_told, setup),
		cmocka_unit_test_setup(what_the_microcode_lacks_is_told, setup),
		cmocka_unit_test_setup(history_that_nothing_keeps_apart_is_told, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
