/* SPDX-License-Identifier: MIT */
/*
 * Where PCI configuration would be, 0xcf8-0xcff: no host bridge answers, every read is all ones,
 * the address register too, so that a probe ends at its first step. The reset control register
 * lies among these ports at 0xcf9 and is reached by byte accesses only. Thread context; no lock.
 */
#ifndef KERNEL_DEV_PCI_H
#define KERNEL_DEV_PCI_H

#include "kernel/dev/device.h"

struct platform;

struct pci {
	struct device dev;
	struct platform *p;
};

int pci_init(struct pci *pci, struct platform *p);

#endif
