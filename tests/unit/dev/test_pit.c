/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The 8254: counts and outputs of all modes over time, latches, and IRQ 0 without a tick. */
#include <cmocka.h>
#include "tests/unit/dev/machine.h"

/* One counter by itself: time in ticks. */
#define T0 1000000ull

static void setup(struct pit_channel *c, u8 control, u32 count)
{
	*c = (struct pit_channel){.gate = true};
	pit_channel_set_mode(c, control, T0);
	pit_channel_write(c, (u8)count, T0);
	if ((control & 0x30) == 0x30)
		pit_channel_write(c, (u8)(count >> 8), T0);
}

static u32 count_at(struct pit_channel *c, u64 t)
{
	u32 low;

	pit_channel_latch(c, true, false, t);
	low = pit_channel_read(c, t);
	return c->access == 3 ? low | pit_channel_read(c, t) << 8 : low;
}

/* The output over n ticks from the first clock after the write, as text. */
static const char *wave(struct pit_channel *c, u32 n)
{
	static char text[80];

	for (u32 i = 0; i < n; i++)
		text[i] = pit_channel_output(c, T0 + 1 + i) ? '1' : '0';
	text[n] = '\0';
	return text;
}

static void mode0(void **state)
{
	struct pit_channel c;

	setup(&c, 0x30, 4);
	assert_string_equal(wave(&c, 8), "00001111");
	setup(&c, 0x30, 4);
	assert_int_equal(pit_channel_next_edge(&c, T0), T0 + 5);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 5), PIT_NEVER);
	assert_int_equal(count_at(&c, T0 + 2), 3);
	assert_int_equal(count_at(&c, T0 + 5), 0);
	assert_int_equal(count_at(&c, T0 + 6), 0xffff);
	/* The gate holds the count. */
	setup(&c, 0x30, 100);
	pit_channel_set_gate(&c, false, T0 + 11);
	assert_int_equal(count_at(&c, T0 + 500), 90);
	assert_false(pit_channel_output(&c, T0 + 500));
	assert_int_equal(pit_channel_next_edge(&c, T0 + 500), PIT_NEVER);
	pit_channel_set_gate(&c, true, T0 + 500);
	assert_int_equal(count_at(&c, T0 + 510), 80);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 510), T0 + 590);
	/* The first byte of a new count stops it, the second starts anew. */
	pit_channel_write(&c, 50, T0 + 600);
	assert_false(pit_channel_output(&c, T0 + 700));
	pit_channel_write(&c, 0, T0 + 700);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 700), T0 + 751);
}

static void mode1(void **state)
{
	struct pit_channel c;

	setup(&c, 0x12, 3);
	assert_string_equal(wave(&c, 4), "1111");
	pit_channel_set_gate(&c, false, T0 + 2);
	pit_channel_set_gate(&c, true, T0 + 4);
	assert_string_equal(wave(&c, 10), "1111000111");
	assert_int_equal(pit_channel_next_edge(&c, T0 + 6), T0 + 8);
	/* A second trigger in mid-pulse makes it longer; a low gate alone does not. */
	setup(&c, 0x12, 5);
	pit_channel_set_gate(&c, false, T0);
	pit_channel_set_gate(&c, true, T0);
	pit_channel_set_gate(&c, false, T0 + 2);
	assert_false(pit_channel_output(&c, T0 + 4));
	pit_channel_set_gate(&c, true, T0 + 4);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 4), T0 + 10);
}

static void mode2(void **state)
{
	struct pit_channel c;

	setup(&c, 0x34, 4);
	assert_string_equal(wave(&c, 12), "111011101110");
	setup(&c, 0x34, 4);
	assert_int_equal(pit_channel_next_edge(&c, T0), T0 + 5);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 5), T0 + 9);
	assert_int_equal(count_at(&c, T0 + 1), 4);
	assert_int_equal(count_at(&c, T0 + 4), 1);
	assert_int_equal(count_at(&c, T0 + 5), 4);
	/* A new count begins with the next period. */
	setup(&c, 0x14, 10);
	pit_channel_write(&c, 4, T0 + 14);
	assert_int_equal(count_at(&c, T0 + 16), 5);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 16), T0 + 21);
	assert_int_equal(count_at(&c, T0 + 21), 4);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 21), T0 + 25);
	/* The gate stops it with the output high, and starts it anew. */
	pit_channel_set_gate(&c, false, T0 + 24);
	assert_true(pit_channel_output(&c, T0 + 24));
	pit_channel_set_gate(&c, true, T0 + 30);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 30), T0 + 35);
	/* Mode bits 6 are mode 2. */
	setup(&c, 0x3c, 4);
	assert_string_equal(wave(&c, 4), "1110");
	/* 0 stands for 65536. */
	setup(&c, 0x34, 0);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 1), T0 + 1 + 65536);
}

