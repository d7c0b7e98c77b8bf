/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The local APIC's timer: modes, divider, masking, and how often the host is bothered. */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "tests/unit/dev/machine.h"

#define VECTOR	 0xec
#define PERIODIC (1u << 17)
#define DEADLINE (1u << 18)
#define MASKED	 (1u << 16)

static void start(struct machine *m, u32 lvt, u32 divide, u32 count)
{
	apic_write(m, 0, APIC_TIMER, lvt | VECTOR);
	apic_write(m, 0, APIC_DIVIDE, divide);
	apic_write(m, 0, APIC_INITIAL, count);
}

/* Takes and ends the timer's interrupt if there is one. */
static bool interrupted(struct machine *m)
{
	int vector = platform_interrupt_ack(m->v);

	if (vector < 0)
		return false;
	assert_int_equal(vector, VECTOR);
	apic_write(m, 0, APIC_EOI, 0);
	return true;
}

static void one_shot(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	start(&m, 0, DIVIDE_BY_1, 100000);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 100000);
	machine_run(40000);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 60000);
	assert_false(interrupted(&m));
	hosted_vm_requests(m.v);
	assert_int_equal(machine_run(60000), 1);
	assert_true(hosted_vm_requests(m.v));
	assert_true(interrupted(&m));
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 0);
	assert_int_equal(apic_read(&m, 0, APIC_INITIAL), 100000);
	assert_int_equal(machine_run(NS_PER_SECOND), 0);
	assert_false(interrupted(&m));
	/* A count of 0 stops it. */
	start(&m, 0, DIVIDE_BY_1, 100000);
	apic_write(&m, 0, APIC_INITIAL, 0);
	machine_run(NS_PER_SECOND);
	assert_false(interrupted(&m));
	machine_destroy(&m);
}

static void dividers(void **state)
{
	static const u32 codes[] = {0xb, 0, 1, 2, 3, 8, 9, 0xa};
	struct machine m;

	machine_create(&m, 1);
	for (u32 i = 0; i < ARRAY_SIZE(codes); i++) {
		start(&m, 0, codes[i] | 0xfffffff4, 1000000);
		assert_int_equal(apic_read(&m, 0, APIC_DIVIDE), codes[i]);
		machine_run(1000u << i);
		assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 999000);
		machine_run((999000ull << i) - 1);
		assert_false(interrupted(&m));
		machine_run(1);
		assert_true(interrupted(&m));
	}
	/* In mid-count the rest runs at the new pace. */
	start(&m, 0, DIVIDE_BY_1, 1000000);
	machine_run(400000);
	apic_write(&m, 0, APIC_DIVIDE, 0);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 600000);
	machine_run(1199999);
	assert_false(interrupted(&m));
	machine_run(1);
	assert_true(interrupted(&m));
	machine_destroy(&m);
}

static void periodic(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	start(&m, PERIODIC, DIVIDE_BY_1, 1000000);
	for (u32 i = 0; i < 5; i++) {
		assert_int_equal(machine_run(999999), 0);
		assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 1);
		assert_int_equal(machine_run(1), 1);
		assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 1000000);
		assert_true(interrupted(&m));
	}
	/* Late by many periods: one interrupt, and the phase is kept. */
	hosted_clock_set(clock_ns() + 10300000);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 700000);
	assert_true(interrupted(&m));
	assert_false(interrupted(&m));
	/* It fires once in vain for the old deadline, and goes on. */
	machine_run(700000);
	assert_true(interrupted(&m));
	machine_destroy(&m);
}

/* One-shot to periodic and back while it counts; a count at 0 stays there. */
static void mode_change(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	start(&m, PERIODIC, DIVIDE_BY_1, 1000000);
	machine_run(1600000);
	assert_true(interrupted(&m));
	apic_write(&m, 0, APIC_TIMER, VECTOR);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 400000);
	machine_run(400000);
	assert_true(interrupted(&m));
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 0);
	apic_write(&m, 0, APIC_TIMER, PERIODIC | VECTOR);
	machine_run(5000000);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 0);
	assert_false(interrupted(&m));
	/* Running one-shot made periodic goes on with the next count. */
	start(&m, 0, DIVIDE_BY_1, 1000000);
	machine_run(500000);
	apic_write(&m, 0, APIC_TIMER, PERIODIC | VECTOR);
	machine_run(500000);
	assert_true(interrupted(&m));
	machine_run(1000000);
	assert_true(interrupted(&m));
	machine_destroy(&m);
}

