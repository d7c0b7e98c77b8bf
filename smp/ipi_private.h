/* SPDX-License-Identifier: MIT */
/* What the interrupt path and bring-up need of IPIs. Not for other floors. */
#ifndef SMP_IPI_PRIVATE_H
#define SMP_IPI_PRIVATE_H

#include "kernel/base/types.h"

/* Some CPU panics: an NMI that arrives now means stop. Any context. */
bool ipi_stopping(void);

/* Boot CPU, once, after apic_init_cpu: takes the vectors of the call and the kick. */
void ipi_init(void);

#endif
