/* SPDX-License-Identifier: MIT */
/*
 * The clock's choices on machines made up: time passes with each look at a counter, and CPUID,
 * the ACPI timer and the PIT say of it what the test wants.
 */
/* unit-sources: smp/clock.c smp/clock_reference.c smp/cmos.c kernel/base/acpi.c
 *	kernel/base/acpi_madt.c kernel/base/acpi_fadt.c kernel/base/acpi_srat.c
 *	kernel/base/machine.c */
#include <cmocka.h>
#include <string.h>
#include <time.h>
#include "kernel/base/acpi.h"
#include "kernel/base/x86.h"
#include "smp/clock.h"
#include "smp/cpu.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"

#define LOOK_NS 1500 /* how long each look takes */
#define TSC_MHZ 2000
#define PM_PORT 0x608
#define PM_HZ	3579545ull
#define PIT_HZ	1193182ull

static u64 time_ns;
static bool pm_stands, pit_dead, hypervisor;
static u32 leaf15[3], leaf16, extended_last = 0x80000008;
static bool invariant = true;
static const char *below; /* the hypervisor's name, of 12 bytes */
static u32 kvm_features;
static u64 pit_started;
static u32 pit_count, pit_writes;
static u8 cmos[128], cmos_index;
static u32 updating;

static u64 fake_tsc(void)
{
	time_ns += LOOK_NS;
	return time_ns * TSC_MHZ / 1000;
}

static u32 fake_in(u16 port, u32 size)
{
	(void)size;
	time_ns += LOOK_NS;
	switch (port) {
	case PM_PORT:
		return pm_stands
			       ? 77
			       : (u32)((unsigned __int128)time_ns * PM_HZ / 1000000000) & 0xffffff;
	case 0x61:
		if (pit_dead || !pit_started)
			return 0;
		return (time_ns - pit_started) * PIT_HZ / 1000000000 >= pit_count ? 0x20 : 0;
	case 0x71:
		if (cmos_index == 0x0a && updating) {
			updating--;
			return 0x80;
		}
		return cmos[cmos_index];
	}
	return 0xff;
}

static void fake_out(u16 port, u32 size, u32 value)
{
	(void)size;
	if (port == 0x70)
		cmos_index = value & 0x7f;
	if (port == 0x42) {
		pit_count = pit_writes++ % 2 ? pit_count | value << 8 : value;
		pit_started = 0;
	}
	if (port == 0x61 && (value & 1))
		pit_started = time_ns;
}

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	(void)subleaf;
	if (leaf == 0)
		return (struct cpuid_regs){0x16, 0, 0, 0};
	if (leaf == 1)
		return (struct cpuid_regs){0, 0, hypervisor ? BIT(31) : 0, 0};
	if (leaf == 0x15)
		return (struct cpuid_regs){leaf15[0], leaf15[1], leaf15[2], 0};
	if (leaf == 0x16)
		return (struct cpuid_regs){leaf16, 0, 0, 0};
	if (leaf == 0x40000000 && below) {
		struct cpuid_regs r = {0x40000001, 0, 0, 0};

		memcpy(&r.ebx, below, 4);
		memcpy(&r.ecx, below + 4, 4);
		memcpy(&r.edx, below + 8, 4);
		return r;
	}
	if (leaf == 0x40000001)
		return (struct cpuid_regs){kvm_features, 0, 0, 0};
	if (leaf == 0x80000000)
		return (struct cpuid_regs){extended_last, 0, 0, 0};
	if (leaf == 0x80000007)
		return (struct cpuid_regs){0, 0, 0, invariant ? BIT(8) : 0};
	return (struct cpuid_regs){0, 0, 0, 0};
}

static u32 hpet[256];

static u8 *map_device(hpa_t hpa, u64 size)
{
	assert_int_equal(size, sizeof(hpet));
	return (u8 *)hpet;
}

static const struct smp_hooks hooks = {.map_device = map_device};

const struct smp_hooks *smp_hooks_get(void)
{
	return &hooks;
}