/* Masked it counts and is silent, and the host's timer is left alone. */
static void masked(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	start(&m, PERIODIC | MASKED, DIVIDE_BY_1, 1000000);
	assert_int_equal(machine_run(10300000), 0);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 700000);
	apic_write(&m, 0, APIC_TIMER, PERIODIC | VECTOR);
	assert_false(interrupted(&m));
	machine_run(700000);
	assert_true(interrupted(&m));
	/* A one-shot that ended while masked is lost. */
	start(&m, MASKED, DIVIDE_BY_1, 1000);
	machine_run(5000000);
	apic_write(&m, 0, APIC_TIMER, VECTOR);
	machine_run(5000000);
	assert_false(interrupted(&m));
	/* Disabling the APIC by software masks and the next enable does not unmask. */
	start(&m, PERIODIC, DIVIDE_BY_1, 1000000);
	apic_write(&m, 0, APIC_SVR, 0xff);
	machine_run(5000000);
	apic_write(&m, 0, APIC_SVR, 0x1ff);
	machine_run(5000000);
	assert_false(interrupted(&m));
	machine_destroy(&m);
}

static void deadline(void **state)
{
	struct machine m;
	u64 value;

	machine_create(&m, 1);
	/* Not in this mode: the write goes nowhere. */
	assert_int_equal(platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, clock_ns() + 1000), 0);
	platform_rdmsr(m.v, MSR_IA32_TSC_DEADLINE, &value);
	assert_int_equal(value, 0);
	start(&m, DEADLINE, DIVIDE_BY_1, 1000);
	assert_int_equal(apic_read(&m, 0, APIC_INITIAL), 0);
	platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, clock_ns() + 1000000);
	platform_rdmsr(m.v, MSR_IA32_TSC_DEADLINE, &value);
	assert_int_equal(value, clock_ns() + 1000000);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 0);
	machine_run(999999);
	assert_false(interrupted(&m));
	machine_run(1);
	assert_true(interrupted(&m));
	platform_rdmsr(m.v, MSR_IA32_TSC_DEADLINE, &value);
	assert_int_equal(value, 0);
	/* In the past: at once. */
	platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, 1);
	assert_true(interrupted(&m));
	/* 0 disarms, and so does leaving the mode. */
	platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, clock_ns() + 1000000);
	platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, 0);
	machine_run(2000000);
	assert_false(interrupted(&m));
	platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, clock_ns() + 1000000);
	apic_write(&m, 0, APIC_TIMER, VECTOR);
	apic_write(&m, 0, APIC_TIMER, DEADLINE | VECTOR);
	platform_rdmsr(m.v, MSR_IA32_TSC_DEADLINE, &value);
	assert_int_equal(value, 0);
	machine_run(2000000);
	assert_false(interrupted(&m));
	/* The end of time neither fires nor keeps the host busy. */
	platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, ~0ull);
	assert_int_equal(machine_run(1000 * NS_PER_SECOND), 0);
	assert_false(interrupted(&m));
	machine_destroy(&m);
}

/* However short the period, the host's timer fires at most every 200 us, and not for who does not look. */
static void no_storm(void **state)
{
	struct machine m;
	u32 fired = 0;

	machine_create(&m, 1);
	start(&m, PERIODIC, DIVIDE_BY_1, 1);
	assert_int_equal(machine_run(NS_PER_SECOND), 1);
	for (u32 i = 0; i < 1000; i++) {
		(void)interrupted(&m);
		fired += machine_run(10000);
		assert_in_range(apic_read(&m, 0, APIC_CURRENT), 0, 1);
	}
	assert_in_range(fired, 40, 51);
	machine_destroy(&m);
}

/* Nor for who halts with interrupts off, and is woken for one that it does not take. */
static void no_storm_for_the_halted(void **state)
{
	struct machine m;

	for (machine_apicv = VMX_APICV_OFF; machine_apicv <= VMX_APICV_POSTED; machine_apicv++) {
		machine_create(&m, 1);
		lapic_timer_sleep(m.v->lapic);
		start(&m, PERIODIC, DIVIDE_BY_1, 1);
		for (u32 i = 0; i < 100; i++) {
			assert_int_equal(machine_run(10000000), i == 0);
			lapic_gather(m.v->lapic);
			assert_true(apic_bit(&m, 0, APIC_IRR, VECTOR));
		}
		/* Something else ends the halt. */
		lapic_timer_woken(m.v->lapic);
		lapic_gather(m.v->lapic);
		assert_int_equal(machine_run(10000000), 1);
		machine_destroy(&m);
	}
	machine_apicv = VMX_APICV_OFF;
}