static void mode3(void **state)
{
	struct pit_channel c;

	setup(&c, 0x36, 4);
	assert_string_equal(wave(&c, 12), "110011001100");
	setup(&c, 0x36, 5);
	assert_string_equal(wave(&c, 10), "1110011100");
	setup(&c, 0x36, 8);
	assert_int_equal(count_at(&c, T0 + 1), 8);
	assert_int_equal(count_at(&c, T0 + 2), 6);
	assert_int_equal(count_at(&c, T0 + 4), 2);
	assert_int_equal(count_at(&c, T0 + 5), 8);
	/* A new count begins with the next half: here the low one, then the high one. */
	setup(&c, 0x16, 8);
	pit_channel_write(&c, 4, T0 + 2);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 2), T0 + 7);
	assert_string_equal(wave(&c, 12), "111100110011");
	setup(&c, 0x16, 8);
	pit_channel_write(&c, 4, T0 + 6);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 6), T0 + 9);
	assert_string_equal(wave(&c, 4), "1111");
	assert_true(pit_channel_output(&c, T0 + 10));
	assert_false(pit_channel_output(&c, T0 + 11));
}

static void mode4_and_5(void **state)
{
	struct pit_channel c;

	setup(&c, 0x38, 3);
	assert_string_equal(wave(&c, 7), "1110111");
	setup(&c, 0x38, 3);
	assert_int_equal(pit_channel_next_edge(&c, T0), T0 + 5);
	assert_int_equal(pit_channel_next_edge(&c, T0 + 5), PIT_NEVER);
	setup(&c, 0x1a, 3);
	assert_string_equal(wave(&c, 6), "111111");
	pit_channel_set_gate(&c, false, T0);
	pit_channel_set_gate(&c, true, T0);
	assert_string_equal(wave(&c, 7), "1110111");
}

static void bcd(void **state)
{
	struct pit_channel c;

	setup(&c, 0x35, 0x1000);
	assert_int_equal(count_at(&c, T0 + 2), 0x0999);
	assert_int_equal(pit_channel_next_edge(&c, T0), T0 + 1001);
	setup(&c, 0x31, 0x0001);
	assert_int_equal(count_at(&c, T0 + 3), 0x9999);
	setup(&c, 0x35, 0);
	assert_int_equal(pit_channel_next_edge(&c, T0), T0 + 10001);
	assert_int_equal(count_at(&c, T0 + 1), 0);
	setup(&c, 0x35, 0xffff); /* no digits: more than four of them hold */
	assert_int_equal(count_at(&c, T0 + 1), 0x6665);
}

