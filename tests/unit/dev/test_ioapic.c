/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The I/O APIC, and how it, the 8259s and the local APICs come together at a vCPU. */
#include <cmocka.h>
#include "kernel/base/msr.h"
#include "tests/unit/dev/machine.h"

#define PIN 5
#define RTE (0x10 + 2 * PIN)

static int take(struct machine *m, u32 vcpu)
{
	int vector = platform_interrupt_ack(m->vm->vcpus[vcpu]);

	if (vector >= 0)
		apic_write(m, vcpu, APIC_EOI, 0);
	return vector;
}

static void pulse(struct machine *m, u32 gsi)
{
	platform_irq(m->p, gsi, true);
	platform_irq(m->p, gsi, false);
}

static void registers(void **state)
{
	struct machine m;
	u64 value;

	machine_create(&m, 1);
	assert_int_equal(ioapic_get(&m, 1), 0x00170020);
	ioapic_put(&m, 0, 0xffffffff);
	assert_int_equal(ioapic_get(&m, 0), 0x0f000000);
	for (u32 reg = 0x10; reg < 0x40; reg += 2) {
		assert_int_equal(ioapic_get(&m, reg), RTE_MASK_BIT);
		/* Delivery status and remote IRR are not written. */
		ioapic_put(&m, reg, 0xffffffff);
		ioapic_put(&m, reg + 1, 0xffffffff);
		assert_int_equal(ioapic_get(&m, reg), 0x1afff);
		assert_int_equal(ioapic_get(&m, reg + 1), 0xff000000);
	}
	assert_int_equal(ioapic_get(&m, 0x40), 0xffffffff);
	ioapic_put(&m, 0xff, 0);
	/* Byte accesses choose, and do not write. */
	ioapic_put(&m, RTE, RTE_MASK_BIT);
	bus_write(&m.vm->bus, m.v, SPACE_MMIO, PLATFORM_IOAPIC_BASE, 1, RTE);
	bus_write(&m.vm->bus, m.v, SPACE_MMIO, PLATFORM_IOAPIC_BASE + 0x10, 1, 0x55);
	assert_int_equal(ioapic_get(&m, RTE), RTE_MASK_BIT);
	assert_true(bus_read(&m.vm->bus, m.v, SPACE_MMIO, PLATFORM_IOAPIC_BASE + 0x80, 4, &value));
	assert_int_equal(value, 0xffffffff);
	machine_destroy(&m);
}

static void edge(void **state)
{
	struct machine m;

	machine_create(&m, 2);
	apic_enable(&m, 1);
	ioapic_route(&m, PIN, 1, 0x45);
	platform_irq(m.p, PIN, true);
	assert_int_equal(take(&m, 1), 0x45);
	platform_irq(m.p, PIN, true); /* no edge */
	assert_int_equal(take(&m, 1), -1);
	pulse(&m, PIN);
	assert_int_equal(take(&m, 1), -1);
	pulse(&m, PIN);
	assert_int_equal(take(&m, 1), 0x45);
	assert_int_equal(take(&m, 0), -1);
	/* An edge on a masked pin is lost, as the data sheet has it. */
	ioapic_route(&m, PIN, 1, 0x45 | RTE_MASK_BIT);
	pulse(&m, PIN);
	ioapic_route(&m, PIN, 1, 0x45);
	assert_int_equal(take(&m, 1), -1);
	machine_destroy(&m);
}

static void level(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	ioapic_route(&m, PIN, 0, 0x45 | RTE_LEVEL_BIT);
	platform_irq(m.p, PIN, true);
	assert_int_equal(ioapic_get(&m, RTE), 0x45 | RTE_LEVEL_BIT | RTE_REMOTE_BIT);
	assert_true(apic_bit(&m, 0, APIC_TMR, 0x45));
	assert_int_equal(platform_interrupt_ack(m.v), 0x45);
	/* Not again before its EOI, whatever the line does. */
	pulse(&m, PIN);
	platform_irq(m.p, PIN, true);
	assert_false(apic_bit(&m, 0, APIC_IRR, 0x45));
	apic_write(&m, 0, APIC_EOI, 0);
	assert_true(apic_bit(&m, 0, APIC_IRR, 0x45));
	assert_int_equal(platform_interrupt_ack(m.v), 0x45);
	platform_irq(m.p, PIN, false);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(ioapic_get(&m, RTE), 0x45 | RTE_LEVEL_BIT);
	assert_false(platform_interrupt_pending(m.v));
	/* The same vector as an edge is no level any more. */
	apic_write(&m, 0, APIC_ICR, (1u << 18) | 0x45);
	assert_false(apic_bit(&m, 0, APIC_TMR, 0x45));
	assert_int_equal(take(&m, 0), 0x45);
	machine_destroy(&m);
}

