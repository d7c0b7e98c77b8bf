/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The real-time clock: dates, formats, holding and setting, the three interrupts, CMOS sizes. */
#include <cmocka.h>
#include <stdio.h>
#include <time.h>
#include "tests/unit/dev/machine.h"

#define BINARY_24H 0x06

static u8 get(struct machine *m, u8 index)
{
	out8(m, 0x70, index);
	return in8(m, 0x71);
}

static void put(struct machine *m, u8 index, u8 value)
{
	out8(m, 0x70, index);
	out8(m, 0x71, value);
}

/* Sets the clock under SET, as guests do. */
static void set_clock(struct machine *m, u8 b, const u8 *ymdhms, u8 century)
{
	put(m, 11, b | 0x80);
	put(m, 0x32, century);
	put(m, 9, ymdhms[0]);
	put(m, 8, ymdhms[1]);
	put(m, 7, ymdhms[2]);
	put(m, 4, ymdhms[3]);
	put(m, 2, ymdhms[4]);
	put(m, 0, ymdhms[5]);
	put(m, 11, b);
}

static void check_clock(struct machine *m, const char *expected)
{
	char text[64];

	snprintf(text, sizeof(text), "%02x%02x-%02x-%02x %02x:%02x:%02x", get(m, 0x32), get(m, 9),
		 get(m, 8), get(m, 7), get(m, 4), get(m, 2), get(m, 0));
	assert_string_equal(text, expected);
}

/* Day by day through eight centuries, against libc. */
static void dates(void **state)
{
	for (s64 day = -100 * 366; day < 700 * 366; day++) {
		time_t t = (time_t)(day * 86400 + 86400 - 1 - (day & 0xff));
		struct rtc_date d;
		struct tm tm;

		gmtime_r(&t, &tm);
		rtc_date_from_seconds(t, &d);
		assert_int_equal(d.year, tm.tm_year + 1900);
		assert_int_equal(d.month, tm.tm_mon + 1);
		assert_int_equal(d.day, tm.tm_mday);
		assert_int_equal(d.weekday, tm.tm_wday);
		assert_int_equal(d.hour, tm.tm_hour);
		assert_int_equal(d.minute, tm.tm_min);
		assert_int_equal(d.second, tm.tm_sec);
		assert_int_equal(rtc_date_to_seconds(&d), t);
	}
}

static void encodings(void **state)
{
	for (u32 b = 0; b < 8; b += 2) {
		for (u32 hour = 0; hour < 24; hour++)
			assert_int_equal(rtc_decode_hour(rtc_encode_hour(hour, (u8)b), (u8)b),
					 hour);
		for (u32 n = 0; n < 100; n++)
			assert_int_equal(rtc_decode(rtc_encode(n, (u8)b), (u8)b), n);
	}
	assert_int_equal(rtc_encode_hour(0, 0), 0x12);
	assert_int_equal(rtc_encode_hour(12, 0), 0x92);
	assert_int_equal(rtc_encode_hour(23, 0), 0x91);
	assert_int_equal(rtc_encode_hour(23, RTC_B_BINARY), 0x8b);
	assert_int_equal(rtc_decode(0x1a, 0), ~0u);
	assert_int_equal(rtc_decode(0xa1, 0), ~0u);
	assert_int_equal(rtc_decode_hour(0x00, 0), ~0u);
	assert_int_equal(rtc_decode_hour(0x13, 0), ~0u);
}

static void runs_and_rolls_over(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	/* The fake host's clock stood at 0 when clock_ns did. */
	check_clock(&m, "1970-01-01 00:00:10");
	assert_int_equal(get(&m, 6), 5); /* Thursday */
	machine_run(50 * NS_PER_SECOND);
	check_clock(&m, "1970-01-01 00:01:00");
	set_clock(&m, 2, (u8[]){0x99, 0x12, 0x31, 0x23, 0x59, 0x59}, 0x19);
	check_clock(&m, "1999-12-31 23:59:59");
	machine_run(NS_PER_SECOND);
	check_clock(&m, "2000-01-01 00:00:00");
	set_clock(&m, 2, (u8[]){0x24, 0x02, 0x28, 0x23, 0x59, 0x59}, 0x20);
	machine_run(NS_PER_SECOND);
	check_clock(&m, "2024-02-29 00:00:00");
	set_clock(&m, 2, (u8[]){0x00, 0x02, 0x28, 0x23, 0x59, 0x59}, 0x21);
	machine_run(NS_PER_SECOND);
	check_clock(&m, "2100-03-01 00:00:00");
	/* The weekday is what the guest says, and goes on from there. */
	put(&m, 6, 3);
	assert_int_equal(get(&m, 6), 3);
	machine_run(5 * 86400 * NS_PER_SECOND);
	assert_int_equal(get(&m, 6), 1);
	check_clock(&m, "2100-03-06 00:00:00");
	platform_reset(m.p);
	assert_int_equal(get(&m, 9), 0x70);
	machine_destroy(&m);
}