static void access_and_latch(void **state)
{
	struct pit_channel c;

	setup(&c, 0x34, 0x1234);
	/* A latch keeps both bytes; a second one before they are read changes nothing. */
	pit_channel_latch(&c, true, false, T0 + 1);
	pit_channel_latch(&c, true, false, T0 + 100);
	assert_int_equal(pit_channel_read(&c, T0 + 100), 0x34);
	assert_int_equal(pit_channel_read(&c, T0 + 200), 0x12);
	assert_int_equal(pit_channel_read(&c, T0 + 1 + 0x34), 0x00);
	assert_int_equal(pit_channel_read(&c, T0 + 1 + 0x34), 0x12);
	/* Only the low, only the high byte. */
	setup(&c, 0x14, 0x56);
	assert_int_equal(pit_channel_read(&c, T0 + 1), 0x56);
	assert_int_equal(pit_channel_read(&c, T0 + 2), 0x55);
	setup(&c, 0x24, 0x56);
	assert_int_equal(pit_channel_read(&c, T0 + 1), 0x56);
	assert_int_equal(pit_channel_next_edge(&c, T0), T0 + 1 + 0x5600);
	/* Status: output, null count, access, mode, BCD; it comes before the count. */
	c = (struct pit_channel){.gate = true};
	pit_channel_set_mode(&c, 0x31, T0);
	pit_channel_latch(&c, false, true, T0);
	assert_int_equal(pit_channel_read(&c, T0), 0x71);
	pit_channel_write(&c, 0x10, T0);
	pit_channel_write(&c, 0, T0);
	pit_channel_latch(&c, true, true, T0 + 11);
	assert_int_equal(pit_channel_read(&c, T0 + 99), 0xb1);
	assert_int_equal(pit_channel_read(&c, T0 + 99), 0x00);
	assert_int_equal(pit_channel_read(&c, T0 + 99), 0x00);
	setup(&c, 0x16, 8);
	pit_channel_write(&c, 4, T0 + 2);
	pit_channel_latch(&c, false, true, T0 + 3);
	assert_int_equal(pit_channel_read(&c, T0 + 3), 0xd6);
	pit_channel_latch(&c, false, true, T0 + 6);
	assert_int_equal(pit_channel_read(&c, T0 + 6), 0x16);
}

/* next_edge agrees with the output, tick by tick, in every mode and after every change. */
static void edges_agree_with_output(void **state)
{
	u32 seed = 12345;

	for (u32 run = 0; run < 3000; run++) {
		struct pit_channel c;
		u32 count = 2 + run % 13, change_at = run % 29;
		u8 mode = run % 6;
		u64 expected = PIT_NEVER;
		bool before;

		setup(&c, (u8)(0x10 | (mode << 1)), count);
		if (mode == 1 || mode == 5) {
			pit_channel_set_gate(&c, false, T0);
			pit_channel_set_gate(&c, true, T0);
		}
		before = pit_channel_output(&c, T0 + 1);
		expected = pit_channel_next_edge(&c, T0 + 1);
		for (u64 t = T0 + 2; t < T0 + 60; t++) {
			bool after = pit_channel_output(&c, t), rises = after && !before;

			if (rises != (t == expected))
				fail_msg("mode %u count %u change at %u: tick %u, edge at %u", mode,
					 count, change_at, (u32)(t - T0), (u32)(expected - T0));
			if (t - T0 == change_at && (mode == 2 || mode == 3)) {
				seed = seed * 1103515245 + 12345;
				pit_channel_write(&c, (u8)(2 + (seed >> 16) % 13), t);
			}
			before = after;
			expected = pit_channel_next_edge(&c, t);
		}
	}
}

/* --- the whole chip in its machine --- */

static u32 take_all(struct machine *m)
{
	u32 n = 0;

	while (platform_interrupt_ack(m->v) == 0x30) {
		out8(m, 0x20, 0x20);
		n++;
	}
	return n;
}

static void irq0_by_pic(void **state)
{
	struct machine m;
	u32 interrupts = 0;

	machine_create(&m, 1);
	pic_setup(&m, 0xfffe);
	pit_setup(&m, 0x34, 11932); /* 100 Hz */
	for (u32 i = 0; i < 1000; i++) {
		machine_run(1000000);
		interrupts += take_all(&m);
	}
	assert_in_range(interrupts, 99, 100);
	/* Nobody takes it: it is latched once and the host's timer rests. */
	assert_in_range(machine_run(NS_PER_SECOND), 1, 2);
	assert_int_equal(machine_run(NS_PER_SECOND), 0);
	assert_int_equal(take_all(&m), 1);
	machine_run(20000000);
	assert_int_equal(take_all(&m), 1);
	machine_destroy(&m);
}