static void level_masked_waits(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	ioapic_route(&m, PIN, 0, 0x45 | RTE_LEVEL_BIT | RTE_MASK_BIT);
	platform_irq(m.p, PIN, true);
	assert_int_equal(take(&m, 0), -1);
	ioapic_route(&m, PIN, 0, 0x45 | RTE_LEVEL_BIT);
	assert_int_equal(take(&m, 0), 0x45);
	/* Still high: it came again with the EOI. Masked after it was taken, it still arrives. */
	ioapic_route(&m, PIN, 0, 0x45 | RTE_LEVEL_BIT | RTE_MASK_BIT);
	assert_int_equal(take(&m, 0), 0x45);
	assert_int_equal(take(&m, 0), -1);
	machine_destroy(&m);
}

/* Ways to end a level-triggered interrupt without the broadcast. */
static void directed_eoi(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	apic_write(&m, 0, APIC_SVR, 0x11ff);
	ioapic_route(&m, PIN, 0, 0x45 | RTE_LEVEL_BIT);
	platform_irq(m.p, PIN, true);
	assert_int_equal(take(&m, 0), 0x45);
	assert_true(ioapic_get(&m, RTE) & RTE_REMOTE_BIT);
	assert_int_equal(take(&m, 0), -1);
	bus_write(&m.vm->bus, m.v, SPACE_MMIO, PLATFORM_IOAPIC_BASE + 0x40, 4, 0x44);
	assert_int_equal(take(&m, 0), -1);
	bus_write(&m.vm->bus, m.v, SPACE_MMIO, PLATFORM_IOAPIC_BASE + 0x40, 4, 0x45);
	assert_int_equal(take(&m, 0), 0x45);
	/* Made edge-triggered for a moment, the pin forgets. */
	ioapic_put(&m, RTE, 0x45 | RTE_MASK_BIT);
	assert_int_equal(ioapic_get(&m, RTE), 0x45 | RTE_MASK_BIT);
	ioapic_put(&m, RTE, 0x45 | RTE_LEVEL_BIT);
	assert_int_equal(take(&m, 0), 0x45);
	machine_destroy(&m);
}

/* A level that nobody takes waits until somebody does. */
static void level_without_taker(void **state)
{
	struct machine m;

	machine_create(&m, 2);
	ioapic_route(&m, PIN, 1, 0x45 | RTE_LEVEL_BIT);
	platform_irq(m.p, PIN, true);
	assert_false(ioapic_get(&m, RTE) & RTE_REMOTE_BIT);
	apic_enable(&m, 1);
	assert_true(ioapic_get(&m, RTE) & RTE_REMOTE_BIT);
	assert_int_equal(take(&m, 1), 0x45);
	platform_irq(m.p, PIN, false);
	machine_destroy(&m);
}

