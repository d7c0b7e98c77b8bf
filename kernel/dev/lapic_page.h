/* SPDX-License-Identifier: MIT */
/*
 * A local APIC's registers by number, and the page that holds some of them as the CPU's virtual-APIC
 * page does (SDM 3A table 11-1, 3C 30.1): IRR, ISR, TMR, TPR and ICR are there and nowhere else,
 * whether a CPU uses the page or not. The vCPU's own thread alone writes it, and the CPU while it runs the
 * guest; others may read, and find what was there a moment ago.
 */
#ifndef KERNEL_DEV_LAPIC_PAGE_H
#define KERNEL_DEV_LAPIC_PAGE_H

#include "kernel/dev/lapic.h"

/* xAPIC has them 16 bytes apart, x2APIC one MSR apart from 0x800. */
enum lapic_register {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR_LOW = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT_TIMER = 0x32,
	REG_LVT_THERMAL = 0x33,
	REG_LVT_PERF = 0x34,
	REG_LVT_LINT0 = 0x35,
	REG_LVT_LINT1 = 0x36,
	REG_LVT_ERROR = 0x37,
	REG_INITIAL_COUNT = 0x38,
	REG_CURRENT_COUNT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

#define LAPIC_REGISTER_SHIFT 4
#define LAPIC_REGISTER_WORDS 4 /* from one register to the next */

static inline u32 *lapic_word(const struct lapic *l, u32 reg)
{
	return &l->page[reg * LAPIC_REGISTER_WORDS];
}

static inline u32 lapic_get(const struct lapic *l, u32 reg)
{
	return READ_ONCE(*lapic_word(l, reg));
}

static inline void lapic_put(struct lapic *l, u32 reg, u32 value)
{
	WRITE_ONCE(*lapic_word(l, reg), value);
}

/* In x2APIC mode ICR is one register of 64 bits; in xAPIC mode its upper half is REG_ICR_HIGH. */
static inline void lapic_put_icr(struct lapic *l, u32 low, u32 high_x2apic)
{
	lapic_put(l, REG_ICR_LOW, low);
	WRITE_ONCE(lapic_word(l, REG_ICR_LOW)[1], high_x2apic);
}

static inline u32 lapic_icr_high_x2apic(const struct lapic *l)
{
	return READ_ONCE(lapic_word(l, REG_ICR_LOW)[1]);
}

#endif
