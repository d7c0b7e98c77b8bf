/* SPDX-License-Identifier: MIT */
/* Counters of known rate: HPET, the ACPI PM timer, and channel 2 of the 8254. */
#include "kernel/base/acpi.h"
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "smp/clock.h"
#include "smp/cpu.h"

/* HPET registers (IA-PC HPET 1.0a 2.3). */
#define HPET_SIZE	1024
#define HPET_PERIOD	0x04 /* femtoseconds of one tick */
#define HPET_CONFIG	0x10
#define HPET_COUNTER	0xf0
#define HPET_ENABLE	1u
#define HPET_LEGACY	2u /* its first timers take the places of PIT and RTC */
#define HPET_TIMERS(v)	((((v) >> 8) & 0x1f) + 1)
#define HPET_TIMER(n)	(0x100 + 0x20 * (n))
#define TIMER_INTERRUPT (1u << 2)
#define TIMER_MESSAGE	(1u << 14)
#define HPET_PERIOD_MAX 100000000u /* what the standard allows: 100 ns */
#define HPET_PERIOD_MIN 100000u
#define FS_PER_SECOND	1000000000000000ull

#define PM_TIMER_HZ 3579545 /* ACPI 4.8.3.3 */

#define PIT_HZ		1193182
#define PIT_CHANNEL_2	0x42
#define PIT_COMMAND	0x43
#define PIT_MODE_0_CH2	0xb0 /* channel 2, low then high byte, mode 0: OUT rises at the end */
#define PORT_61		0x61
#define PORT_61_GATE	0x01
#define PORT_61_SPEAKER 0x02
#define PORT_61_OUT	0x20

#define MOVES_READS 100000

static volatile u32 *hpet;
static volatile u32 *pm_memory;
static u16 pm_port;

static u64 hpet_read(void)
{
	return hpet[HPET_COUNTER / 4];
}

static u64 pm_read(void)
{
	return pm_memory ? *pm_memory : inl(pm_port);
}

static struct clock_reference hpet_reference = {"HPET", 0, 0xffffffff, hpet_read};
static struct clock_reference pm_reference = {"ACPI timer", PM_TIMER_HZ, 0, pm_read};

/* A counter that does not move within many reads is none. */
static bool moves(const struct clock_reference *ref)
{
	u64 first = ref->read() & ref->mask;

	for (u32 i = 0; i < MOVES_READS; i++) {
		if ((ref->read() & ref->mask) != first)
			return true;
	}
	log_warn("clock: %s stands still; it is not used", ref->name);
	return false;
}

/* The firmware may have left alarms on, which would go on to raise interrupts or write messages. */
static void hpet_quiet(void)
{
	u32 timers = HPET_TIMERS(hpet[0]);

	for (u32 n = 0; n < timers; n++)
		hpet[HPET_TIMER(n) / 4] &= ~(TIMER_INTERRUPT | TIMER_MESSAGE);
	hpet[HPET_CONFIG / 4] &= ~HPET_LEGACY;
}

static bool hpet_find(void)
{
	u32 period;

	if (!acpi_info.hpet_present)
		return false;
	hpet = (volatile u32 *)(void *)smp_hooks_get()->map_device(HPA(acpi_info.hpet_address),
								   HPET_SIZE);
	if (!hpet)
		return false;
	period = hpet[HPET_PERIOD / 4];
	if (period < HPET_PERIOD_MIN || period > HPET_PERIOD_MAX) {
		log_warn("clock: HPET claims ticks of %u fs; it is not used", period);
		return false;
	}
	hpet_quiet();
	hpet[HPET_CONFIG / 4] |= HPET_ENABLE;
	hpet_reference.hz = FS_PER_SECOND / period;
	return moves(&hpet_reference);
}

static bool pm_find(void)
{
	const struct acpi_register *r = &acpi_info.pm_timer;

	if (!r->address)
		return false;
	if (r->space == ACPI_SPACE_IO)
		pm_port = (u16)r->address;
	else
		pm_memory = (volatile u32 *)(void *)smp_hooks_get()->map_device(HPA(r->address), 4);
	if (r->space == ACPI_SPACE_MEMORY && !pm_memory)
		return false;
	pm_reference.mask = acpi_info.pm_timer_32bit ? 0xffffffff : 0xffffff;
	return moves(&pm_reference);
}

const struct clock_reference *clock_reference_find(void)
{
	if (hpet_find())
		return &hpet_reference;
	return pm_find() ? &pm_reference : NULL;
}

bool clock_pit_measure(u32 ms, u64 *cycles)
{
	u32 count = PIT_HZ * ms / 1000;
	u8 gate = (inb(PORT_61) & ~PORT_61_SPEAKER) | PORT_61_GATE;
	u64 start, reads = 0;

	outb(PORT_61, gate & ~PORT_61_GATE);
	outb(PIT_COMMAND, PIT_MODE_0_CH2);
	outb(PIT_CHANNEL_2, (u8)count);
	outb(PIT_CHANNEL_2, (u8)(count >> 8));
	outb(PORT_61, gate);
	start = rdtsc();
	while (!(inb(PORT_61) & PORT_61_OUT) && reads < ms * (u64)MOVES_READS)
		reads++;
	*cycles = rdtsc() - start;
	outb(PORT_61, gate & ~PORT_61_GATE);
	/* A line that is up at once was never down: nobody counts there. */
	return reads > ms && reads < ms * (u64)MOVES_READS;
}
