/* SPDX-License-Identifier: MIT */
/* Machine-check banks: turned on, what is left in them logged, what they say kept for the panic. */
/* unit-sources: kernel/base/mca.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/mca.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"

#define BANKS	    6
#define MCE	    BIT(7)
#define MCA	    BIT(14)
#define NEHALEM	    0x106a5
#define PENRYN	    0x1067a
#define CTL(i)	    (0x400 + 4 * (i))
#define STATUS(i)   (0x401 + 4 * (i))
#define ADDR(i)	    (0x402 + 4 * (i))
#define MISC(i)	    (0x403 + 4 * (i))
#define MCG_CTL	    0x17b
#define VALID	    BIT(63)
#define UNCORRECTED BIT(61)
#define HAS_MISC    BIT(59)
#define HAS_ADDR    BIT(58)

static u32 leaf_1_eax, leaf_1_edx;
static u64 mcg_cap, mcg_status, mcg_ctl, bank[BANKS][4];

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	return (struct cpuid_regs){.eax = leaf_1_eax, .edx = leaf_1_edx};
}

static u64 *register_of(u32 index)
{
	if (index == MSR_IA32_MCG_CAP)
		return &mcg_cap;
	if (index == MSR_IA32_MCG_STATUS)
		return &mcg_status;
	if (index == MCG_CTL)
		return mcg_cap & BIT(8) ? &mcg_ctl : NULL;
	/* Of those that nobody said are there, ADDR and MISC fault. */
	if (index < CTL(0) || index >= CTL(mcg_cap & 0xff) || index >= CTL(BANKS))
		return NULL;
	return &bank[(index - CTL(0)) / 4][(index - CTL(0)) % 4];
}

static int safe_rdmsr(u32 index, u64 *value)
{
	const u64 *r = leaf_1_edx & MCA ? register_of(index) : NULL;

	if (r)
		*value = *r;
	return r ? 0 : ERR_FAULT;
}

static int safe_wrmsr(u32 index, u64 value)
{
	u64 *r = register_of(index);

	if (!(leaf_1_edx & MCA))
		fail_msg("MSR %#x written", index);
	if (r)
		*r = value;
	return r ? 0 : ERR_FAULT;
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.cpuid = fake_cpuid};
	leaf_1_eax = NEHALEM;
	leaf_1_edx = MCE | MCA;
	mcg_cap = BIT(8) | BANKS;
	mcg_status = mcg_ctl = 0;
	memset(bank, 0, sizeof(bank));
	hosted_log_reset();
	return 0;
}

static void start(void)
{
	mca_init_cpu(safe_rdmsr, safe_wrmsr);
}

/* Runs first: nothing was ever set up. */
static void before_the_start_nothing_is_read(void **state)
{
	mca_record();
	mca_show();
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
	leaf_1_edx = MCE;
	start();
	leaf_1_edx = MCA;
	leaf_1_edx &= ~MCA;
	start();
	mca_record();
	mca_show();
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
}

static void every_bank_is_on(void **state)
{
	mcg_status = 4; /* MCIP, from before */
	start();
	for (u32 i = 0; i < BANKS; i++)
		assert_int_equal(bank[i][0], ~0ull);
	assert_int_equal(mcg_ctl, ~0ull);
	assert_int_equal(mcg_status, 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	setup(state);
	mcg_cap = 3;
	start();
	assert_int_equal(bank[2][0], ~0ull);
	assert_int_equal(bank[3][0], 0);
	assert_int_equal(mcg_ctl, 0);
}

static void bank_0_of_older_cpus_is_the_firmwares(void **state)
{
	leaf_1_eax = PENRYN;
	bank[0][0] = 0x1234;
	bank[0][1] = VALID;
	start();
	assert_int_equal(bank[0][0], 0x1234);
	assert_int_equal(bank[0][1], 0);
	assert_int_equal(bank[1][0], ~0ull);
}

static void leftovers_are_told_and_go(void **state)
{
	bank[2][1] = VALID | UNCORRECTED | HAS_ADDR | 0x11;
	bank[2][2] = 0xabc000;
	bank[2][3] = 0x77;	     /* not valid */
	bank[3][1] = HAS_ADDR | 0x5; /* likewise */
	start();
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(), "uncorrected"));
	assert_non_null(strstr(hosted_log_last(), "bank 2"));
	assert_non_null(strstr(hosted_log_last(), "0xabc000"));
	assert_null(strstr(hosted_log_last(), "0x77"));
	assert_int_equal(bank[2][1], 0);
	start();
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
}

static void what_banks_say_is_kept(void **state)
{
	start();
	bank[1][1] = VALID | UNCORRECTED | HAS_MISC | 0x22;
	bank[1][2] = 0x55; /* not valid */
	bank[1][3] = 0x8c;
	mcg_status = 5;
	mca_record();
	mca_show();
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
	assert_non_null(strstr(hosted_log_last(), "MCG_STATUS 0x5 bank 1"));
	assert_non_null(strstr(hosted_log_last(), "misc 0x8c"));
	assert_non_null(strstr(hosted_log_last(), "address 0 "));
	/* Another CPU's, where the error is nowhere to be seen. */
	memset(bank, 0, sizeof(bank));
	mca_record();
	hosted_log_reset();
	mca_show();
	assert_int_equal(hosted_log_count(LOG_ERROR), 2);
	assert_non_null(strstr(hosted_log_last(), "no bank"));
}

/* The last: the room does not come back. */
static void there_is_an_end_to_it(void **state)
{
	start();
	for (u32 i = 0; i < 100; i++)
		mca_record();
	mca_show();
	assert_int_equal(hosted_log_count(LOG_ERROR), 65);
	assert_non_null(strstr(hosted_log_last(), "38 more"));
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(before_the_start_nothing_is_read),
		TEST(every_bank_is_on),
		TEST(bank_0_of_older_cpus_is_the_firmwares),
		TEST(leftovers_are_told_and_go),
		TEST(what_banks_say_is_kept),
		TEST(there_is_an_end_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
