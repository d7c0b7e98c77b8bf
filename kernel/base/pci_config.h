/* SPDX-License-Identifier: MIT */
/*
 * Looking for IDE controllers and network cards in PCI configuration space, by the ports 0xcf8 and
 * 0xcfc ("mechanism 1", PCI Local Bus 3.0, 3.2.2.3.2). The boot thread, while nobody else uses the
 * two ports.
 */
#ifndef KERNEL_BASE_PCI_CONFIG_H
#define KERNEL_BASE_PCI_CONFIG_H

#include "kernel/base/types.h"

/* Where the registers of a controller's two channels are ("PCI IDE Controller", rev. 1.0). */
struct pci_ide {
	u32 address; /* bus << 16 | device << 11 | function << 8 */
	struct {
		u16 command, control; /* ports; 0: not there */
		bool native;	      /* its interrupt is PCI's, else ISA's 14 or 15 */
		u16 bus_master;	      /* likewise; 0: no DMA */
	} channel[2];
};

/*
 * The next controller from *cursor on, which is 0 at first; what it needs to be used is switched
 * on. False: there is no more, or no PCI at all.
 */
bool pci_ide_next(u32 *cursor, struct pci_ide *out);

/*
 * Takes the right to reach memory from every network function, wired or wireless, that the firmware
 * left with it: what it receives goes on to memory that is others' now. Returns from how many. Boot CPU,
 * before frames are handed out.
 */
u32 pci_stop_network(void);

#endif
