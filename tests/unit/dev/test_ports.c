/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The small ones: power management, reset ports, keyboard controller, PCI's absence, fw_cfg. */
#include <cmocka.h>
#include <string.h>
#include "tests/unit/dev/machine.h"

#define PM_STATUS  0x600
#define PM_ENABLE  0x602
#define PM_CONTROL 0x604
#define PM_TIMER   0x608

static bool line(struct machine *m, u32 gsi)
{
	return m->p->ioapic.lines & BIT(gsi);
}

static void pm_timer(void **state)
{
	struct machine m;
	u32 before, after;

	machine_create(&m, 1);
	before = in32(&m, PM_TIMER);
	machine_run(NS_PER_SECOND);
	after = in32(&m, PM_TIMER);
	assert_int_equal(after - before, 3579545);
	out32(&m, PM_TIMER, 0);
	assert_int_equal(in32(&m, PM_TIMER), after);
	assert_int_equal(in16(&m, PM_TIMER + 2), after >> 16);
	assert_int_equal(in8(&m, PM_TIMER + 1), after >> 8 & 0xff);
	/* Wraps at 32 bits, after twenty minutes. */
	machine_run(1200 * NS_PER_SECOND);
	assert_int_equal(in32(&m, PM_TIMER), (u32)(after + 1200ull * 3579545));
	machine_destroy(&m);
}

static void pm_timer_interrupt(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	out16(&m, PM_ENABLE, 0x0001);
	assert_int_equal(machine_run(580 * NS_PER_SECOND), 0);
	assert_int_equal(in16(&m, PM_STATUS), 0);
	assert_int_equal(machine_run(20 * NS_PER_SECOND), 1);
	assert_true(line(&m, PLATFORM_SCI_IRQ));
	assert_int_equal(in16(&m, PM_STATUS), 1);
	/* A one clears, a zero does not; nothing is armed until it is cleared. */
	out16(&m, PM_STATUS, 0);
	assert_true(line(&m, PLATFORM_SCI_IRQ));
	assert_int_equal(machine_run(1200 * NS_PER_SECOND), 0);
	out16(&m, PM_STATUS, 0xffff);
	assert_int_equal(in16(&m, PM_STATUS), 0);
	assert_false(line(&m, PLATFORM_SCI_IRQ));
	assert_int_equal(machine_run(600 * NS_PER_SECOND), 1);
	/* Disabled it is still noted. */
	out16(&m, PM_ENABLE, 0);
	assert_false(line(&m, PLATFORM_SCI_IRQ));
	out16(&m, PM_STATUS, 1);
	assert_int_equal(machine_run(1200 * NS_PER_SECOND), 0);
	assert_int_equal(in16(&m, PM_STATUS), 1);
	out16(&m, PM_ENABLE, 0xffff);
	assert_int_equal(in16(&m, PM_ENABLE), 0x0721);
	assert_true(line(&m, PLATFORM_SCI_IRQ));
	platform_reset(m.p);
	assert_false(line(&m, PLATFORM_SCI_IRQ));
	assert_int_equal(in32(&m, PM_STATUS), 0);
	machine_destroy(&m);
}

static void power_off(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	assert_int_equal(in16(&m, PM_CONTROL), 1); /* ACPI mode from the start */
	out16(&m, PM_CONTROL, 0x1401);		   /* the type alone does nothing */
	assert_int_equal(in16(&m, PM_CONTROL), 0x1401);
	out16(&m, PM_CONTROL, 0x2001 | 1 << 10); /* another state: there is none */
	assert_int_equal(m.vm->end, VM_END_NONE);
	out16(&m, PM_CONTROL, 0x3401);
	assert_int_equal(m.vm->end, VM_END_POWEROFF);
	assert_int_equal(in16(&m, PM_CONTROL), 0x1401); /* SLP_EN reads as zero */
	machine_destroy(&m);
	/* Byte by byte. */
	machine_create(&m, 1);
	out8(&m, PM_CONTROL, 0);
	out8(&m, PM_CONTROL + 1, 0x34);
	assert_int_equal(m.vm->end, VM_END_POWEROFF);
	machine_destroy(&m);
}

