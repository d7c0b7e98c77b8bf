/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The pair of 8259As: scenarios in one small language, each with what the data sheet has happen. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/dev/machine.h"

/*
 * The language, numbers in hex:
 *   +N -N    line N rises, falls       iN     the output INTR is N
 *   aVV      an INTA gives vector VV   wP=VV  port P is written   rP=VV  port P reads VV
 *   e E      EOI to the master, to the slave
 * Vectors are those of pic_setup, 0x30 and 0x38.
 */
struct scenario {
	const char *name, *steps;
};

#define READ_IRR "w20=a "
#define READ_ISR "w20=b "

static const struct scenario scenarios[] = {
	{"edge: one rise, one interrupt", "+4 i1 a34 i0 e i0 +4 i0 -4 +4 a34"},
	{"edge: latched though the line falls", "+4 -4 i1 a34"},
	{"lower numbers first", "+5 +3 +1 a31 e a33 e a35"},
	{"a service bars its equals and lower",
	 "+4 a34 +5 i0 -4 +4 i0 +3 i1 a33 i0 e i0 e a34 e a35"},
	{"a masked edge waits", "w21=10 +4 i0 " READ_IRR "r20=10 r21=10 w21=0 i1 a34"},
	{"slave through the cascade", "+a i1 a3a " READ_ISR "r20=4 wa0=b ra0=4 E e r20=0 ra0=0 i0"},
	{"slave is between 1 and 3", "+3 +8 +1 a31 e a38 i0 E e a33"},
	{"slave asks again only after the master's EOI", "+c a3c +9 i0 e i1 a39"},
	{"special fully nested: slave's higher input comes through",
	 "w20=11 w21=30 w21=4 w21=11 w21=0 +c a3c +9 i1 a39 +d i0"},
	{"special fully nested is the master's alone",
	 "w20=11 w21=30 w21=4 w21=11 w21=0 wa0=11 wa1=38 wa1=2 wa1=11 wa1=0 +a a3a -a +a i0"},
	{"specific EOI", "+3 a33 +1 a31 w20=63 " READ_ISR "r20=2"},
	{"EOI ends the highest", "+3 a33 +1 a31 e " READ_ISR "r20=8"},
	{"rotate on EOI: the one served becomes last", "+3 a33 w20=a0 -3 +3 +4 +1 a34 e a31 e a33"},
	{"rotate on specific EOI", "+5 a35 w20=e5 +4 +6 a36"},
	{"set priority", "w20=c3 +1 +4 +3 a34 e a31 e a33"},
	{"automatic EOI", "w20=11 w21=30 w21=4 w21=3 w21=0 +3 a33 " READ_ISR "r20=0 +5 a35"},
	{"automatic EOI with rotation",
	 "w20=11 w21=30 w21=4 w21=3 w21=0 w20=80 +3 a33 -3 +3 +4 a34 a33"},
	{"special mask: lower ones get through a masked service",
	 "+3 a33 +5 i0 w21=8 i0 w20=68 i1 a35 e " READ_ISR "r20=8 e r20=8 w20=48 e r20=0"},
	{"level: as long as the line is high", "w4d0=ff r4d0=f8 +5 a35 i0 e i1 a35 -5 e i0"},
	{"level: gone before the INTA is spurious, input 7 and not in service",
	 "w4d1=ff r4d1=de +b i1 -b i0 a37 " READ_ISR "r20=0"},
	{"a line that is high when it becomes level-triggered", "+5 a35 e i0 w4d0=20 i1 a35"},
	{"poll", "+6 w20=c r20=86 " READ_ISR "r20=40 i0 e w20=c r20=0"},
	{"ICW1 forgets edges, masks and services",
	 "+3 +4 a33 w21=ff w20=11 w21=47 w21=4 w21=1 i0 r21=0 -3 +3 a43"},
	{"single, no ICW4: the next is the mask", "w20=12 w21=50 w21=f7 r21=f7 +3 a53"},
	{"line 2 is no input", "+2 i0"},
};

static u8 inta(struct machine *m)
{
	bool on = spin_lock_irqsave(&m->p->lock);
	u8 vector = pic_ack(&m->p->pic);

	spin_unlock_irqrestore(&m->p->lock, on);
	return vector;
}

/* Runs the step at s; false: something else happened. */
static bool run_step(struct machine *m, const char *s)
{
	char *end;
	u32 first = (u32)strtoul(s + 1, &end, 16);
	u32 second = *end == '=' ? (u32)strtoul(end + 1, NULL, 16) : 0;

	switch (*s) {
	case '+':
	case '-':
		platform_irq(m->p, first, *s == '+');
		return true;
	case 'w':
		out8(m, (u16)first, (u8)second);
		return true;
	case 'r':
		return in8(m, (u16)first) == second;
	case 'i':
		return m->p->pic.output == first;
	case 'a':
		return inta(m) == first;
	case 'e':
	case 'E':
		out8(m, *s == 'e' ? 0x20 : 0xa0, 0x20);
		return true;
	}
	return false;
}

static void scenarios_hold(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(scenarios); i++) {
		const char *s = scenarios[i].steps;
		struct machine m;

		machine_create(&m, 1);
		pic_setup(&m, 0);
		assert_false(m.p->pic.output);
		for (;; s++) {
			if (!run_step(&m, s))
				fail_msg("%s: at \"%s\"", scenarios[i].name, s);
			s = strchr(s, ' ');
			if (!s)
				break;
		}
		machine_destroy(&m);
	}
}

/* Before it is programmed nothing gets through. */
static void masked_at_power_on(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	for (u32 irq = 0; irq < 16; irq++)
		platform_irq(m.p, irq, true);
	assert_false(m.p->pic.output);
	assert_int_equal(in16(&m, 0x20), 0xfffb);
	pic_setup(&m, 0);
	platform_irq(m.p, 5, false);
	platform_irq(m.p, 5, true);
	assert_true(m.p->pic.output);
	platform_reset(m.p);
	assert_false(m.p->pic.output);
	assert_int_equal(in8(&m, 0x21), 0xff);
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scenarios_hold),
		cmocka_unit_test(masked_at_power_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
