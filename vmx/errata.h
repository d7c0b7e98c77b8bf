/* SPDX-License-Identifier: MIT */
/* What a CPU does wrong that Weir has to go around. Pure; any context. */
#ifndef VMX_ERRATA_H
#define VMX_ERRATA_H

#include "kernel/base/types.h"

#define ARCH_CAP_RDCL_NO	BIT(0)
#define ARCH_CAP_MDS_NO		BIT(5)
#define ARCH_CAP_PSCHANGE_MC_NO BIT(6)

/*
 * A guest that changes the size of a page without flushing it from the TLB, and runs code from it,
 * stops the whole machine (CVE-2018-12207), where its second-level translation is one of 2 MiB.
 * signature: EAX of CPUID leaf 1; arch_capabilities: IA32_ARCH_CAPABILITIES, 0 where there is none.
 */
bool errata_page_size_change(u32 signature, u64 arch_capabilities);

/* A guest may read what is in the L1 data cache (L1TF, CVE-2018-3646). Arguments as above. */
bool errata_l1tf(u32 signature, u64 arch_capabilities);

/*
 * A guest may read what is left in the buffers of its core (MDS, CVE-2018-12126 and its like), unless
 * they are cleared before it is entered. Arguments as above.
 */
bool errata_mds(u32 signature, u64 arch_capabilities);

/* A guest may steer Weir's branches (Spectre v2, CVE-2017-5715), unless IBRS prevents it. */
bool errata_branch_targets(u32 signature);

/*
 * A guest may read what the other thread of its core works on, by L1TF or by MDS: no flush at an
 * entry helps against that.
 */
bool errata_leaks_to_sibling(u32 signature, u64 arch_capabilities);

/*
 * Bochs 2.7 holds a host interrupt back while a guest that was entered with IF clear keeps it so;
 * there, and where something else is below that may be in it, a guest leaves after a millisecond,
 * before 16 bytes have come in at the serial line. Returns what the VMX-preemption timer is set to,
 * which counts the TSC shifted right.
 */
u32 errata_longest_stay(bool emulated, u64 tsc_khz, u32 shift);

/*
 * Bochs, 2.7 and 3.0: the exit from an interrupt's delivery by the CPU itself tells of the event
 * before it (EPT violation on the stack), and an interrupt of the host's that comes while the guest
 * has IF clear delivers the virtual one that waits. So nobody gets it there unasked.
 */
bool errata_interrupt_delivery(bool bochs);

/*
 * Bochs 2.7 does not restore what XSAVEC saved of vector registers: XRSTOR looks for registers 16 to
 * 31 elsewhere, and refuses the AVX registers with #GP. So guests are not shown XSAVEC there.
 */
bool errata_compacted_xsave(bool bochs);

#endif
