/* SPDX-License-Identifier: MIT */
/* The LAPIC's registers and their bits (SDM 3A table 10-1), and access to them. For smp/ alone. */
#ifndef SMP_APIC_REGS_H
#define SMP_APIC_REGS_H

#include "kernel/base/types.h"

/* Offsets in the memory-mapped page; the x2APIC MSR is 0x800 + offset / 16. */
#define APIC_ID		     0x20
#define APIC_VERSION	     0x30
#define APIC_TPR	     0x80
#define APIC_EOI	     0xb0
#define APIC_SVR	     0xf0
#define APIC_IRR	     0x200
#define APIC_ESR	     0x280
#define APIC_LVT_CMCI	     0x2f0
#define APIC_ICR_LOW	     0x300
#define APIC_ICR_HIGH	     0x310
#define APIC_LVT_TIMER	     0x320
#define APIC_LVT_THERMAL     0x330
#define APIC_LVT_PERFORMANCE 0x340
#define APIC_LVT_LINT0	     0x350
#define APIC_LVT_LINT1	     0x360
#define APIC_LVT_ERROR	     0x370
#define APIC_TIMER_INITIAL   0x380
#define APIC_TIMER_CURRENT   0x390
#define APIC_TIMER_DIVIDE    0x3e0

#define SVR_ENABLE BIT(8)

#define LVT_VECTOR	 0xffu
#define LVT_MODE	 (7u << 8)
#define LVT_SMI		 (2u << 8)
#define LVT_NMI		 (4u << 8)
#define LVT_ACTIVE_LOW	 (1u << 13)
#define LVT_MASKED	 (1u << 16)
#define LVT_TSC_DEADLINE (2u << 17)

#define ICR_FIXED   (0u << 8)
#define ICR_NMI	    (4u << 8)
#define ICR_INIT    (5u << 8)
#define ICR_STARTUP (6u << 8)
#define ICR_PENDING (1u << 12)
#define ICR_ASSERT  (1u << 14)
#define ICR_SELF    (1u << 18)

#define TIMER_DIVIDE_BY_16 3

u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);

#endif