#define ILLEGAL	    5
#define ERROR	    0x5e
#define ESR_ILLEGAL 0x40

static u32 esr(struct machine *m)
{
	apic_write(m, 0, APIC_ESR, 0);
	return apic_read(m, 0, APIC_ESR);
}

static void start_illegal(struct machine *m, u32 error_lvt, u32 count)
{
	apic_write(m, 0, APIC_ERROR, error_lvt);
	apic_write(m, 0, APIC_TIMER, PERIODIC | ILLEGAL);
	apic_write(m, 0, APIC_DIVIDE, DIVIDE_BY_1);
	apic_write(m, 0, APIC_INITIAL, count);
}

/*
 * Periods of an illegal vector are one error until ESR is written, so the timer rests until then.
 * What came due before is of what that write shows, and not of the next.
 */
static void no_storm_of_errors(void **state)
{
	struct machine m;
	u32 fired = 0;

	machine_create(&m, 1);
	start_illegal(&m, MASKED | ERROR, 1);
	assert_int_equal(machine_run(NS_PER_SECOND), 1);
	assert_false(hosted_vm_requests(m.v));
	start_illegal(&m, MASKED | ERROR, 1000000);
	assert_int_equal(machine_run(10300000), 0);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 700000);
	assert_int_equal(esr(&m), ESR_ILLEGAL);
	assert_int_equal(esr(&m), 0);
	assert_int_equal(machine_run(699999), 0);
	assert_int_equal(esr(&m), 0);
	assert_int_equal(machine_run(1), 1);
	assert_int_equal(esr(&m), ESR_ILLEGAL);
	/* Who looks often has the host's timer often, within its bound. */
	start_illegal(&m, MASKED | ERROR, 1);
	for (u32 i = 0; i < 1000; i++) {
		esr(&m);
		fired += machine_run(10000);
	}
	assert_in_range(fired, 40, 51);
	machine_destroy(&m);
}

/* In x2APIC mode, too, where the guest takes the error by its interrupt. */
static void an_error_is_raised_once(void **state)
{
	struct machine m;
	u64 value;

	machine_create(&m, 1);
	start_illegal(&m, ERROR, 1000000);
	assert_int_equal(machine_run(10300000), 1);
	assert_int_equal(platform_interrupt_ack(m.v), ERROR);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(machine_run(10000000), 0);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	platform_wrmsr(m.v, MSR_IA32_APIC_BASE,
		       PLATFORM_LAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	assert_int_equal(platform_wrmsr(m.v, X2APIC(APIC_ESR), 0), 0);
	platform_rdmsr(m.v, X2APIC(APIC_ESR), &value);
	assert_int_equal(value, ESR_ILLEGAL);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	assert_int_equal(machine_run(10000000), 1);
	assert_int_equal(platform_interrupt_ack(m.v), ERROR);
	machine_destroy(&m);
}

/* Unmasked after the first: the next period raises it, and no other. */
static void an_error_is_unmasked(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	start_illegal(&m, MASKED | ERROR, 1000000);
	assert_int_equal(machine_run(10300000), 1);
	apic_write(&m, 0, APIC_ERROR, ERROR);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	assert_int_equal(machine_run(10000000), 1);
	assert_int_equal(platform_interrupt_ack(m.v), ERROR);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(machine_run(10000000), 0);
	assert_int_equal(esr(&m), ESR_ILLEGAL);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	machine_destroy(&m);
}

/* A timer that rests for its error goes on with another vector, or after INIT. */
static void illegal_made_legal(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	start_illegal(&m, MASKED | ERROR, 1000000);
	machine_run(10300000);
	apic_write(&m, 0, APIC_TIMER, PERIODIC | VECTOR);
	assert_false(interrupted(&m));
	assert_int_equal(machine_run(700000), 1);
	assert_true(interrupted(&m));
	/* And back, the error of before being unseen still. */
	machine_run(1000000);
	apic_write(&m, 0, APIC_TIMER, PERIODIC | ILLEGAL);
	assert_int_equal(machine_run(10000000), 0);
	assert_true(interrupted(&m));
	assert_int_equal(esr(&m), ESR_ILLEGAL);
	/* One-shots are not periodic: each has its alarm. */
	apic_write(&m, 0, APIC_TIMER, ILLEGAL);
	apic_write(&m, 0, APIC_INITIAL, 1000000);
	assert_int_equal(machine_run(10000000), 1);
	assert_int_equal(esr(&m), ESR_ILLEGAL);
	start_illegal(&m, MASKED | ERROR, 1000000);
	machine_run(10000000);
	lapic_init(m.v->lapic);
	apic_enable(&m, 0);
	assert_int_equal(esr(&m), 0);
	start_illegal(&m, MASKED | ERROR, 1000000);
	assert_int_equal(machine_run(10000000), 1);
	assert_int_equal(esr(&m), ESR_ILLEGAL);
	machine_destroy(&m);
}

/* An illegal vector is an error; an armed timer of a VM that goes is gone. */
static void odd_ends(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	apic_write(&m, 0, APIC_TIMER, 5);
	apic_write(&m, 0, APIC_INITIAL, 1000);
	machine_run(1000000);
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	apic_write(&m, 0, APIC_ESR, 0);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0x40);
	start(&m, 3u << 17, DIVIDE_BY_1, 1000); /* the reserved mode */
	machine_run(1000000);
	assert_false(interrupted(&m));
	start(&m, PERIODIC, DIVIDE_BY_1, 1000000);
	platform_wrmsr(m.v, MSR_IA32_APIC_BASE, PLATFORM_LAPIC_BASE);
	machine_run(10000000);
	platform_wrmsr(m.v, MSR_IA32_APIC_BASE, PLATFORM_LAPIC_BASE | APIC_BASE_ENABLE);
	apic_enable(&m, 0);
	assert_false(interrupted(&m));
	start(&m, PERIODIC, DIVIDE_BY_1, 1000000);
	platform_reset(m.p);
	assert_int_equal(apic_read(&m, 0, APIC_CURRENT), 0);
	machine_run(10000000);
	assert_false(interrupted(&m));
	start(&m, PERIODIC, DIVIDE_BY_1, 1000000);
	machine_destroy(&m);
}

