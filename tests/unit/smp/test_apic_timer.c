/* SPDX-License-Identifier: MIT */
/* The host's alarm, by TSC deadline and by counting: never late, and never early without end. */
/* unit-sources: smp/apic_timer.c smp/tsc_errata.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/apic_regs.h"
#include "smp/irq.h"
#include "smp/timer.h"
#include "smp/tsc_errata.h"
#include "tests/hosted/hosted.h"

#define TSC_LEAD	    1000000000000ull /* the TSC began to count before the clock */
#define LEAF_1_ECX_DEADLINE BIT(24)
#define COUNT_KHZ	    100
#define LOOK_NS		    1000

static u64 now, deadline, look_ns = LOOK_NS;
static u64 counts_since;		  /* as the initial count was written */
static u64 stall_at_write, stall_at_read; /* an SMI, or whoever runs this CPU as a guest */
static u32 lvt_timer, initial;
static bool has_deadline, emulated, id_asked;
static u32 signature;
static u64 microcode;

static u64 fake_tsc(void)
{
	return now + TSC_LEAD;
}

/* Time passes with each look at the clock, so that who waits for it gets on. */
u64 clock_ns(void)
{
	return now += look_ns;
}

u64 clock_ns_to_tsc(u64 ns)
{
	return ns;
}

u32 apic_read(u32 reg)
{
	if (reg == APIC_TIMER_CURRENT) {
		now += stall_at_read;
		return initial - (u32)((now - counts_since) * COUNT_KHZ / 1000000);
	}
	if (reg == APIC_IRR + VECTOR_TIMER / 32 * 16 && deadline && fake_tsc() >= deadline)
		return BIT(VECTOR_TIMER % 32);
	return 0;
}

void apic_write(u32 reg, u32 value)
{
	if (reg == APIC_LVT_TIMER)
		lvt_timer = value;
	if (reg == APIC_TIMER_INITIAL) {
		initial = value;
		counts_since = now;
		now += stall_at_write;
	}
}

static void fake_wrmsr(u32 index, u64 value)
{
	assert_int_equal(index, MSR_IA32_TSC_DEADLINE);
	deadline = value;
}

/* CPUID brings the microcode's revision into an MSR that was 0 (SDM 3A 9.11.7.1). */
static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	if (leaf == 1 && id_asked)
		microcode |= microcode << 32;
	id_asked = false;
	return (struct cpuid_regs){.eax = signature,
				   .ecx = leaf == 1 && has_deadline ? LEAF_1_ECX_DEADLINE : 0};
}

int wrmsr_safe(u32 index, u64 value)
{
	assert_int_equal(index, MSR_IA32_BIOS_SIGN_ID);
	assert_int_equal(value, 0);
	id_asked = true;
	return 0;
}

int rdmsr_safe(u32 index, u64 *value)
{
	assert_int_equal(index, MSR_IA32_BIOS_SIGN_ID);
	*value = microcode & 0xffffffff00000000ull;
	return 0;
}

bool machine_is_emulated(void)
{
	return emulated;
}

static int setup(bool by_deadline)
{
	hosted_machine = (struct hosted_machine){
		.wrmsr = fake_wrmsr, .tsc = fake_tsc, .cpuid = fake_cpuid};
	has_deadline = by_deadline;
	now = 0;
	deadline = 0;
	initial = 0;
	hosted_cpu_set(0);
	apic_timer_init_cpu();
	return apic_timer_is_deadline() == by_deadline ? 0 : -1;
}

static bool deadline_with(u32 eax, u32 revision)
{
	signature = eax;
	microcode = revision;
	hosted_log_reset();
	(void)setup(true);
	signature = 0;
	return apic_timer_is_deadline();
}

/* The least good revision counts on, the one before does not; of CPUs that are not listed any. */
static void test_errata(void **state)
{
	static const struct {
		u32 signature, least;
	} listed[] = {
		{0x306c3, 0x22},       {0x40651, 0x20},	      {0x40661, 0x17},
		{0x306f2, 0x3a},       {0x306f4, 0x0f},	      {0x306d4, 0x25},
		{0x40671, 0x17},       {0x406f1, 0x0b000020}, {0x50662, 0x11},
		{0x50663, 0x0700000e}, {0x50664, 0x0f00000c}, {0x50665, 0x0e000003},
		{0x406e3, 0xb2},       {0x506e3, 0xb2},	      {0x50653, 0x01000136},
		{0x50654, 0x02000014}, {0x806e9, 0x52},	      {0x906e9, 0x52},
	};
	static const u32 good[] = {0x306a9, 0x50657, 0x806c1, 0x706e5, 0x1067a, 0x0f65, 0x90672};

	look_ns = 100 * LOOK_NS;
	for (u32 i = 0; i < ARRAY_SIZE(listed); i++) {
		assert_true(deadline_with(listed[i].signature, listed[i].least));
		assert_int_equal(hosted_log_count(LOG_WARN), 0);
		assert_false(deadline_with(listed[i].signature, listed[i].least - 1));
		assert_int_equal(hosted_log_count(LOG_WARN), 1);
	}
	for (u32 i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(deadline_with(good[i], 1));
	emulated = true;
	assert_true(deadline_with(0x306c3, 0));
	emulated = false;
	look_ns = LOOK_NS;
}

static int setup_deadline(void **state)
{
	return setup(true);
}

static int setup_count(void **state)
{
	return setup(false);
}

static void test_deadline(void **state)
{
	assert_int_equal(lvt_timer, LVT_TSC_DEADLINE | VECTOR_TIMER);
	apic_timer_set(now + 5000);
	assert_in_range(deadline, fake_tsc() + 5000 - LOOK_NS, fake_tsc() + 5000);
	apic_timer_set(now - 1);
	assert_in_range(deadline, 1, fake_tsc());
	apic_timer_stop();
	assert_int_equal(deadline, 0);
}

/* TSC and time left add up to more than 64 bits: the alarm is early, but not at once. */
static void test_deadline_far(void **state)
{
	apic_timer_set(~0ull);
	assert_true(deadline > fake_tsc() + 1000000000);
	apic_timer_set(~0ull - 1000000000);
	assert_true(deadline > fake_tsc() + 1000000000);
}

static void test_count(void **state)
{
	u64 count;

	assert_int_equal(lvt_timer, VECTOR_TIMER);
	apic_timer_set(now + 50000000);
	count = initial;
	assert_in_range(count, 45 * COUNT_KHZ, 50 * COUNT_KHZ + 50);
	apic_timer_set(now);
	assert_int_equal(initial, 1);
	apic_timer_set(~0ull);
	assert_true(initial > 1000 * COUNT_KHZ);
	apic_timer_stop();
	assert_int_equal(initial, 0);
}

/* Each makes alarms come early, which is made good as they do; a late one is late for good. */
static void test_disturbed(void **state)
{
	for (u32 i = 0; i < 2; i++) {
		*(i ? &stall_at_read : &stall_at_write) = 5000000;
		assert_int_equal(setup(false), 0);
		stall_at_read = stall_at_write = 0;
		apic_timer_set(now + 50000000);
		assert_in_range(initial, 30 * COUNT_KHZ, 50 * COUNT_KHZ);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_deadline, setup_deadline),
		cmocka_unit_test_setup(test_deadline_far, setup_deadline),
		cmocka_unit_test_setup(test_count, setup_count),
		cmocka_unit_test(test_disturbed),
		cmocka_unit_test(test_errata),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