static int setup(void **state)
{
	(void)state;
	memset(&acpi_info, 0, sizeof(acpi_info));
	acpi_info.pm_timer = (struct acpi_register){ACPI_SPACE_IO, 32, PM_PORT};
	memset(leaf15, 0, sizeof(leaf15));
	leaf16 = 0;
	pm_stands = pit_dead = hypervisor = false;
	pit_started = 0;
	pit_writes = 0;
	updating = 0;
	memset(cmos, 0, sizeof(cmos));
	cmos[7] = cmos[8] = 1;
	cmos[11] = 0x02;
	hosted_machine = (struct hosted_machine){
		.in = fake_in, .out = fake_out, .cpuid = fake_cpuid, .tsc = fake_tsc};
	hosted_log_reset();
	time_ns = 5000000000ull;
	return 0;
}

static void near(u64 khz)
{
	assert_in_range(clock_tsc_khz(), khz - khz / 200, khz + khz / 200);
}

static void by(const char *how)
{
	assert_non_null(strstr(hosted_log_last(), how));
}

static void test_measured(void **state)
{
	clock_init();
	near(TSC_MHZ * 1000);
	by("ACPI timer");
}

static void test_cpuid_honest(void **state)
{
	leaf15[0] = 2;
	leaf15[1] = 160;
	leaf15[2] = 25000000;
	clock_init();
	assert_int_equal(clock_tsc_khz(), 2000000);
	by("CPUID");
}

static void test_cpuid_lies(void **state)
{
	leaf15[0] = 2;
	leaf15[1] = 240;
	leaf15[2] = 25000000;
	clock_init();
	near(TSC_MHZ * 1000);
	by("ACPI timer");
	leaf15[1] = 120;
	clock_init();
	near(TSC_MHZ * 1000);
	by("ACPI timer");
}

/* By a quarter of a percent, as servers' crystals are: what is measured counts. */
static void test_cpuid_a_little_off(void **state)
{
	leaf15[0] = 400;
	leaf15[1] = 32080;
	leaf15[2] = 25000000;
	clock_init();
	assert_in_range(clock_tsc_khz(), TSC_MHZ * 1000 - 500, TSC_MHZ * 1000 + 500);
	by("ACPI timer");
}

static void crystal(u32 eax, u32 ebx, u64 khz)
{
	leaf15[0] = eax;
	leaf15[1] = ebx;
	clock_init();
	if (khz) {
		assert_int_equal(clock_tsc_khz(), khz);
		by("usual crystal");
	} else {
		assert_in_range(clock_tsc_khz(), TSC_MHZ * 1000 - 500, TSC_MHZ * 1000 + 500);
		by("ACPI timer");
	}
}

/* CPUID has the ratio alone: of the crystals that there are the one that fits. */
static void test_crystals(void **state)
{
	crystal(24, 2000, 2000000);
	crystal(25, 2000, 2000000);
	crystal(192, 20000, 2000000);
	crystal(384, 20000, 2000000);
	crystal(24, 2001, 2001000);
	crystal(2, 168, 0); /* 2016 or 2100 MHz */
	crystal(400, 32080, 0);
	crystal(24, 0, 0);
	crystal(0, 2000, 0);
	leaf15[2] = 25000000; /* it has the rate, which is wrong */
	crystal(24, 2000, 0);
}

/* A longer look where it counts, not where each of many boots would pay for it. */
static void test_how_long(void **state)
{
	u64 start = time_ns;

	clock_init();
	assert_in_range(time_ns - start, 300000000, 330000000);
	hypervisor = true;
	start = time_ns;
	clock_init();
	assert_in_range(time_ns - start, 30000000, 40000000);
	hypervisor = false;
	acpi_info.bochs_tables = true;
	start = time_ns;
	clock_init();
	assert_in_range(time_ns - start, 30000000, 40000000);
	acpi_info.bochs_tables = false;
	acpi_info.pm_timer.address = 0;
	start = time_ns;
	clock_init();
	near(TSC_MHZ * 1000);
	assert_in_range(time_ns - start, 150000000, 170000000);
}

