/* SPDX-License-Identifier: MIT */
/*
 * A CPU that runs a guest with shadow paging: how it walks what a vCPU has as its CR3, and what it
 * remembers of that in its TLB until it is told to forget.
 */
#ifndef TESTS_UNIT_MMU_SHADOW_CPU_H
#define TESTS_UNIT_MMU_SHADOW_CPU_H

#include "mmu/shadow.h"

/*
 * One access in the mode that Weir gives the CPU for p (CR0.WP set, PAE or 4-level), marks set in the
 * tables. false: a page fault. *at: the address in memory.
 */
bool shadow_cpu(const struct mmu_vcpu *v, const struct guest_paging *p, u64 gva, u32 access,
		u64 *at);

void shadow_cpu_forget(void);		 /* as at MOV to CR3 */
void shadow_cpu_forget_address(u64 gva); /* as at INVLPG, or a fault */

#endif
