/* SPDX-License-Identifier: MIT */
/*
 * The keyboard controller at 0x60/0x64 with no keyboard and no mouse behind it (IBM PS/2 technical
 * reference): self-tests pass, a byte for a device times out at once, and the reset line works.
 * Platform's lock; thread context.
 */
#ifndef KERNEL_DEV_I8042_H
#define KERNEL_DEV_I8042_H

#include "kernel/dev/device.h"

struct platform;

struct i8042 {
	struct device dev;
	struct platform *p;
	/* platform's lock */
	u8 command_byte;
	u8 output_port;
	u8 pending; /* command that wants a byte at 0x60; 0: none */
	bool full;  /* the output buffer has a byte */
	u8 status;  /* of that byte: AUX, time-out; and whether the last write was a command */
	u8 data;
};

int i8042_init(struct i8042 *k, struct platform *p);

#endif
