/* SPDX-License-Identifier: MIT */
/* DMA and interrupt remapping (VT-d) that the firmware left on. Boot CPU, thread context, once. */
#ifndef KERNEL_REMAPPING_H
#define KERNEL_REMAPPING_H

#include "kernel/base/acpi.h"

/* One warning where any unit translates: Weir sets none up. map: uncached; NULL: no memory. */
void remapping_warn(const struct acpi_info *acpi, u8 *(*map)(hpa_t hpa, u64 size));

#endif
