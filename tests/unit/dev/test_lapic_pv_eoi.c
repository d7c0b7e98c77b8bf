/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* KVM's paravirtual EOI: when it is offered, and what comes of what the guest does with the word. */
#include "mmu/gpa_pin.h"
#include "tests/unit/dev/machine.h"

#include <cmocka.h>

/* What KVM's guests do in place of a write to EOI. */
static bool pv_eoi(u8 *word)
{
	bool offered = *word & 1;

	*word = 0;
	return offered;
}

static void take(struct machine *m, u8 vector)
{
	assert_int_equal(platform_interrupt_ack(m->v), vector);
	lapic_pv_eoi_offer(m->v->lapic);
}

static void ends_without_an_exit(void **state)
{
	struct machine m;
	struct lapic *l;
	u8 word[4] = {0};
	struct gpa_pin pin = {.at = word, .last = word};

	machine_create(&m, 1);
	apic_enable(&m, 0);
	l = m.v->lapic;
	lapic_pv_eoi_set(l, &pin);
	/* Nothing in service: nothing to end. */
	lapic_pv_eoi_offer(l);
	assert_int_equal(word[0], 0);
	apic_write(&m, 0, APIC_ICR, 0x40000 | 0x50);
	take(&m, 0x50);
	assert_true(pv_eoi(word));
	lapic_pv_eoi_settle(l);
	assert_false(apic_bit(&m, 0, APIC_ISR, 0x50));
	assert_int_equal(m.v->paravirt.eois, 1);
	assert_int_equal(word[0] | word[1] | word[2] | word[3], 0);
	/* Not ended yet when an exit comes: the offer ends, and is made again. */
	apic_write(&m, 0, APIC_ICR, 0x40000 | 0x51);
	take(&m, 0x51);
	lapic_pv_eoi_settle(l);
	assert_int_equal(word[0], 0);
	assert_true(apic_bit(&m, 0, APIC_ISR, 0x51));
	/* A higher one nests: its own offer ends it alone. */
	apic_write(&m, 0, APIC_ICR, 0x40000 | 0x61);
	take(&m, 0x61);
	assert_true(pv_eoi(word));
	lapic_pv_eoi_settle(l);
	assert_false(apic_bit(&m, 0, APIC_ISR, 0x61));
	assert_true(apic_bit(&m, 0, APIC_ISR, 0x51));
	lapic_pv_eoi_offer(l);
	assert_true(pv_eoi(word));
	/* What looks at the registers sees what the guest did. */
	assert_int_equal(apic_read(&m, 0, APIC_PPR), 0);
	assert_false(apic_bit(&m, 0, APIC_ISR, 0x51));
	assert_int_equal(m.v->paravirt.eois, 3);
	lapic_pv_eoi_set(l, NULL);
	machine_destroy(&m);
}

/* Something comes of the end: another interrupt that waits, or a level that comes again. */
static void ends_by_an_exit(void **state)
{
	struct machine m;
	struct lapic *l;
	const struct lapic_message later = {.mode = LAPIC_FIXED, .vector = 0x41};
	u8 word = 0;
	struct gpa_pin pin = {.at = &word, .last = &word};

	machine_create(&m, 1);
	apic_enable(&m, 0);
	l = m.v->lapic;
	lapic_pv_eoi_set(l, &pin);
	apic_write(&m, 0, APIC_ICR, 0x40000 | 0x61);
	assert_int_equal(platform_interrupt_ack(m.v), 0x61);
	apic_write(&m, 0, APIC_ICR, 0x40000 | 0x51);
	lapic_pv_eoi_offer(l);
	assert_int_equal(word, 0);
	apic_write(&m, 0, APIC_EOI, 0);
	take(&m, 0x51);
	assert_int_equal(word, 1);
	/* Posted after the offer: it is kicked out, and before anything is injected the end counts. */
	assert_true(lapic_send_to(l, &later));
	assert_true(pv_eoi(&word));
	lapic_pv_eoi_settle(l);
	assert_int_equal(platform_interrupt_ack(m.v), 0x41);
	lapic_pv_eoi_offer(l);
	/* It writes to EOI all the same: that is one end, and the offer is none any more. */
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(word, 0);
	assert_false(apic_bit(&m, 0, APIC_ISR, 0x41));
	lapic_pv_eoi_settle(l);
	assert_int_equal(m.v->paravirt.eois, 1);
	/* Twice: it ended two. */
	apic_write(&m, 0, APIC_ICR, 0x40000 | 0x41);
	take(&m, 0x41);
	lapic_pv_eoi_settle(l);
	apic_write(&m, 0, APIC_ICR, 0x40000 | 0x51);
	take(&m, 0x51);
	assert_true(pv_eoi(&word));
	lapic_eoi(l);
	assert_int_equal(apic_read(&m, 0, APIC_PPR), 0);
	/* A level's end is for the IOAPIC to hear of. */
	ioapic_route(&m, 5, 0, RTE_LEVEL_BIT | 0x71);
	platform_irq(m.p, 5, true);
	take(&m, 0x71);
	assert_int_equal(word, 0);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(platform_interrupt_ack(m.v), 0x71);
	lapic_pv_eoi_set(l, NULL);
	machine_destroy(&m);
}

/* R37, as mmu/ does it: what the guest did before counts, and nothing is offered from then on. */
static void its_memory_goes(void **state)
{
	struct machine m;
	struct lapic *l;
	u8 word = 0;
	struct gpa_pin pin = {.at = &word, .last = &word};

	machine_create(&m, 1);
	apic_enable(&m, 0);
	l = m.v->lapic;
	for (u32 ended = 0; ended < 2; ended++) {
		pin = (struct gpa_pin){.at = &word, .last = &word};
		lapic_pv_eoi_set(l, &pin);
		apic_write(&m, 0, APIC_ICR, 0x40000 | 0x50);
		take(&m, 0x50);
		assert_int_equal(word, 1);
		if (ended)
			word = 0;
		pin.copy = word;
		pin.last = &pin.copy;
		pin.at = NULL;
		word = 0x77;
		lapic_pv_eoi_settle(l);
		assert_int_equal(apic_bit(&m, 0, APIC_ISR, 0x50), !ended);
		lapic_pv_eoi_offer(l);
		assert_false(l->pv_eoi_offered);
		apic_write(&m, 0, APIC_EOI, 0);
		assert_false(apic_bit(&m, 0, APIC_ISR, 0x50));
		assert_int_equal(word, 0x77);
		word = 0;
	}
	assert_int_equal(m.v->paravirt.eois, 1);
	lapic_pv_eoi_set(l, NULL);
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_without_an_exit),
		cmocka_unit_test(ends_by_an_exit),
		cmocka_unit_test(its_memory_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
