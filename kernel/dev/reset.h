/* SPDX-License-Identifier: MIT */
/*
 * Ports that reset or end the machine, or only trace it: 0xcf9 (through pci.c, whose address
 * register it lies in), system control port A at 0x92, QEMU's isa-debug-exit at 0xf4, and the
 * POST code port 0x80. Platform's lock; thread context.
 */
#ifndef KERNEL_DEV_RESET_H
#define KERNEL_DEV_RESET_H

#include "kernel/dev/device.h"

struct platform;

struct reset {
	struct device dev;
	struct platform *p;
	/* each a byte that the last writer wins */
	u8 reset_control;  /* 0xcf9 */
	u8 system_control; /* 0x92: A20 is on whatever it says */
	u8 post_code;
};

int reset_init(struct reset *r, struct platform *p);

u8 reset_control_read(struct reset *r);
void reset_control_write(struct reset *r, u8 value);

#endif
