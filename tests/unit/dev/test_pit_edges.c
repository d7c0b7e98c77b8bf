/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The 8254's edges by the IOAPIC's pin, which rest while nothing would come of them, and come again. */
#include <cmocka.h>
#include "kernel/base/msr.h"
#include "tests/unit/dev/machine.h"

#define PIN	 2
#define VECTOR	 0x31
#define LOGICAL	 0x800
#define MODE(n)	 ((n) << 8)
#define PERIOD	 11932 /* 100 Hz */
#define SHORTEST 2
#define ANYBODY	 0xff

static void edges_start(struct machine *m, u32 vcpus, u32 dest, u32 low, u16 count)
{
	machine_create(m, vcpus);
	pic_setup(m, 0xffff);
	for (u32 i = 0; i < vcpus; i++)
		apic_enable(m, i);
	pit_setup(m, 0x34, count);
	ioapic_route(m, PIN, dest, low);
}

/* The host's timer goes off `most` times at most, and is silent then. */
static void comes_to_rest(u32 most)
{
	assert_in_range(machine_run(NS_PER_SECOND), 1, most);
	assert_int_equal(machine_run(NS_PER_SECOND), 0);
}

static bool taken_by(struct machine *m, u32 vcpu)
{
	int vector = platform_interrupt_ack(m->vm->vcpus[vcpu]);

	if (vector < 0)
		return false;
	assert_int_equal(vector, VECTOR);
	apic_write(m, vcpu, APIC_EOI, 0);
	return true;
}

/* As with the timer's of a vCPU that is not run: those of the meantime are one, and the phase is kept. */
static void edges_wait_for_who_takes_them(void **state)
{
	struct machine m;
	u32 taken = 0;

	edges_start(&m, 1, 0, VECTOR, PERIOD);
	comes_to_rest(2);
	assert_true(hosted_vm_requests(m.v));
	assert_true(taken_by(&m, 0));
	assert_false(taken_by(&m, 0));
	for (u32 i = 0; i < 1000; i++) {
		machine_run(1000000);
		taken += taken_by(&m, 0);
	}
	assert_in_range(taken, 99, 100);
	machine_destroy(&m);
	edges_start(&m, 1, 0, VECTOR, SHORTEST);
	comes_to_rest(2);
	machine_destroy(&m);
}

static void edges_to_many_wait_for_the_first(void **state)
{
	struct machine m;

	edges_start(&m, 3, ANYBODY, VECTOR, SHORTEST);
	comes_to_rest(2);
	for (u32 i = 0; i < 3; i++) {
		assert_true(taken_by(&m, i));
		comes_to_rest(1);
	}
	/* One comes of those that were taken and those that were not. */
	for (u32 i = 0; i < 3; i++)
		assert_true(taken_by(&m, i));
	machine_destroy(&m);
	/* By lowest priority each has one before it rests. */
	edges_start(&m, 3, ANYBODY, MODE(1) | VECTOR, SHORTEST);
	assert_true(machine_run(NS_PER_SECOND) >= 3);
	assert_int_equal(machine_run(NS_PER_SECOND), 0);
	for (u32 i = 0; i < 3; i++)
		assert_true(taken_by(&m, i));
	machine_destroy(&m);
}

/* Two that sleep with interrupts off. Woken by something else one goes on. */
static void edges_to_the_halted(void **state)
{
	struct machine m;

	edges_start(&m, 2, ANYBODY, VECTOR, SHORTEST);
	for (u32 i = 0; i < 2; i++)
		lapic_timer_sleep(m.vm->vcpus[i]->lapic);
	machine_run(NS_PER_SECOND);
	for (u32 i = 0; i < 100; i++) {
		lapic_gather(m.vm->vcpus[i % 2]->lapic);
		assert_int_equal(machine_run(10000000), 0);
	}
	for (u32 i = 0; i < 2; i++) {
		lapic_timer_woken(m.vm->vcpus[i]->lapic);
		lapic_gather(m.vm->vcpus[i]->lapic);
		comes_to_rest(1);
		assert_true(taken_by(&m, i));
		lapic_timer_sleep(m.vm->vcpus[i]->lapic);
		comes_to_rest(1);
		lapic_gather(m.vm->vcpus[0]->lapic);
		lapic_gather(m.vm->vcpus[1]->lapic);
	}
	machine_destroy(&m);
}

/* SMI, which there is not, a reserved mode, and ExtINT, which is not this pin's. */
static void edges_that_do_nothing(void **state)
{
	static const u32 modes[] = {2, 3, 7};
	struct machine m;

	for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
		edges_start(&m, 1, 0, MODE(modes[i]) | VECTOR, SHORTEST);
		assert_in_range(machine_run(NS_PER_SECOND), 0, 1);
		assert_int_equal(machine_run(NS_PER_SECOND), 0);
		machine_destroy(&m);
	}
}

