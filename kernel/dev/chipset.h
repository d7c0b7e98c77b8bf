/* SPDX-License-Identifier: MIT */
/*
 * The inside of a platform: all devices of a VM and the one lock of its chipset. For the files of
 * kernel/dev only; others see platform.h.
 *
 * platform->lock (LOCK_IRQCHIP) guards every device here: reads and writes, timers and interrupt
 * lines come from several vCPUs and from interrupt context, and each holds it for a few dozen
 * instructions. A local APIC has a lock of its own above it (lapic.h).
 */
#ifndef KERNEL_DEV_CHIPSET_H
#define KERNEL_DEV_CHIPSET_H

#include "kernel/dev/fw_cfg.h"
#include "kernel/dev/i8042.h"
#include "kernel/dev/ioapic.h"
#include "kernel/dev/pci.h"
#include "kernel/dev/pic.h"
#include "kernel/dev/pit.h"
#include "kernel/dev/platform.h"
#include "kernel/dev/pm.h"
#include "kernel/dev/reset.h"
#include "kernel/dev/rtc.h"
#include "kernel/dev/uart.h"
#include "kernel/vm.h"
#include "smp/spinlock.h"

#define NS_PER_SECOND 1000000000ull

/*
 * Whatever the guest programs, the host is not stormed: a timer that runs on by itself, also while others have
 * the CPU, goes off no more often than the second; a device's is set to no sooner than the first. What came in
 * between is one interrupt.
 */
#define DEVICE_DELAY_MIN_NS  20000ull
#define DEVICE_PERIOD_MIN_NS 200000ull

#define CHIPSET_DEVICES_MAX 16

struct platform {
	struct vm *vm;
	struct spinlock lock;
	/* set at creation */
	u32 device_count;
	struct device *devices[CHIPSET_DEVICES_MAX];
	/* lock */
	struct pic pic;
	struct ioapic ioapic;
	struct pit pit;
	struct rtc rtc;
	struct uart uart;
	struct pm pm;
	struct i8042 i8042;
	struct pci pci;
	struct reset reset;
	struct fw_cfg fw_cfg;
	/* atomic: whose turn it is among equals for a lowest-priority interrupt */
	u32 lowest_priority_turn;
};

/* Lists a device of the platform, for reset and destruction in this order. At creation. */
void chipset_add(struct platform *p, struct device *d, const struct device_ops *ops);

/* platform_irq under the platform's lock. Any context. */
void chipset_irq(struct platform *p, u32 gsi, bool level);

/* No timer is to be armed: platform_resume will do it. */
static inline bool chipset_is_paused(const struct platform *p)
{
	return __atomic_load_n(&p->vm->paused, __ATOMIC_SEQ_CST);
}

/* The PIC's INTR output changed: LINT0 of every local APIC, and IOAPIC pin 0. Under the lock. */
void chipset_intr(struct platform *p, bool level);

/* Where the IOAPIC has IRQ 0, the PIT's. */
#define CHIPSET_TIMER_PIN 2

/*
 * The PIT's edges. sync: those until now are delivered. resume: and it goes on, if it rested for nobody
 * would have taken more. They take the lock; any context.
 */
void chipset_sync_edges(struct platform *p);
void chipset_resume_edges(struct platform *p);

/* Writes out what the guest has printed, then asks for the VM's end. Thread context, no lock. */
void chipset_end(struct platform *p, enum vm_end cause, u32 code);

#endif