static void modes_and_destinations(void **state)
{
	struct machine m;

	machine_create(&m, 4);
	for (u32 i = 0; i < 4; i++) {
		apic_enable(&m, i);
		apic_write(&m, i, APIC_LDR, 1u << (24 + i));
	}
	ioapic_route(&m, PIN, 0x0a, 0x845); /* logical: 1 and 3 */
	pulse(&m, PIN);
	assert_int_equal(take(&m, 0), -1);
	assert_int_equal(take(&m, 1), 0x45);
	assert_int_equal(take(&m, 3), 0x45);
	ioapic_route(&m, PIN, 0xff, 0x945); /* lowest priority: one of all */
	apic_write(&m, 0, APIC_TPR, 0x10);
	apic_write(&m, 1, APIC_TPR, 0x10);
	apic_write(&m, 3, APIC_TPR, 0x10);
	pulse(&m, PIN);
	assert_int_equal(take(&m, 2), 0x45);
	assert_int_equal(take(&m, 0), -1);
	ioapic_route(&m, PIN, 2, 0x400); /* NMI */
	pulse(&m, PIN);
	assert_false(platform_nmi_take(m.vm->vcpus[1]));
	assert_true(platform_nmi_take(m.vm->vcpus[2]));
	/* NMI is an edge even where the entry says level. */
	ioapic_route(&m, PIN, 2, 0x400 | RTE_LEVEL_BIT);
	pulse(&m, PIN);
	assert_false(ioapic_get(&m, RTE) & RTE_REMOTE_BIT);
	assert_true(platform_nmi_take(m.vm->vcpus[2]));
	/* An x2APIC is reached by the eight bits there are. */
	assert_int_equal(platform_wrmsr(m.vm->vcpus[2], MSR_IA32_APIC_BASE,
					platform_apic_base(m.vm->vcpus[2]) | APIC_BASE_X2APIC),
			 0);
	ioapic_route(&m, PIN, 2, 0x46);
	pulse(&m, PIN);
	assert_int_equal(platform_interrupt_ack(m.vm->vcpus[2]), 0x46);
	/* An illegal vector is the receiver's error. */
	ioapic_route(&m, PIN, 0, 0x0f);
	pulse(&m, PIN);
	apic_write(&m, 0, APIC_ESR, 0);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0x40);
	machine_destroy(&m);
}

static void wiring(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	for (u32 pin = 0; pin < 24; pin++)
		ioapic_route(&m, pin, 0, 0x40 + pin);
	for (u32 gsi = 0; gsi < 26; gsi++) {
		/* IRQ 0 is on pin 2, 2 is the cascade, 24 and more are none. */
		int expected = gsi == 0 ? 0x42 : gsi == 2 || gsi > 23 ? -1 : 0x40 + (int)gsi;

		platform_irq(m.p, gsi, false);
		platform_irq(m.p, gsi, true);
		assert_int_equal(take(&m, 0), expected);
	}
	machine_destroy(&m);
}

/* INTR by LINT0 as ExtINT, ahead of the APIC's own; by the INTR pin when the APIC is off. */
static void extint(void **state)
{
	struct machine m;

	machine_create(&m, 2);
	pic_setup(&m, 0);
	hosted_vm_requests(m.v);
	platform_irq(m.p, 4, true);
	assert_true(hosted_vm_requests(m.v) & VCPU_REQ_KICK);
	assert_true(platform_interrupt_pending(m.v));
	assert_false(platform_interrupt_pending(m.vm->vcpus[1]));
	apic_write(&m, 0, APIC_ICR, (1u << 18) | 0xf0);
	apic_write(&m, 0, APIC_TPR, 0xff); /* no matter to ExtINT */
	assert_int_equal(platform_interrupt_ack(m.v), 0x34);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	apic_write(&m, 0, APIC_TPR, 0);
	assert_int_equal(platform_interrupt_ack(m.v), 0xf0);
	apic_write(&m, 0, APIC_EOI, 0);
	out8(&m, 0x20, 0x20);
	/* Masked at LINT0. */
	platform_irq(m.p, 6, true);
	apic_write(&m, 0, APIC_LINT0, 0x10700);
	assert_false(platform_interrupt_pending(m.v));
	apic_write(&m, 1, APIC_SVR, 0x1ff);
	apic_write(&m, 1, APIC_LINT0, 0x700);
	assert_true(platform_interrupt_pending(m.vm->vcpus[1]));
	apic_write(&m, 1, APIC_LINT0, 0x10700);
	/* With its APIC off vCPU 0 has the PIC's INTR itself; vCPU 1 is not wired. */
	platform_wrmsr(m.v, MSR_IA32_APIC_BASE, PLATFORM_LAPIC_BASE);
	platform_wrmsr(m.vm->vcpus[1], MSR_IA32_APIC_BASE, PLATFORM_LAPIC_BASE);
	assert_false(platform_interrupt_pending(m.vm->vcpus[1]));
	assert_int_equal(platform_interrupt_ack(m.v), 0x36);
	machine_destroy(&m);
}