/* While masked nothing fires, and unmasking finds the edge that was. */
static void masked_irq0_costs_nothing(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	pic_setup(&m, 0xffff);
	pit_setup(&m, 0x34, 11932);
	machine_run(NS_PER_SECOND); /* what was armed before it was masked */
	assert_int_equal(machine_run(10 * NS_PER_SECOND), 0);
	out8(&m, 0x20, 0x0a);
	assert_int_equal(in8(&m, 0x20) & 1, 1);
	out8(&m, 0x21, 0xfe);
	assert_int_equal(take_all(&m), 1);
	assert_int_equal(take_all(&m), 0);
	/* The IOAPIC loses edges while it masks. */
	out8(&m, 0x21, 0xff);
	ioapic_route(&m, 2, 0, 0x30 | RTE_MASK_BIT);
	machine_run(NS_PER_SECOND / 2 + 1000000);
	ioapic_route(&m, 2, 0, 0x30);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	machine_run(10100000);
	assert_int_equal(platform_interrupt_ack(m.v), 0x30);
	machine_destroy(&m);
}

static void irq0_one_shot_and_storm(void **state)
{
	struct machine m;
	u32 fired = 0;

	machine_create(&m, 1);
	pic_setup(&m, 0xfffe);
	pit_setup(&m, 0x30, 1193); /* 1 ms */
	assert_int_equal(take_all(&m), 0);
	machine_run(PIT_TICKS_NS(1193));
	assert_int_equal(take_all(&m), 0);
	machine_run(PIT_TICKS_NS(2));
	assert_int_equal(take_all(&m), 1);
	machine_run(NS_PER_SECOND);
	assert_int_equal(take_all(&m), 0);
	ioapic_route(&m, 2, 0, 0x31);
	/* Nobody can have it off more often than that, however fast it is taken. */
	pit_setup(&m, 0x34, 2);
	for (u32 i = 0; i < 1000; i++) {
		fired += machine_run(10000);
		(void)platform_interrupt_ack(m.v);
		apic_write(&m, 0, APIC_EOI, 0);
	}
	assert_in_range(fired, 40, 51);
	pit_setup(&m, 0x34, 1); /* illegal; no matter */
	assert_in_range(machine_run(NS_PER_SECOND / 100), 1, 51);
	lapic_gather(m.v->lapic);
	machine_run(1000000);
	lapic_gather(m.v->lapic);
	/* What the guest asks for each time comes when it asks. */
	pit_setup(&m, 0x30, 60); /* 50 us */
	assert_int_equal(machine_run(PIT_TICKS_NS(60)), 0);
	assert_int_equal(machine_run(PIT_TICKS_NS(2)), 1);
	machine_destroy(&m);
}

static void port61(void **state)
{
	u32 toggles = 0;
	struct machine m;
	u8 before;

	machine_create(&m, 1);
	before = in8(&m, 0x61);
	for (u32 i = 0; i < 1000; i++) {
		u8 now;

		machine_run(5000);
		now = in8(&m, 0x61);
		toggles += (now ^ before) >> 4 & 1;
		before = now;
	}
	assert_in_range(toggles, 330, 332); /* each 15.085 us */
	/* As Linux measures the TSC: mode 0 on channel 2, wait for its output. */
	out8(&m, 0x61, (in8(&m, 0x61) & ~2) | 1);
	out8(&m, 0x43, 0xb0);
	out8(&m, 0x42, (u8)59659);
	out8(&m, 0x42, 59659 >> 8);
	machine_run(49900000);
	assert_int_equal(in8(&m, 0x61) & 0x21, 0x01);
	machine_run(200000);
	assert_int_equal(in8(&m, 0x61) & 0x21, 0x21);
	out8(&m, 0x61, 0xff);
	assert_int_equal(in8(&m, 0x61) & 0xcf, 0x0f);
	/* The control word is not read; a read-back of two channels at once is. */
	assert_int_equal(in8(&m, 0x43), 0xff);
	out8(&m, 0x43, 0xe0 | 0x0a);
	assert_int_equal(in8(&m, 0x40) & 0x3f, 0x36);
	assert_int_equal(in8(&m, 0x42) & 0x3f, 0x30);
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mode0),
		cmocka_unit_test(mode1),
		cmocka_unit_test(mode2),
		cmocka_unit_test(mode3),
		cmocka_unit_test(mode4_and_5),
		cmocka_unit_test(bcd),
		cmocka_unit_test(access_and_latch),
		cmocka_unit_test(edges_agree_with_output),
		cmocka_unit_test(irq0_by_pic),
		cmocka_unit_test(masked_irq0_costs_nothing),
		cmocka_unit_test(irq0_one_shot_and_storm),
		cmocka_unit_test(port61),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
