/* SPDX-License-Identifier: MIT */
/*
 * fuzz-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/*
 * A hostile guest at every device: random accesses by port, MMIO and MSR on two vCPUs, with time,
 * interrupts, typing and resets between. Nothing may crash, stay in a loop, leave a lock held or
 * bother the host more than its due; lines must be what their devices say.
 *
 *     fuzz_devices [STEPS [SEED]]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "tests/unit/dev/machine.h"

#define SHORT_STEPS 2000000
#define FULL_STEPS  50000000
#define VCPUS	    2

/* A machine is thrown away after so many steps: a guest that resets. */
#define MACHINE_STEPS 5000

static u64 random_state;

static u64 rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dull;
}

static u32 below(u32 n)
{
	return (u32)((rnd() >> 33) % n);
}

/* Values that matter more often than chance would have them. */
static u64 value(void)
{
	switch (below(6)) {
	case 0:
		return 0;
	case 1:
		return ~0ull;
	case 2:
		return BIT(below(64));
	case 3:
		return below(256);
	default:
		return rnd();
	}
}

static const u16 ports[] = {0x20,  0x21,  0xa0,	 0xa1,	0x4d0, 0x4d1, 0x40,  0x41,  0x42,  0x43,
			    0x61,  0x60,  0x64,	 0x70,	0x71,  0x71,  0x80,  0x92,  0xf4,  0x3f8,
			    0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x510, 0x511, 0x600,
			    0x601, 0x602, 0x604, 0x608, 0xcf8, 0xcf9, 0xcfc, 0x3f7, 0xffff};

static u32 port(void)
{
	return below(20) ? ports[below(ARRAY_SIZE(ports))] : below(0x10000);
}

static void access_port(struct machine *m, struct vcpu *v)
{
	u32 p = port(), size = below(10) ? 1 : 1u << below(3);
	u64 got = 0;

	if (below(3)) {
		bus_write(&m->vm->bus, v, SPACE_PIO, p, size, value());
		return;
	}
	bus_read(&m->vm->bus, v, SPACE_PIO, p, size, &got);
	BUG_ON(got >> (size * 8));
}

static void access_mmio(struct machine *m, struct vcpu *v)
{
	bool lapic = below(2);
	u64 base = lapic ? platform_apic_base(v) & 0xffffff000ull : PLATFORM_IOAPIC_BASE;
	u64 gpa = base + (below(10) ? below(0x40) * 0x10 : below(0x1010));
	u32 size = below(10) ? 4 : 1u << below(4);
	u64 data = value();

	if (lapic && platform_lapic_mmio(v, GPA(gpa), size, below(3), &data))
		return;
	/* The IOAPIC's registers are behind its window. */
	if (!lapic && below(2)) {
		bus_write(&m->vm->bus, v, SPACE_MMIO, PLATFORM_IOAPIC_BASE, 4, below(0x42));
		gpa = PLATFORM_IOAPIC_BASE + 0x10;
	}
	if (below(3))
		bus_write(&m->vm->bus, v, SPACE_MMIO, gpa, size, data);
	else
		bus_read(&m->vm->bus, v, SPACE_MMIO, gpa, size, &data);
}

static void access_msr(struct vcpu *v)
{
	u32 index = MSR_X2APIC_BASE + below(0x40);
	u64 data = value();

	if (below(10) == 0) {
		index = MSR_IA32_APIC_BASE;
		/* Mostly at home, so that the page is found. */
		data = below(4) ? PLATFORM_LAPIC_BASE | (rnd() & 0xd00) : data;
	} else if (below(10) == 0) {
		index = MSR_IA32_TSC_DEADLINE;
		data = below(2) ? clock_ns() + below(100000) : data;
	}
	if (below(3))
		platform_wrmsr(v, index, data);
	else
		platform_rdmsr(v, index, &data);
}

static u32 *tpr(struct vcpu *v)
{
	return (u32 *)((u8 *)platform_apic_page(v) + APIC_TPR);
}

static void interrupts(struct vcpu *v)
{
	if (below(2))
		*tpr(v) = below(16) << 4; /* MOV to CR8 */
	platform_nmi_take(v);
	if (platform_interrupt_pending(v)) {
		int vector = platform_interrupt_ack(v);

		BUG_ON(vector < -1 || vector > 255);
	}
	platform_vcpu_poll(v);
	BUG_ON(*tpr(v) > 0xff || platform_tpr_threshold(v) > *tpr(v) >> 4);
}

/* Lines that no device of the platform has. */
static void raise_line(struct machine *m)
{
	static const u8 free_lines[] = {3, 5, 6, 7, 10, 11, 13, 14, 15, 16, 19, 23, 24, 255};

	platform_irq(m->p, free_lines[below(ARRAY_SIZE(free_lines))], below(2));
}

static void type(struct machine *m)
{
	u8 bytes[64];

	memset(bytes, (int)below(256), sizeof(bytes));
	BUG_ON(platform_console_input(m->p, bytes, below(65)) > 64);
}

/* Five sources of 20 us each may fire, and whatever this step armed. */
static void pass_time(void)
{
	u64 ns = below(20) ? below(3000) : below(2000000);
	u32 fired;

	if (below(1000) == 0) /* away for long: up to 300 years in all */
		hosted_clock_set(clock_ns() + (rnd() >> (8 + below(40))) % (NS_PER_SECOND << 23));
	fired = machine_run(ns);
	BUG_ON(fired > 6 * (ns / DEVICE_PERIOD_MIN_NS + 2));
}

static void check(struct machine *m)
{
	u32 lines = m->p->ioapic.lines;

	BUG_ON(hosted_locks_held());
	BUG_ON(!(lines & BIT(4)) != !m->p->uart.irq);
	BUG_ON(!(lines & BIT(8)) != !m->p->rtc.line);
	BUG_ON(!(lines & BIT(9)) != !m->p->pm.sci);
	BUG_ON(!(lines & BIT(0)) != !m->p->pic.output);
}

static void step(struct machine *m)
{
	struct vcpu *v = m->vm->vcpus[below(VCPUS)];
	u32 pieces;

	switch (below(16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		access_port(m, v);
		break;
	case 5:
	case 6:
	case 7:
		access_mmio(m, v);
		break;
	case 8:
	case 9:
		access_msr(v);
		break;
	case 10:
	case 11:
		pass_time();
		break;
	case 12:
		raise_line(m);
		break;
	case 13:
		if (below(50) == 0)
			platform_reset(m->p);
		type(m);
		break;
	default:
		interrupts(v);
		break;
	}
	m->vm->end = VM_END_NONE;
	hosted_vm_output(&pieces);
	check(m);
}

static u64 number(int argc, char **argv, int i, const char *name, u64 otherwise)
{
	const char *text = argc > i ? argv[i] : name ? getenv(name) : NULL;

	return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	const char *extent = getenv("WEIR_FUZZ");
	bool is_short = extent && strcmp(extent, "short") == 0;
	u64 steps = number(argc, argv, 1, NULL, is_short ? SHORT_STEPS : FULL_STEPS);
	u64 seed = number(argc, argv, 2, "WEIR_SEED", 1);
	struct machine m;

	for (u64 n = 0; n < steps; n++) {
		if (n % MACHINE_STEPS == 0) {
			if (n)
				machine_destroy(&m);
			machine_create(&m, VCPUS);
			random_state = (seed << 32) + n + 1; /* each machine by itself */
		}
		step(&m);
	}
	machine_destroy(&m);
	printf("fuzz_devices: %" PRIu64 " steps, seed %" PRIu64 "\n", steps, seed);
	printf("1 passed, 0 failed\n");
	return 0;
}