/* The 24-bit ACPI timer starts anew in the middle of the measurement. */
static void test_timer_wraps(void **state)
{
	hypervisor = true;
	for (u64 early_us = 500; early_us < 40000; early_us += 700) {
		time_ns = (1ull << 24) * 1000000000 / PM_HZ * 2 - early_us * 1000;
		clock_init();
		near(TSC_MHZ * 1000);
		by("ACPI timer");
	}
}

static void test_leaf_16(void **state)
{
	leaf16 = TSC_MHZ + 4; /* near, but a measurement is nearer */
	clock_init();
	assert_in_range(clock_tsc_khz(), TSC_MHZ * 1000 - 1000, TSC_MHZ * 1000 + 1000);
	by("ACPI timer");
	leaf16 = 2100;
	clock_init();
	near(TSC_MHZ * 1000);
}

static void test_timer_stands(void **state)
{
	pm_stands = true;
	clock_init();
	near(TSC_MHZ * 1000);
	by("PIT");
}

static bool promised(bool by_cpu, const char *by_hypervisor, u32 features)
{
	invariant = by_cpu;
	hypervisor = by_hypervisor;
	below = by_hypervisor;
	kvm_features = features;
	clock_init();
	return clock_tsc_is_stable();
}

/* What nobody promises no guest is promised. An emulator's TSC keeps its rate; KVM says whether. */
static void test_promise(void **state)
{
	assert_true(promised(true, NULL, 0));
	assert_false(promised(false, NULL, 0));
	assert_true(promised(false, "TCGTCGTCGTCG", 0));
	assert_true(promised(false, "KVMKVMKVM\0\0\0", BIT(24)));
	assert_false(promised(false, "KVMKVMKVM\0\0\0", 0xfeffffff));
	assert_false(promised(false, "Microsoft Hv", ~0u));
	assert_true(promised(true, "Microsoft Hv", 0));
	extended_last = 0x80000004;
	assert_false(promised(true, NULL, 0));
	extended_last = 0x80000008;
	clock_tsc_doubt();
	assert_false(clock_tsc_is_stable());
	hypervisor = false;
	invariant = true;
}

static void test_cpuid_alone(void **state)
{
	pm_stands = pit_dead = hypervisor = true;
	leaf16 = 1234;
	clock_init();
	assert_int_equal(clock_tsc_khz(), 1234000);
}

static void init(void *arg)
{
	(void)arg;
	clock_init();
}

static void test_no_clock(void **state)
{
	pm_stands = pit_dead = hypervisor = true;
	assert_true(hosted_catch_panic(init, NULL));
	assert_non_null(strstr(hosted_panic_text(), "no clock"));
}

/* One that stands still, so that the ACPI timer is taken; what the firmware left on goes off. */
static void test_hpet_alarms(void **state)
{
	memset(hpet, 0, sizeof(hpet));
	hpet[0] = 0x80860201 & ~0x1f00u; /* the first timer */
	hpet[0] |= 2u << 8;		 /* and two more */
	hpet[1] = 69841279;
	hpet[4] = 3;
	for (u32 n = 0; n < 5; n++)
		hpet[64 + 8 * n] = 0xffff;
	acpi_info.hpet_present = true;
	acpi_info.hpet_address = 0xfed00000;
	clock_init();
	near(TSC_MHZ * 1000);
	by("ACPI timer");
	assert_int_equal(hpet[4], 1);
	for (u32 n = 0; n < 3; n++)
		assert_int_equal(hpet[64 + 8 * n], 0xbffb);
	assert_int_equal(hpet[64 + 8 * 3], 0xffff);
}

static void test_no_acpi(void **state)
{
	acpi_info.pm_timer.address = 0;
	clock_init();
	near(TSC_MHZ * 1000);
	by("PIT");
}

