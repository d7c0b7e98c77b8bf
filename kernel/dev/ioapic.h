/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC: 24 pins, version 0x20 (Intel 82093AA data sheet, order 290566, and the EOI register
 * of its successors). Functions want the platform's lock unless they say otherwise; any context.
 */
#ifndef KERNEL_DEV_IOAPIC_H
#define KERNEL_DEV_IOAPIC_H

#include "kernel/dev/device.h"
#include "kernel/dev/platform.h"

struct ioapic {
	struct device dev;
	struct platform *p;
	/* platform's lock; an entry may be read without */
	u32 select;
	u32 id;
	u32 lines; /* pins that are asserted; the polarity bit is kept and changes nothing */
	u64 rte[PLATFORM_IOAPIC_PINS];
};

int ioapic_init(struct ioapic *io, struct platform *p);
void ioapic_set_line(struct ioapic *io, u32 pin, bool level);

/* A local APIC's EOI of a level-triggered vector. */
void ioapic_eoi(struct ioapic *io, u8 vector);

/* A local APIC may now take what it did not: level-triggered pins that wait try again. */
void ioapic_retry(struct ioapic *io);

/* Would something come of a rising edge on CHIPSET_TIMER_PIN? If not, rest (lapic_send_is_idle). */
bool ioapic_wants_edge(const struct ioapic *io, u32 pin);

/* Does the pin hand ExtINT to this vCPU? No lock. */
bool ioapic_extint_to(const struct ioapic *io, u32 pin, struct vcpu *v);

#endif