static void extint_through_ioapic(void **state)
{
	struct machine m;

	machine_create(&m, 2);
	apic_enable(&m, 1);
	pic_setup(&m, 0);
	apic_write(&m, 0, APIC_LINT0, 0x10000);
	platform_irq(m.p, 4, true);
	assert_false(platform_interrupt_pending(m.v));
	hosted_vm_requests(m.vm->vcpus[1]);
	ioapic_route(&m, 0, 1, 0x700);
	assert_true(hosted_vm_requests(m.vm->vcpus[1]) & VCPU_REQ_KICK);
	assert_false(platform_interrupt_pending(m.v));
	assert_int_equal(platform_interrupt_ack(m.vm->vcpus[1]), 0x34);
	assert_int_equal(platform_interrupt_ack(m.vm->vcpus[1]), -1);
	/* Routed already, it wakes who halts when INTR rises; but not while the pin is masked. */
	out8(&m, 0x20, 0x20);
	hosted_vm_requests(m.vm->vcpus[1]);
	platform_irq(m.p, 3, true);
	assert_true(hosted_vm_requests(m.vm->vcpus[1]) & VCPU_REQ_KICK);
	assert_int_equal(platform_interrupt_ack(m.vm->vcpus[1]), 0x33);
	out8(&m, 0x20, 0x20);
	ioapic_route(&m, 0, 1, 0x700 | RTE_MASK_BIT);
	hosted_vm_requests(m.vm->vcpus[1]);
	platform_irq(m.p, 5, true);
	assert_false(hosted_vm_requests(m.vm->vcpus[1]));
	assert_false(platform_interrupt_pending(m.vm->vcpus[1]));
	machine_destroy(&m);
}

static void lint0_modes(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	pic_setup(&m, 0);
	apic_write(&m, 0, APIC_LINT0, 0x400);
	platform_irq(m.p, 4, true);
	assert_true(platform_nmi_take(m.v));
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	out8(&m, 0x20, 0x0c);
	assert_int_equal(in8(&m, 0x20), 0x84);
	out8(&m, 0x20, 0x20);
	apic_write(&m, 0, APIC_LINT0, 0x088);
	platform_irq(m.p, 3, true);
	assert_int_equal(platform_interrupt_ack(m.v), 0x88);
	machine_destroy(&m);
}

/* A machine goes while every timer it has is armed; machine_destroy looks that none is left. */
static void destroyed_with_timers(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	pic_setup(&m, 0);
	out8(&m, 0x70, 11); /* RTC: each update */
	out8(&m, 0x71, 0x12);
	out16(&m, 0x602, 1); /* PM timer */
	out8(&m, 0x3f8, 'x');
	apic_write(&m, 0, APIC_TIMER, 0x20050);
	apic_write(&m, 0, APIC_INITIAL, 1000000);
	assert_true(m.p->pit.timer.pending && m.p->rtc.timer.pending && m.p->pm.timer.pending);
	assert_true(m.p->uart.flush_timer.pending && m.v->lapic->timer.pending);
	machine_destroy(&m);
}

/* Lines and timers work on while the local APICs are already gone. */
static void order_of_destruction(void **state)
{
	struct machine m;

	machine_create(&m, 2);
	pic_setup(&m, 0);
	ioapic_route(&m, 2, 0xff, 0x30);
	platform_vcpu_destroy(m.vm->vcpus[0]);
	machine_run(NS_PER_SECOND);
	platform_irq(m.p, 7, true);
	machine_destroy(&m);
	/* And each allocation that fails is an error. */
	for (u32 n = 1; n <= 2; n++) {
		struct vm *vm = hosted_vm_create(1, MIB(64));
		int err;

		hosted_fail_after(n);
		err = platform_create(vm, &vm->platform);
		assert_int_equal(err, n == 1 ? -1 : 0);
		if (!err) {
			assert_int_equal(platform_vcpu_create(vm->vcpus[0]), -1);
			assert_null(vm->vcpus[0]->lapic);
			platform_destroy(vm->platform);
		}
		hosted_vm_destroy(vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers),
		cmocka_unit_test(edge),
		cmocka_unit_test(level),
		cmocka_unit_test(level_masked_waits),
		cmocka_unit_test(directed_eoi),
		cmocka_unit_test(level_without_taker),
		cmocka_unit_test(modes_and_destinations),
		cmocka_unit_test(wiring),
		cmocka_unit_test(extint),
		cmocka_unit_test(extint_through_ioapic),
		cmocka_unit_test(lint0_modes),
		cmocka_unit_test(destroyed_with_timers),
		cmocka_unit_test(order_of_destruction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
