/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c
 *	kernel/dev/pit_channel.c kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c
 *	kernel/dev/pm.c kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c
 *	kernel/dev/fw_cfg.c
 */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Vectors of one word are posted by other CPUs while the APIC's own thread gathers, takes and ends
 * them, in orders that seeds choose: none stays behind unseen, whatever the summary of words went
 * through, and each comes with the trigger mode that it was sent with.
 */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
