/* SPDX-License-Identifier: MIT */
/* What the firmware left on of VT-d. Boot CPU, thread context, once. */
#ifndef KERNEL_REMAPPING_H
#define KERNEL_REMAPPING_H

#include "kernel/base/acpi.h"

/*
 * One warning where any unit remaps DMA or interrupts, or protects memory from devices: Weir sets
 * none up. map: uncached; NULL: no memory.
 */
void remapping_warn(const struct acpi_info *acpi, u8 *(*map)(hpa_t hpa, u64 size));

#endif