static enum vm_end end_after(u16 port, u32 size, u32 value)
{
	struct machine m;
	enum vm_end end;

	machine_create(&m, 1);
	bus_write(&m.vm->bus, m.v, SPACE_PIO, port, size, value);
	end = m.vm->end;
	if (end == VM_END_DEBUG_EXIT)
		assert_int_equal(m.vm->end_code, value);
	machine_destroy(&m);
	return end;
}

static void resets(void **state)
{
	static const struct {
		u16 port;
		u32 size, value;
		enum vm_end end;
	} cases[] = {
		{0xcf9, 1, 0x06, VM_END_RESET},
		{0xcf9, 1, 0x0e, VM_END_RESET},
		{0xcf9, 1, 0x02, VM_END_NONE},
		{0xcf9, 2, 0x0606, VM_END_NONE},
		{0xcf8, 4, 0x80000600, VM_END_NONE},
		{0xcf8, 2, 0x0600, VM_END_NONE},
		{0x64, 1, 0xfe, VM_END_RESET},
		{0x64, 1, 0xff, VM_END_NONE},
		{0x64, 1, 0xf0, VM_END_RESET},
		{0x92, 1, 0x01, VM_END_RESET},
		{0x92, 1, 0x02, VM_END_NONE},
		{0xf4, 1, 0x00, VM_END_DEBUG_EXIT},
		{0xf4, 4, 0x12345678, VM_END_DEBUG_EXIT},
		{0xf4, 2, 0xabcd, VM_END_DEBUG_EXIT},
	};
	struct machine m;

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(end_after(cases[i].port, cases[i].size, cases[i].value),
				 cases[i].end);
	machine_create(&m, 1);
	out8(&m, 0xcf9, 0x02);
	assert_int_equal(in8(&m, 0xcf9), 0x02);
	assert_int_equal(in8(&m, 0x92), 0x02);
	out8(&m, 0x92, 0x00);
	assert_int_equal(in8(&m, 0x92), 0x00);
	assert_int_equal(in8(&m, 0xf4), 0xff);
	out8(&m, 0x80, 0x42);
	assert_int_equal(in8(&m, 0x80), 0x42);
	platform_reset(m.p);
	assert_int_equal(in8(&m, 0x92), 0x02);
	machine_destroy(&m);
}

static void no_pci(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	out32(&m, 0xcf8, 0x80000000);
	assert_int_equal(in32(&m, 0xcf8), 0xffffffff);
	assert_int_equal(in32(&m, 0xcfc), 0xffffffff);
	assert_int_equal(in16(&m, 0xcfe), 0xffff);
	out32(&m, 0xcfc, 0);
	machine_destroy(&m);
}

static u8 answer(struct machine *m)
{
	assert_int_equal(in8(m, 0x64) & 1, 1);
	return in8(m, 0x60);
}

static void keyboard_controller(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	assert_int_equal(in8(&m, 0x64), 0x10);
	out8(&m, 0x64, 0xaa);
	assert_int_equal(in8(&m, 0x64), 0x1d);
	assert_int_equal(answer(&m), 0x55);
	assert_int_equal(in8(&m, 0x64) & 1, 0);
	out8(&m, 0x64, 0xab);
	assert_int_equal(answer(&m), 0x00);
	out8(&m, 0x64, 0x20);
	assert_int_equal(answer(&m), 0x34);
	out8(&m, 0x64, 0x60);
	out8(&m, 0x60, 0x47);
	assert_int_equal(in8(&m, 0x64) & 1, 0);
	out8(&m, 0x64, 0x20);
	assert_true(line(&m, 1));
	assert_int_equal(answer(&m), 0x47);
	assert_false(line(&m, 1));
	out8(&m, 0x64, 0xad);
	out8(&m, 0x64, 0xa7);
	out8(&m, 0x64, 0x20);
	assert_int_equal(answer(&m), 0x77);
	/* Bytes for devices that are not there time out at once. */
	out8(&m, 0x60, 0xed);
	assert_int_equal(in8(&m, 0x64) & 0x61, 0x41);
	assert_int_equal(answer(&m), 0xfe);
	out8(&m, 0x64, 0xd4);
	out8(&m, 0x60, 0xf4);
	assert_int_equal(in8(&m, 0x64) & 0x61, 0x61);
	assert_true(line(&m, 12));
	assert_int_equal(answer(&m), 0xfe);
	assert_false(line(&m, 12));
	out8(&m, 0x64, 0xd2);
	out8(&m, 0x60, 0x99);
	assert_int_equal(answer(&m), 0x99);
	out8(&m, 0x64, 0xd0);
	assert_int_equal(answer(&m), 0x03);
	out8(&m, 0x64, 0xd1);
	out8(&m, 0x60, 0x01);
	out8(&m, 0x64, 0xd0);
	assert_int_equal(answer(&m), 0x01);
	assert_int_equal(m.vm->end, VM_END_NONE);
	out8(&m, 0x64, 0xd1);
	out8(&m, 0x60, 0x02); /* the reset line low */
	assert_int_equal(m.vm->end, VM_END_RESET);
	machine_destroy(&m);
}

