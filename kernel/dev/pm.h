/* SPDX-License-Identifier: MIT */
/*
 * ACPI fixed hardware (ACPI 6.4 chapter 4.8): PM1a event and control block and the PM timer. The
 * platform is always in ACPI mode: there is no SMI command. Platform's lock; any context.
 */
#ifndef KERNEL_DEV_PM_H
#define KERNEL_DEV_PM_H

#include "kernel/dev/device.h"
#include "smp/timer.h"

struct platform;

struct pm {
	struct device dev;
	struct platform *p;
	/* platform's lock */
	u16 status, enable, control;
	u64 seen_half; /* which run of 2^31 timer ticks status is right for */
	bool sci;
	struct timer timer;
};

int pm_init(struct pm *pm, struct platform *p);

#endif
