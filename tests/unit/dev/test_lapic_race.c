/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-libs: -Wl,--wrap=clock_ns_to_tsc */
/*
 * Vectors of one word are posted by other CPUs while the APIC's own thread gathers, takes and ends
 * them, in orders that seeds choose: none stays behind unseen, whatever the summary of words went
 * through, and each comes with the trigger mode that it was sent with.
 */
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/dev/machine.h"

#include <cmocka.h>
#include <string.h>

#define SENDERS	  2
#define ROUNDS	  200
#define SEEDS	  30
#define FIRST	  0x40
#define WAITS_MAX 10000

static struct machine m;
static u32 running;    /* atomic */
static u32 taken[256]; /* atomic */
static bool level[256];
static bool lost;

static void send(void *arg)
{
	u8 vector = (u8)(u64)arg;

	for (u32 i = 1; i <= ROUNDS && !lost; i++) {
		struct lapic_message message = {.mode = LAPIC_FIXED, .vector = vector};

		message.level = level[vector] = i / 2 % 2;
		assert_true(lapic_send(m.vm, &message, NULL));
		/* One at a time: another of its kind would show what became of this one. */
		for (u32 waits = 0; !lost; waits++) {
			if (__atomic_load_n(&taken[vector], __ATOMIC_SEQ_CST) == i)
				break;
			hosted_relax();
			lost = waits == WAITS_MAX;
		}
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
}

static void take(void *arg)
{
	while (__atomic_load_n(&running, __ATOMIC_SEQ_CST)) {
		int vector = lapic_ack(m.v->lapic);

		if (vector < 0) {
			hosted_relax();
			continue;
		}
		assert_int_equal(apic_bit(&m, 0, APIC_TMR, (u8)vector), level[vector]);
		lapic_eoi(m.v->lapic);
		__atomic_fetch_add(&taken[vector], 1, __ATOMIC_SEQ_CST);
	}
}

static void none_is_lost(void **state)
{
	static const struct hosted_job jobs[] = {
		{"sender", send, (void *)FIRST},
		{"sender", send, (void *)(FIRST + 1)},
		{"own thread", take, NULL},
	};

	for (u64 seed = 0; seed < SEEDS; seed++) {
		struct hosted_way way = {.serial = true, .seed = seed, .period = 3};

		machine_create(&m, 1);
		apic_enable(&m, 0);
		running = SENDERS;
		memset(taken, 0, sizeof(taken));
		hosted_run(jobs, ARRAY_SIZE(jobs), &way);
		assert_false(lost);
		for (u32 i = 0; i < SENDERS; i++)
			assert_int_equal(taken[FIRST + i], ROUNDS);
		assert_int_equal(lapic_pending_vector(m.v->lapic), -1);
		for (u32 vector = 0; vector < 256; vector++)
			assert_false(apic_bit(&m, 0, APIC_IRR, (u8)vector));
		machine_destroy(&m);
	}
}

#define AHEAD_NS  20000u
#define SLEEP_NS  1000000ull
#define DEADLINE  (1u << 18)
#define TIMER	  0xec
#define STOPS_MAX 200u

u64 __real_clock_ns_to_tsc(u64 ns);
u64 __wrap_clock_ns_to_tsc(u64 ns);

/* Between the timer's looks at whether the vCPU sleeps. */
u64 __wrap_clock_ns_to_tsc(u64 ns)
{
	hosted_point();
	return __real_clock_ns_to_tsc(ns);
}

static bool fires; /* atomic */

static void timer_fires(void *arg)
{
	bool on = irq_save();

	hosted_clock_set(m.v->lapic->tsc_deadline - AHEAD_NS);
	hosted_count_points();
	__atomic_store_n(&fires, true, __ATOMIC_SEQ_CST);
	m.v->lapic->timer.fn(&m.v->lapic->timer);
	hosted_count_no_more();
	irq_restore(on);
}

static void vcpu_wakes(void *arg)
{
	while (!__atomic_load_n(&fires, __ATOMIC_SEQ_CST))
		hosted_relax();
	hosted_count_points();
	lapic_timer_woken(m.v->lapic);
	hosted_count_no_more();
}

/*
 * The timer of one that sleeps fires ahead of time on another CPU, which stops somewhere for all of the
 * waking. The interrupt is there and noted to be early, or is not there.
 */
static void what_is_early_is_said_so(void **state)
{
	static const struct hosted_job jobs[] = {
		{"timer", timer_fires, NULL},
		{"vcpu", vcpu_wakes, NULL},
	};
	u32 point, counted = 1, were_early = 0;
	bool early;

	for (point = 1; point <= counted && point < STOPS_MAX; point++) {
		struct hosted_way way = {.directed = true, .stop = {{0, point}}, .period = 1};

		machine_create(&m, 1);
		apic_enable(&m, 0);
		apic_write(&m, 0, APIC_TIMER, DEADLINE | TIMER);
		m.v->lapic->ahead_ns = AHEAD_NS;
		platform_wrmsr(m.v, MSR_IA32_TSC_DEADLINE, clock_ns() + SLEEP_NS);
		lapic_timer_sleep(m.v->lapic);
		fires = false;
		hosted_run(jobs, ARRAY_SIZE(jobs), &way);
		early = lapic_pending_vector(m.v->lapic) == TIMER;
		assert_int_equal(lapic_timer_is_early(m.v->lapic), early);
		were_early += early;
		counted = hosted_points_counted(0);
		machine_destroy(&m);
	}
	assert_true(point > 3);
	assert_in_range(were_early, 1, point - 2);
}

/*
 * A timer goes off while a vCPU does something, each stopping somewhere for all that the other does: what
 * rests of it only rests if the vCPU will say that it may go on. look: what has come of it; may be NULL.
 */
static void none_waits_in_vain(void (*set_up)(void), void (*goes_off)(void *), void (*vcpu)(void *),
			       void (*look)(void))
{
	const struct hosted_job jobs[] = {{"timer", goes_off, NULL}, {"vcpu", vcpu, NULL}};

	for (u32 who = 0; who < ARRAY_SIZE(jobs); who++) {
		u32 point, counted = 1;

		for (point = 1; point <= counted && point < STOPS_MAX; point++) {
			struct hosted_way way = {
				.directed = true, .stop = {{who, point}}, .period = 1};

			machine_create(&m, 1);
			set_up();
			hosted_run(jobs, ARRAY_SIZE(jobs), &way);
			if (look)
				look();
			lapic_gather(m.v->lapic);
			assert_int_not_equal(hosted_timers_next(), ~0ull);
			counted = hosted_points_counted(who);
			machine_destroy(&m);
		}
		assert_true(point > 3);
	}
}

static void fire(struct timer *t)
{
	bool on = irq_save();

	hosted_clock_set(MACHINE_START_NS + NS_PER_SECOND);
	hosted_count_points();
	t->fn(t);
	hosted_count_no_more();
	irq_restore(on);
}

/* It is this one that goes off. */
static void only(struct timer *t)
{
	hosted_timers_forget();
	t->pending = false;
}

#define PIN    2
#define VECTOR 0x31
#define PERIOD 11932

static u32 rests, goes_on;

static void set_up_edges(void)
{
	pic_setup(&m, 0xffff);
	pit_setup(&m, 0x34, PERIOD);
	ioapic_route(&m, PIN, 0, VECTOR);
	only(&m.p->pit.timer);
	/* Something to gather, whichever comes first. */
	lapic_send(m.vm, &(struct lapic_message){.vector = VECTOR + 1}, NULL);
}

static void edge_comes(void *arg)
{
	fire(&m.p->pit.timer);
}

static void vcpu_gathers(void *arg)
{
	hosted_count_points();
	lapic_gather(m.v->lapic);
	hosted_count_no_more();
}

static void count_rests(void)
{
	if (lapic_vector_is_untaken(m.v->lapic, VECTOR))
		rests++;
	else
		goes_on++;
}

/* An edge of the PIT's is taken while its timer looks whether it is. */
static void no_edge_is_waited_for_in_vain(void **state)
{
	rests = goes_on = 0;
	none_waits_in_vain(set_up_edges, edge_comes, vcpu_gathers, count_rests);
	assert_true(rests && goes_on);
}

static void set_up_period(void)
{
	apic_write(&m, 0, APIC_TIMER, 1u << 17 | TIMER);
	apic_write(&m, 0, APIC_INITIAL, 1000000);
	lapic_timer_sleep(m.v->lapic);
	lapic_send(m.vm, &(struct lapic_message){.vector = TIMER}, NULL);
	lapic_gather(m.v->lapic);
	only(&m.v->lapic->timer);
}

static void period_comes(void *arg)
{
	fire(&m.v->lapic->timer);
}

static void halted_wakes(void *arg)
{
	hosted_count_points();
	lapic_timer_woken(m.v->lapic);
	hosted_count_no_more();
}

/* Likewise a period of one whose interrupt waits in IRR, as its vCPU wakes for something else. */
static void no_period_is_waited_for_in_vain(void **state)
{
	none_waits_in_vain(set_up_period, period_comes, halted_wakes, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_lost),
		cmocka_unit_test(what_is_early_is_said_so),
		cmocka_unit_test(no_edge_is_waited_for_in_vain),
		cmocka_unit_test(no_period_is_waited_for_in_vain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