static u64 item(struct machine *m, u16 key)
{
	u64 value = 0;

	out16(m, 0x510, key);
	for (u32 i = 0; i < 8; i++)
		value |= (u64)in8(m, 0x511) << (i * 8);
	for (u32 i = 0; i < 100; i++)
		assert_int_equal(in8(m, 0x511), 0);
	return value;
}

static void fw_cfg(void **state)
{
	struct machine m;

	machine_create(&m, 3);
	assert_int_equal(item(&m, 0), 0x554d4551);
	assert_int_equal(item(&m, 1), 1);
	assert_int_equal(item(&m, 3), MIB(256));
	assert_int_equal(item(&m, 5), 3);
	assert_int_equal(item(&m, 0x0f), 3);
	assert_int_equal(item(&m, 0x19), 0);
	assert_int_equal(item(&m, 0xffff), 0);
	assert_int_equal(item(&m, 0x8003), 0);
	/* Each selection starts anew; other widths and writes do nothing. */
	out16(&m, 0x510, 0);
	assert_int_equal(in8(&m, 0x511), 'Q');
	out16(&m, 0x510, 0);
	out8(&m, 0x511, 5);
	out8(&m, 0x510, 5);
	assert_int_equal(in8(&m, 0x511), 'Q');
	assert_int_equal(in8(&m, 0x511), 'E');
	assert_int_equal(in16(&m, 0x510), 0xffff);
	machine_destroy(&m);
}

/* All ports that no device has. */
static void the_rest_reads_as_ones(void **state)
{
	static const struct {
		u16 start, end;
	} known[] = {{0x20, 0x22},   {0x40, 0x44},   {0x60, 0x62},   {0x64, 0x65},  {0x70, 0x72},
		     {0x80, 0x81},   {0x92, 0x93},   {0xa0, 0xa2},   {0xf4, 0xf8},  {0x3f8, 0x400},
		     {0x4d0, 0x4d2}, {0x510, 0x512}, {0x600, 0x60c}, {0xcf8, 0xd00}};
	struct machine m;
	u64 value;

	machine_create(&m, 1);
	for (u32 port = 0; port < 0x10000; port++) {
		bool is_known = false;

		for (u32 i = 0; i < ARRAY_SIZE(known); i++)
			is_known |= port >= known[i].start && port < known[i].end;
		assert_int_equal(bus_read(&m.vm->bus, m.v, SPACE_PIO, port, 1, &value), is_known);
		if (!is_known)
			assert_int_equal(value, 0xff);
	}
	assert_false(bus_read(&m.vm->bus, m.v, SPACE_MMIO, 0xfed00000, 4, &value));
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pm_timer),  cmocka_unit_test(pm_timer_interrupt),
		cmocka_unit_test(power_off), cmocka_unit_test(resets),
		cmocka_unit_test(no_pci),    cmocka_unit_test(keyboard_controller),
		cmocka_unit_test(fw_cfg),    cmocka_unit_test(the_rest_reads_as_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
