/* SPDX-License-Identifier: MIT */
/* Which performance state a CPU is asked for, by what it says that it has. */
/* unit-sources: kernel/base/pstate.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/pstate.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"

#define INTEL_EBX   0x756e6547
#define LEAF_1_EIST BIT(7)
#define TURBO	    BIT(1)
#define HWP	    BIT(7)
#define HWP_EPP	    BIT(10)
#define EIST_ON	    BIT(16)
#define HASWELL	    0x306c3
#define NEHALEM	    0x106a5

enum {
	PLATFORM_INFO,
	PERF_STATUS,
	PERF_CTL,
	TURBO_LIMIT,
	MISC_ENABLE,
	PM_ENABLE,
	CAPABILITIES,
	REQUEST,
	MSRS
};

static const u32 numbers[MSRS] = {0xce,	 0x198, 0x199, 0x1ad, MSR_IA32_MISC_ENABLE,
				  0x770, 0x771, 0x774};
static u64 msr[MSRS];
static bool missing[MSRS];
static struct cpuid_regs leaf0, leaf1;
static u32 power, writes;

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0:
		return leaf0;
	case 1:
		return leaf1;
	case 6:
		assert_true(leaf0.eax >= 6);
		return (struct cpuid_regs){.eax = power};
	}
	return (struct cpuid_regs){0};
}

/* -1: it faults. Those of HWP but for the switch do until that is on (SDM 3B 15.4.2). */
static int find(u32 index)
{
	for (int i = 0; i < MSRS; i++) {
		if (numbers[i] != index || missing[i])
			continue;
		if (i >= PM_ENABLE && (!(power & HWP) || (i > PM_ENABLE && !msr[PM_ENABLE])))
			return -1;
		return i;
	}
	return -1;
}

static int safe_rdmsr(u32 index, u64 *value)
{
	int i = find(index);

	if (i < 0)
		return ERR_FAULT;
	*value = msr[i];
	return 0;
}

static int safe_wrmsr(u32 index, u64 value)
{
	int i = find(index);

	if (i < 0)
		return ERR_FAULT;
	assert_true(i == PERF_CTL || i == PM_ENABLE || i == REQUEST);
	msr[i] = value;
	writes++;
	return 0;
}

static void ask(void)
{
	writes = 0;
	pstate_init_cpu(safe_rdmsr, safe_wrmsr);
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.cpuid = fake_cpuid};
	leaf0 = (struct cpuid_regs){.eax = 0x16, .ebx = INTEL_EBX};
	leaf1 = (struct cpuid_regs){.eax = HASWELL, .ecx = LEAF_1_EIST};
	power = TURBO;
	memset(msr, 0, sizeof(msr));
	memset(missing, 0, sizeof(missing));
	msr[PLATFORM_INFO] = 0x80838f3012200;
	msr[PERF_STATUS] = 0x1d2b00000800;
	msr[PERF_CTL] = 0x100000800; /* turbo off, lowest */
	msr[TURBO_LIMIT] = 0x24252627;
	msr[MISC_ENABLE] = EIST_ON | 1;
	msr[CAPABILITIES] = 0x010a1c2f;
	msr[REQUEST] = BIT(42) | 0x0101;
	pstate_keep_firmware(false);
	return 0;
}

/* The first CPU alone tells: this one stands first in main. */
static void hwp(void **state)
{
	hosted_log_reset();
	power |= HWP | HWP_EPP;
	ask();
	assert_int_equal(msr[PM_ENABLE], 1);
	assert_int_equal(msr[REQUEST], 0x80002f01);
	assert_int_equal(msr[PERF_CTL], 0x100000800);
	assert_string_equal(hosted_log_last(), "P-states: the CPU chooses (HWP) between 1 and 47, "
					       "of which it guarantees 28; preference balanced");
	/* Its fellow: a core of another kind, and without a preference. */
	hosted_log_reset();
	power &= ~(u32)HWP_EPP;
	msr[CAPABILITIES] = 0x01081020;
	ask();
	assert_int_equal(msr[REQUEST], 0x2001);
	assert_int_equal(hosted_log_count(LOG_INFO), 0);
}

/* What CPUID shows and the MSRs do not keep: asked as one without it. */
static void hwp_that_does_not_answer(void **state)
{
	power |= HWP;
	missing[PM_ENABLE] = true;
	ask();
	assert_int_equal(msr[PERF_CTL], 0x2700);
	setup(state);
	power |= HWP;
	missing[CAPABILITIES] = true;
	ask();
	assert_int_equal(msr[PERF_CTL], 0x2700);
	setup(state);
	power |= HWP;
	msr[CAPABILITIES] = 0x30000020; /* lowest above highest */
	ask();
	assert_int_equal(msr[REQUEST], BIT(42) | 0x0101);
	assert_int_equal(msr[PERF_CTL], 0x2700);
}

static void ratio(void **state)
{
	ask();
	assert_int_equal(msr[PERF_CTL], 0x2700);
	assert_int_equal(writes, 1);
	power = 0; /* the firmware has turbo off */
	ask();
	assert_int_equal(msr[PERF_CTL], 0x2200);
	power = TURBO;
	missing[TURBO_LIMIT] = true;
	ask();
	assert_int_equal(msr[PERF_CTL], 0x2200);
	missing[TURBO_LIMIT] = false;
	msr[TURBO_LIMIT] = 0;
	ask();
	assert_int_equal(msr[PERF_CTL], 0x2200);
	leaf0.eax = 5;
	ask();
	assert_int_equal(msr[PERF_CTL], 0x2200);
}

static void nothing_asked(void)
{
	ask();
	assert_int_equal(writes, 0);
}

static void left_alone(void **state)
{
	pstate_keep_firmware(true);
	power |= HWP;
	nothing_asked();
	setup(state);
	leaf0.ebx = 0;
	power |= HWP;
	nothing_asked();
	setup(state);
	leaf1.ecx = 0;
	nothing_asked();
	setup(state);
	msr[MISC_ENABLE] = 1;
	nothing_asked();
	setup(state);
	leaf1.eax = NEHALEM;
	nothing_asked();
	setup(state);
	missing[PLATFORM_INFO] = true;
	nothing_asked();
	setup(state);
	missing[PERF_CTL] = true;
	nothing_asked();
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hwp),
		TEST(hwp_that_does_not_answer),
		TEST(ratio),
		TEST(left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