#define SLEEP_NS 1000000ull
#define WAKE_NS	 20000u /* from the timer to where its guest is entered */

/* Asleep from now on; returns its time. */
static u64 sleep_until_deadline(struct machine *m, u64 ns)
{
	u64 at = clock_ns() + ns;

	platform_wrmsr(m->v, MSR_IA32_TSC_DEADLINE, at);
	lapic_timer_sleep(m->v->lapic);
	return at;
}

/* The host's timer fires: how much before its time. The guest is entered WAKE_NS later. */
static u64 wake(struct machine *m, u64 at)
{
	u64 fires = hosted_timers_next();

	assert_false(interrupted(m));
	machine_run(fires - clock_ns());
	assert_true(lapic_timer_is_early(m->v->lapic));
	machine_run(WAKE_NS);
	lapic_timer_woken(m->v->lapic);
	assert_int_equal(lapic_timer_take_early(m->v->lapic), at);
	assert_false(lapic_timer_is_early(m->v->lapic));
	assert_true(interrupted(m));
	return at - fires;
}

/* As much earlier as wake-ups take, learned in a few, and less again when they take less. */
static void ahead_of_time(void **state)
{
	struct machine m;
	u64 ahead = 0, at;

	machine_create(&m, 1);
	start(&m, DEADLINE, DIVIDE_BY_1, 0);
	assert_int_equal(wake(&m, sleep_until_deadline(&m, SLEEP_NS)), 0);
	for (u32 i = 0; i < 20; i++)
		ahead = wake(&m, sleep_until_deadline(&m, SLEEP_NS));
	assert_in_range(ahead, WAKE_NS + 300, WAKE_NS + 500);
	/* So near that there is no time to sleep. */
	at = sleep_until_deadline(&m, WAKE_NS);
	assert_true(lapic_timer_is_early(m.v->lapic));
	assert_int_equal(lapic_timer_take_early(m.v->lapic), at);
	assert_true(interrupted(&m));
	lapic_timer_woken(m.v->lapic);
	for (u32 i = 0; i < 200; i++) {
		sleep_until_deadline(&m, SLEEP_NS);
		machine_run(hosted_timers_next() - clock_ns());
		lapic_timer_woken(m.v->lapic);
		lapic_timer_take_early(m.v->lapic);
		assert_true(interrupted(&m));
	}
	at = sleep_until_deadline(&m, SLEEP_NS);
	assert_in_range(at - hosted_timers_next(), 0, 600);
	machine_destroy(&m);
}

