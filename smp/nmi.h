/* SPDX-License-Identifier: MIT */
/* NMIs that are no order to stop: who sent them. For smp/ alone. */
#ifndef SMP_NMI_H
#define SMP_NMI_H

#include "kernel/base/types.h"

/* Boot CPU, once, after apic_init_cpu. */
void nmi_init(void);

/* From the NMI itself, on whatever CPU: takes no lock, and has an interrupt look for the source. */
void nmi_came(void);

#endif