static void test_scale(void **state)
{
	static const u64 rates[] = {1000, 50000000, 999999999, 2593900123ull, 5800000000ull};

	for (u32 i = 0; i < ARRAY_SIZE(rates); i++) {
		struct clock_scale to = clock_scale_make(rates[i], 1000000000);
		struct clock_scale back = clock_scale_make(1000000000, rates[i]);
		u64 year = 365ull * 86400;

		/* A year at this rate is off by less than a second, and there and back agrees. */
		assert_in_range(clock_scale_apply(to, year * rates[i]), (year - 1) * 1000000000,
				year * 1000000000);
		assert_in_range(clock_scale_apply(back, clock_scale_apply(to, 3600 * rates[i])),
				3599 * rates[i], 3600 * rates[i]);
		assert_int_equal(clock_scale_apply(to, 0), 0);
	}
}

static void test_monotonic(void **state)
{
	u64 last = 0;

	clock_init();
	for (u32 i = 0; i < 1000; i++) {
		u64 ns = clock_ns();

		assert_true(ns > last);
		last = ns;
	}
	assert_in_range(clock_tsc_to_ns(clock_ns_to_tsc(1000000)), 999000, 1000000);
}

static void set_cmos(u8 s, u8 m, u8 h, u8 day, u8 month, u8 year, u8 status_b)
{
	cmos[0] = s;
	cmos[2] = m;
	cmos[4] = h;
	cmos[7] = day;
	cmos[8] = month;
	cmos[9] = year;
	cmos[11] = status_b;
}

static void test_cmos(void **state)
{
	set_cmos(0x56, 0x34, 0x23, 0x29, 0x02, 0x24, 0x02);
	assert_int_equal(cmos_read_time(), 1709249696); /* 2024-02-29 23:34:56 */
	set_cmos(56, 34, 23, 29, 2, 24, 0x06);
	assert_int_equal(cmos_read_time(), 1709249696);
	set_cmos(0x56, 0x34, 0x80 | 0x11, 0x29, 0x02, 0x24, 0x00);
	assert_int_equal(cmos_read_time(), 1709249696); /* 11 PM */
	set_cmos(0, 0, 0x12, 0x01, 0x01, 0x24, 0x00);
	assert_int_equal(cmos_read_time(), 1704067200); /* 12 AM is midnight */
	set_cmos(0, 0, 0x80 | 0x12, 0x01, 0x01, 0x24, 0x00);
	assert_int_equal(cmos_read_time(), 1704067200 + 12 * 3600);
	updating = 50;
	assert_int_equal(cmos_read_time(), 1704067200 + 12 * 3600);
	acpi_info.century_index = 0x32;
	cmos[0x32] = 0x19;
	set_cmos(0, 0, 0, 0x01, 0x01, 0x99, 0x02);
	assert_int_equal(cmos_read_time(), 915148800);
	set_cmos(0, 0, 0, 0, 0x01, 0x24, 0x02);
	assert_int_equal(cmos_read_time(), 0);
	set_cmos(0, 0, 0, 1, 0x13, 0x24, 0x02);
	assert_int_equal(cmos_read_time(), 0);
	memset(cmos, 0xff, sizeof(cmos));
	cmos[10] = 0;
	assert_int_equal(cmos_read_time(), 0);
}

/* Every day of a hundred and fifty years, against the C library. */
static void test_days(void **state)
{
	for (u64 day = 0; day < 150 * 365; day++) {
		time_t t = (time_t)day * 86400;
		struct tm tm;

		gmtime_r(&t, &tm);
		assert_int_equal(
			cmos_days((u32)tm.tm_year + 1900, (u32)tm.tm_mon + 1, (u32)tm.tm_mday),
			day);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_measured),	TEST(test_cpuid_honest),
		TEST(test_cpuid_lies),	TEST(test_timer_wraps),
		TEST(test_leaf_16),	TEST(test_timer_stands),
		TEST(test_cpuid_alone), TEST(test_no_clock),
		TEST(test_no_acpi),	TEST(test_scale),
		TEST(test_monotonic),	TEST(test_cmos),
		TEST(test_days),	TEST(test_crystals),
		TEST(test_how_long),	TEST(test_cpuid_a_little_off),
		TEST(test_hpet_alarms), TEST(test_promise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