static void formats(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	set_clock(&m, BINARY_24H, (u8[]){24, 11, 30, 15, 45, 10}, 20);
	check_clock(&m, "1418-0b-1e 0f:2d:0a");
	/* Another format of the running clock shows the same time. */
	put(&m, 11, 0x02);
	check_clock(&m, "2024-11-30 15:45:10");
	put(&m, 11, 0x00);
	assert_int_equal(get(&m, 4), 0x83);
	put(&m, 11, 0x04);
	assert_int_equal(get(&m, 4), 0x83);
	put(&m, 4, 12); /* noon is 12 PM, midnight 12 AM */
	put(&m, 11, 0x02);
	assert_int_equal(get(&m, 4), 0x00);
	/* Rubbish is brought into range and harms nobody. */
	set_clock(&m, 0x02, (u8[]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0xff);
	machine_run(NS_PER_SECOND);
	assert_true(get(&m, 8) >= 1 && get(&m, 8) <= 0x12);
	assert_true(get(&m, 4) <= 0x23);
	machine_destroy(&m);
}

static void holding(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	put(&m, 11, 0x82);
	machine_run(5 * NS_PER_SECOND);
	assert_int_equal(get(&m, 0), 0x10);
	assert_int_equal(get(&m, 10) & 0x80, 0);
	put(&m, 11, 0x02);
	assert_int_equal(get(&m, 0), 0x10);
	machine_run(NS_PER_SECOND);
	assert_int_equal(get(&m, 0), 0x11);
	/* The divider held: the first second after it ends in half of one. */
	put(&m, 10, 0x66);
	machine_run(7300000000ull);
	assert_int_equal(get(&m, 0), 0x11);
	put(&m, 10, 0x26);
	machine_run(490000000);
	assert_int_equal(get(&m, 0), 0x11);
	machine_run(20000000);
	assert_int_equal(get(&m, 0), 0x12);
	/* Register D says the battery is good; C and D are not written. */
	put(&m, 13, 0);
	assert_int_equal(get(&m, 13), 0x80);
	machine_destroy(&m);
}

static void update_in_progress(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	assert_int_equal(get(&m, 10), 0x26);
	machine_run(997700000);
	assert_int_equal(get(&m, 10), 0x26);
	machine_run(100000);
	assert_int_equal(get(&m, 10), 0xa6);
	machine_run(2200000);
	assert_int_equal(get(&m, 10), 0x26);
	machine_destroy(&m);
}

static bool irq8(struct machine *m)
{
	return m->p->ioapic.lines & BIT(8);
}

static void update_interrupt(void **state)
{
	struct machine m;
	u32 fired = 0, seen = 0;

	machine_create(&m, 1);
	put(&m, 11, 0x12);
	get(&m, 12);
	for (u32 i = 0; i < 100; i++) {
		fired += machine_run(100000000);
		if (!irq8(&m))
			continue;
		assert_int_equal(get(&m, 12) & 0xb0, 0x90);
		assert_int_equal(get(&m, 12), 0);
		assert_false(irq8(&m));
		seen++;
	}
	assert_int_equal(seen, 10);
	assert_int_equal(fired, 10);
	/* Not answered: one interrupt, and the host's timer rests. */
	assert_int_equal(machine_run(10 * NS_PER_SECOND), 1);
	assert_true(irq8(&m));
	/* SET takes the enable away. */
	put(&m, 11, 0x92);
	assert_int_equal(get(&m, 11), 0x82);
	assert_false(irq8(&m));
	machine_destroy(&m);
}

static void periodic_interrupt(void **state)
{
	static const struct {
		u8 rate;
		u32 hz;
	} rates[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {9, 128}, {15, 2}};

	for (u32 i = 0; i < ARRAY_SIZE(rates); i++) {
		u32 seen = 0;
		u64 end;
		struct machine m;

		machine_create(&m, 1);
		put(&m, 10, 0x20 | rates[i].rate);
		put(&m, 11, 0x42);
		get(&m, 12);
		end = clock_ns() + 2 * NS_PER_SECOND;
		while (hosted_timers_next() <= end) {
			hosted_timers_run(hosted_timers_next());
			if (!irq8(&m))
				continue;
			assert_int_equal(get(&m, 12) & 0xc0, 0xc0);
			seen++;
		}
		assert_in_range(seen, 2 * rates[i].hz - 1, 2 * rates[i].hz);
		/* Rate 0 is off. */
		put(&m, 10, 0x20);
		get(&m, 12);
		machine_run(NS_PER_SECOND);
		assert_int_equal(get(&m, 12) & 0x40, 0);
		machine_destroy(&m);
	}
}

static void alarms(void **state)
{
	static const struct {
		u8 hour, minute, second;
		s64 after, next;
	} cases[] = {
		{0x12, 0x30, 0x15, 0, 45015},	       {0x12, 0x30, 0x15, 45015, 86400 + 45015},
		{0x12, 0x30, 0x15, 45014, 45015},      {0xff, 0x30, 0x15, 45015, 45015 + 3600},
		{0xff, 0xff, 0x15, 45015, 45015 + 60}, {0xff, 0xff, 0xff, 45015, 45016},
		{0xc0, 0xc1, 0x59, 86398, 86399},      {0x00, 0x00, 0x00, 1, 86400},
		{0x00, 0xff, 0x00, 86400, 86460},      {0x23, 0x59, 0xff, -1, 86340},
		{0x24, 0x00, 0x00, 0, RTC_NEVER},      {0x12, 0x60, 0x00, 0, RTC_NEVER},
		{0x12, 0x1a, 0x00, 0, RTC_NEVER},      {0x12, 0x00, 0x75, 0, RTC_NEVER},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rtc_alarm a = {cases[i].second, cases[i].minute, cases[i].hour};

		assert_int_equal(rtc_next_alarm(&a, RTC_B_24H, cases[i].after), cases[i].next);
	}
}

static void alarm_interrupt(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	set_clock(&m, 2, (u8[]){0x24, 0x06, 0x01, 0x11, 0x59, 0x50}, 0x20);
	put(&m, 5, 0x12);
	put(&m, 3, 0x00);
	put(&m, 1, 0x30);
	put(&m, 11, 0x22);
	get(&m, 12);
	machine_run(39900000000ull);
	assert_false(irq8(&m));
	assert_in_range(machine_run(200000000), 1, 1);
	assert_true(irq8(&m));
	assert_int_equal(get(&m, 12) & 0xa0, 0xa0);
	/* Never looked at for two days: the flag is there all the same. */
	put(&m, 11, 0x02);
	hosted_timers_forget();
	machine_run(2 * 86400 * NS_PER_SECOND);
	assert_int_equal(get(&m, 12) & 0x20, 0x20);
	put(&m, 11, 0x22);
	assert_int_equal(machine_run(86400 * NS_PER_SECOND), 1);
	assert_true(irq8(&m));
	machine_destroy(&m);
}

static void cmos(void **state)
{
	struct machine m;

	machine_create(&m, 3);
	assert_int_equal(get(&m, 0x15) | get(&m, 0x16) << 8, 640);
	assert_int_equal(get(&m, 0x17) | get(&m, 0x18) << 8, 65535);
	assert_int_equal(get(&m, 0x34) | get(&m, 0x35) << 8, (256 - 16) * 16);
	assert_int_equal(get(&m, 0x5b), 0);
	assert_int_equal(get(&m, 0x5f), 2);
	put(&m, 0x40, 0x5a);
	assert_int_equal(get(&m, 0x40), 0x5a);
	assert_int_equal(get(&m, 0xc0), 0x5a); /* the top bit is no part of the index */
	m.vm->config.mem = GIB(5);
	platform_reset(m.p);
	assert_int_equal(get(&m, 0x40), 0);
	assert_int_equal(get(&m, 0x34) | get(&m, 0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(get(&m, 0x5b) | get(&m, 0x5c) << 8, 2 * 1024 * 16);
	assert_int_equal(in8(&m, 0x70), 0xff);
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates),
		cmocka_unit_test(encodings),
		cmocka_unit_test(runs_and_rolls_over),
		cmocka_unit_test(formats),
		cmocka_unit_test(holding),
		cmocka_unit_test(update_in_progress),
		cmocka_unit_test(update_interrupt),
		cmocka_unit_test(periodic_interrupt),
		cmocka_unit_test(alarms),
		cmocka_unit_test(alarm_interrupt),
		cmocka_unit_test(cmos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
