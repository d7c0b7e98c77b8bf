/* SPDX-License-Identifier: MIT */
/* Which CPUs are threads of one core (SDM 3A 9.9). Any context. */
#ifndef SMP_TOPOLOGY_H
#define SMP_TOPOLOGY_H

#include "kernel/base/types.h"

/*
 * How many low bits of an APIC id number the threads of one core. 0 where a core has one, and where
 * CPUID does not say: CPUs without leaf 0Bh have no Hyper-Threading that VMX came with.
 */
u32 topology_thread_bits(void);

/* Do two of these APIC ids, in any order, belong to one core? Pure. */
bool topology_shares_core(const u32 *ids, u32 count, u32 thread_bits);

/* Do two CPUs that came up? After bring-up. */
bool topology_threads_started(void);

#endif
