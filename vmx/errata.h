/* SPDX-License-Identifier: MIT */
/* What a CPU does wrong that Weir has to go around. Pure; any context. */
#ifndef VMX_ERRATA_H
#define VMX_ERRATA_H

#include "kernel/base/types.h"

#define ARCH_CAP_PSCHANGE_MC_NO BIT(6)

/*
 * A guest that changes the size of a page without flushing it from the TLB, and runs code from it,
 * stops the whole machine (CVE-2018-12207), where its second-level translation is one of 2 MiB.
 * signature: EAX of CPUID leaf 1; arch_capabilities: IA32_ARCH_CAPABILITIES, 0 where there is none.
 */
bool errata_page_size_change(u32 signature, u64 arch_capabilities);

#endif
