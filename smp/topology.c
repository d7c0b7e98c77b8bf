/* SPDX-License-Identifier: MIT */
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "smp/topology.h"

#define LEAF_TOPOLOGY  0xb
#define EAX_SHIFT      0x1fu
#define ECX_LEVEL(ecx) (((ecx) >> 8) & 0xffu)
#define LEVEL_THREAD   1

u32 topology_thread_bits(void)
{
	struct cpuid_regs r;

	if (cpuid(0, 0).eax < LEAF_TOPOLOGY)
		return 0;
	r = cpuid(LEAF_TOPOLOGY, 0);
	/* EBX is 0 where the leaf is there and says nothing. */
	return r.ebx && ECX_LEVEL(r.ecx) == LEVEL_THREAD ? r.eax & EAX_SHIFT : 0;
}

bool topology_shares_core(const u32 *ids, u32 count, u32 thread_bits)
{
	for (u32 i = 0; i < count; i++) {
		for (u32 j = 0; j < i; j++) {
			if (ids[i] >> thread_bits == ids[j] >> thread_bits)
				return true;
		}
	}
	return false;
}

#ifndef WEIR_HOSTED
bool topology_threads_started(void)
{
	u32 ids[CPU_MAX], n = 0;

	for (u32 i = 0; i < cpu_count(); i++)
		ids[n++] = cpu_get(i)->apic_id;
	return topology_shares_core(ids, n, topology_thread_bits());
}
#endif
