/* SPDX-License-Identifier: MIT */
/*
 * QEMU's firmware configuration device, as small guests use it to learn the number of CPUs and the
 * size of RAM (QEMU docs/specs/fw_cfg): selector at 0x510, data at 0x511, no DMA, no files, no
 * writes. Platform's lock; thread context.
 */
#ifndef KERNEL_DEV_FW_CFG_H
#define KERNEL_DEV_FW_CFG_H

#include "kernel/dev/device.h"

struct platform;

struct fw_cfg {
	struct device dev;
	struct platform *p;
	/* platform's lock */
	u16 key;
	u32 at; /* how much of the item was read */
};

int fw_cfg_init(struct fw_cfg *f, struct platform *p);

#endif
