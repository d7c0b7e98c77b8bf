/* SPDX-License-Identifier: MIT */
/*
 * Two TSCs that the firmware set apart, each a thread's: the same time, an offset that nothing shows,
 * and what IA32_TSC_ADJUST says.
 */
/* unit-sources: smp/clock_sync.c */
/* unit-sanitizer: thread */
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/clock.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"

#define FAR 1000000000000ll /* more than any wait of the host's */

static _Thread_local s64 offset, adjust;
static bool has_adjust;
static u32 adjust_writes, tsc_writes;

static u64 fake_tsc(void)
{
	return clock_ns() + (u64)(offset + adjust);
}

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	if (leaf == 0)
		return (struct cpuid_regs){.eax = 7};
	return (struct cpuid_regs){.ebx = leaf == 7 && has_adjust ? BIT(1) : 0};
}

static u64 fake_rdmsr(u32 index)
{
	assert_int_equal(index, MSR_IA32_TSC_ADJUST);
	assert_true(has_adjust);
	return (u64)adjust;
}

static void fake_wrmsr(u32 index, u64 value)
{
	if (index == MSR_IA32_TSC_ADJUST) {
		adjust = (s64)value;
		adjust_writes++;
	} else {
		assert_int_equal(index, MSR_IA32_TSC);
		offset += (s64)(value - fake_tsc());
		tsc_writes++;
	}
}

struct new_cpu {
	s64 offset, adjust;
	s64 ends_apart; /* from the boot CPU's, whose is offset 0 */
	s64 ends_adjusted;
};

static void *new_cpu(void *arg)
{
	struct new_cpu *n = arg;

	hosted_cpu_set(1);
	offset = n->offset;
	adjust = n->adjust;
	clock_sync_new_cpu();
	n->ends_apart = offset + adjust;
	n->ends_adjusted = adjust;
	return NULL;
}

static void meet(struct new_cpu *n, s64 boot_adjust)
{
	pthread_t thread;

	hosted_cpu_set(0);
	adjust = boot_adjust;
	offset = 0;
	clock_sync_prepare();
	assert_int_equal(pthread_create(&thread, NULL, new_cpu, n), 0);
	clock_sync_boot_cpu();
	assert_int_equal(pthread_join(thread, NULL), 0);
	n->ends_apart -= boot_adjust;
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){
		.tsc = fake_tsc, .cpuid = fake_cpuid, .rdmsr = fake_rdmsr, .wrmsr = fake_wrmsr};
	has_adjust = true;
	adjust_writes = tsc_writes = 0;
	hosted_log_reset();
	return 0;
}

static void together(void **state)
{
	struct new_cpu n = {.adjust = 77};

	meet(&n, 77);
	assert_int_equal(n.ends_apart, 0);
	assert_int_equal(adjust_writes + tsc_writes, 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	has_adjust = false;
	n = (struct new_cpu){0};
	meet(&n, 0);
	assert_int_equal(adjust_writes + tsc_writes, 0);
}

/* The firmware wrote one of them: what it wrote is known, and exact. */
static void set_apart_by_writing(void **state)
{
	static const s64 writes[][2] = {{FAR, 0}, {-FAR, 0}, {0, FAR}, {5 * FAR, 3 * FAR}};

	for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
		struct new_cpu n = {.adjust = writes[i][0]};

		setup(state);
		meet(&n, writes[i][1]);
		assert_int_equal(n.ends_apart, 0);
		assert_int_equal(adjust_writes, 1);
		assert_int_equal(hosted_log_count(LOG_WARN), 1);
	}
}

/* Nothing shows why: as near as the measurement is. Also where the adjustments do differ. */
static void apart_by_themselves(void **state)
{
	static const struct new_cpu starts[] = {{.offset = FAR},
						{.offset = -FAR},
						{.offset = FAR, .adjust = 12345},
						{.offset = FAR, .adjust = -2 * FAR}};

	for (u32 i = 0; i < ARRAY_SIZE(starts); i++) {
		struct new_cpu n = starts[i];

		setup(state);
		has_adjust = i != 0;
		meet(&n, 0);
		assert_true(llabs(n.ends_apart) < FAR / 10);
		assert_int_equal(tsc_writes, i == 0);
		assert_int_equal(adjust_writes, i == 0 ? 0 : starts[i].adjust ? 2 : 1);
		assert_non_null(strstr(hosted_log_last(), "cycles apart"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(together, setup),
		cmocka_unit_test_setup(set_apart_by_writing, setup),
		cmocka_unit_test_setup(apart_by_themselves, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