/* Others had the CPU: that is no time that a wake-up takes. */
static void ahead_has_a_bound(void **state)
{
	struct machine m;
	u64 ahead = 0, at;

	machine_create(&m, 1);
	start(&m, DEADLINE, DIVIDE_BY_1, 0);
	for (u32 i = 0; i < 20; i++)
		ahead = wake(&m, sleep_until_deadline(&m, SLEEP_NS));
	at = sleep_until_deadline(&m, SLEEP_NS);
	machine_run(SLEEP_NS + LAPIC_AHEAD_MAX_NS);
	lapic_timer_woken(m.v->lapic);
	assert_int_equal(lapic_timer_take_early(m.v->lapic), at);
	assert_true(interrupted(&m));
	assert_int_equal(wake(&m, sleep_until_deadline(&m, SLEEP_NS)), ahead);
	for (u32 late = 0; late < 300000; late += 5000) {
		at = sleep_until_deadline(&m, SLEEP_NS);
		assert_true(at - hosted_timers_next() <= LAPIC_AHEAD_MAX_NS);
		if (late > 2 * LAPIC_AHEAD_MAX_NS)
			assert_true(at - hosted_timers_next() > LAPIC_AHEAD_MAX_NS / 2);
		machine_run(hosted_timers_next() - clock_ns() + late);
		lapic_timer_woken(m.v->lapic);
		lapic_timer_take_early(m.v->lapic);
		assert_true(interrupted(&m));
	}
	machine_destroy(&m);
}

/* Woken by something else, and running when the alarm comes that is ahead of the time. */
static void not_early_for_who_runs(void **state)
{
	struct machine m;
	u64 at;

	machine_create(&m, 1);
	start(&m, DEADLINE, DIVIDE_BY_1, 0);
	for (u32 i = 0; i < 20; i++)
		wake(&m, sleep_until_deadline(&m, SLEEP_NS));
	at = sleep_until_deadline(&m, SLEEP_NS);
	machine_run(SLEEP_NS / 2);
	lapic_timer_woken(m.v->lapic);
	machine_run(at - clock_ns() - 1);
	assert_false(lapic_timer_is_early(m.v->lapic));
	assert_false(interrupted(&m));
	machine_run(1);
	assert_false(lapic_timer_is_early(m.v->lapic));
	assert_true(interrupted(&m));
	/* A reset forgets what there was to be waited for. */
	sleep_until_deadline(&m, SLEEP_NS);
	machine_run(hosted_timers_next() - clock_ns());
	lapic_timer_woken(m.v->lapic);
	assert_true(lapic_timer_is_early(m.v->lapic));
	lapic_init(m.v->lapic);
	assert_false(lapic_timer_is_early(m.v->lapic));
	machine_destroy(&m);
}

/* No period is lost, and none is had twice, for coming ahead of its time. */
static void periods_ahead_of_time(void **state)
{
	struct machine m;
	u64 first;

	machine_create(&m, 1);
	first = clock_ns();
	start(&m, PERIODIC, DIVIDE_BY_1, SLEEP_NS);
	for (u32 i = 1; i <= 50; i++) {
		lapic_timer_sleep(m.v->lapic);
		wake(&m, first + i * SLEEP_NS);
		if (i > 20)
			assert_true(clock_ns() < first + i * SLEEP_NS);
		assert_false(interrupted(&m));
		assert_true(apic_read(&m, 0, APIC_CURRENT) <= SLEEP_NS);
	}
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_shot),
		cmocka_unit_test(dividers),
		cmocka_unit_test(periodic),
		cmocka_unit_test(mode_change),
		cmocka_unit_test(masked),
		cmocka_unit_test(deadline),
		cmocka_unit_test(no_storm),
		cmocka_unit_test(no_storm_for_the_halted),
		cmocka_unit_test(no_storm_of_errors),
		cmocka_unit_test(an_error_is_raised_once),
		cmocka_unit_test(an_error_is_unmasked),
		cmocka_unit_test(illegal_made_legal),
		cmocka_unit_test(odd_ends),
		cmocka_unit_test(ahead_of_time),
		cmocka_unit_test(ahead_has_a_bound),
		cmocka_unit_test(not_early_for_who_runs),
		cmocka_unit_test(periods_ahead_of_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