static void edges_of_other_modes(void **state)
{
	struct machine m;

	edges_start(&m, 1, 0, MODE(4), SHORTEST); /* NMI */
	comes_to_rest(2);
	assert_true(platform_nmi_take(m.v));
	assert_false(platform_nmi_take(m.v));
	comes_to_rest(1);
	platform_init(m.v);
	comes_to_rest(1);
	assert_true(platform_nmi_take(m.v));
	machine_destroy(&m);

	edges_start(&m, 1, 0, MODE(5), SHORTEST); /* INIT */
	comes_to_rest(2);
	assert_true(platform_start_up_take(m.v).init);
	comes_to_rest(1);
	ioapic_route(&m, PIN, 0, MODE(6)); /* start-up */
	comes_to_rest(2);
	assert_true(platform_start_up_take(m.v).sipi);
	comes_to_rest(1);
	machine_destroy(&m);

	edges_start(&m, 1, 0, 5, SHORTEST); /* an illegal vector */
	comes_to_rest(2);
	for (u32 i = 0; i < 3; i++) {
		apic_write(&m, 0, APIC_ESR, 0);
		assert_int_equal(apic_read(&m, 0, APIC_ESR), 0x40);
		comes_to_rest(1);
	}
	machine_destroy(&m);
}

/* Each writes what lets its APIC take the edges, or no more. */
static void enable(struct machine *m, bool on)
{
	apic_write(m, 0, APIC_SVR, on ? 0x1ff : 0xff);
}

static void set_id(struct machine *m, bool on)
{
	apic_write(m, 0, APIC_ID, on ? 0 : 5u << 24);
}

static void set_ldr(struct machine *m, bool on)
{
	apic_write(m, 0, APIC_LDR, on ? 1u << 24 : 2u << 24);
}

static void set_dfr(struct machine *m, bool on)
{
	apic_write(m, 0, APIC_DFR, on ? ~0u : 0x5fffffffu);
}

static void set_base(struct machine *m, bool on)
{
	platform_wrmsr(m->v, MSR_IA32_APIC_BASE,
		       PLATFORM_LAPIC_BASE | APIC_BASE_BSP | (on ? APIC_BASE_ENABLE : 0));
}

static void set_rte(struct machine *m, bool on)
{
	ioapic_route(m, PIN, on ? 0 : 7, VECTOR);
}

/* What rose while nobody was there to take it is gone; the next edge comes at its time. */
static void edges_to_nobody(void **state)
{
	static const struct {
		void (*set)(struct machine *m, bool on);
		u32 dest, low;
	} ways[] = {{enable, 0, VECTOR},
		    {set_id, 0, VECTOR},
		    {set_ldr, 1, LOGICAL | VECTOR},
		    {set_dfr, 1, LOGICAL | VECTOR},
		    {set_base, 0, MODE(4) | VECTOR},
		    {set_rte, 0, VECTOR}};
	struct machine m;

	for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
		bool nmi = ways[i].set == set_base;

		edges_start(&m, 1, ways[i].dest, ways[i].low, PERIOD);
		set_ldr(&m, true);
		ways[i].set(&m, false);
		comes_to_rest(1);
		ways[i].set(&m, true);
		assert_false(nmi ? platform_nmi_take(m.v) : taken_by(&m, 0));
		assert_int_equal(machine_run(PIT_TICKS_NS(PERIOD)), 1);
		assert_true(nmi ? platform_nmi_take(m.v) : taken_by(&m, 0));
		machine_destroy(&m);
	}
}

/* Level-triggered it waits for the EOI. */
static void levels_wait_for_their_end(void **state)
{
	struct machine m;

	edges_start(&m, 1, 0, RTE_LEVEL_BIT | VECTOR, SHORTEST);
	comes_to_rest(2);
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(platform_interrupt_ack(m.v), VECTOR);
		assert_int_equal(machine_run(NS_PER_SECOND), 0);
		apic_write(&m, 0, APIC_EOI, 0);
		machine_run(NS_PER_SECOND);
		assert_int_equal(machine_run(NS_PER_SECOND), 0);
	}
	machine_destroy(&m);
	/* A square wave that is low by then is no level any more, until it rises. */
	edges_start(&m, 1, 0, RTE_MASK_BIT, PERIOD);
	pit_setup(&m, 0x36, PERIOD);
	ioapic_route(&m, PIN, 0, RTE_LEVEL_BIT | VECTOR);
	assert_int_equal(platform_interrupt_ack(m.v), VECTOR);
	machine_run(PIT_TICKS_NS(PERIOD) * 3 / 4);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	machine_run(PIT_TICKS_NS(PERIOD) / 2);
	assert_int_equal(platform_interrupt_ack(m.v), VECTOR);
	machine_destroy(&m);
}

/* Where the CPU takes what is posted it is not to take these, or nobody knew of it. */
static void edges_by_the_thread(void **state)
{
	u32 level[LAPIC_VECTOR_WORDS];
	u8 requested, in_service;
	struct machine m;

	machine_apicv = VMX_APICV_POSTED;
	edges_start(&m, 1, 0, VECTOR, SHORTEST);
	machine_apicv = VMX_APICV_OFF;
	lapic_load(m.v->lapic, &requested, &in_service, level);
	comes_to_rest(2);
	assert_int_equal(m.v->lapic->posted_count, 0);
	assert_true(lapic_load(m.v->lapic, &requested, &in_service, level));
	assert_int_equal(requested, VECTOR);
	comes_to_rest(1);
	assert_true(lapic_load(m.v->lapic, &requested, &in_service, level));
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges_wait_for_who_takes_them),
		cmocka_unit_test(edges_to_many_wait_for_the_first),
		cmocka_unit_test(edges_to_the_halted),
		cmocka_unit_test(edges_that_do_nothing),
		cmocka_unit_test(edges_of_other_modes),
		cmocka_unit_test(edges_to_nobody),
		cmocka_unit_test(levels_wait_for_their_end),
		cmocka_unit_test(edges_by_the_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
