/* SPDX-License-Identifier: MIT */
/* The local APIC's registers, by MMIO and by MSR (SDM 3A 11.4, 11.12). */
#include "kernel/dev/lapic.h"

#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/dev/chipset.h"
#include "mem/slab.h"

/* Register numbers: xAPIC has them 16 bytes apart, x2APIC one MSR apart from 0x800. */
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

/* 0x14: integrated; LVT entries less one; EOI broadcasts can be suppressed. */
#define VERSION (0x14u | ((LVT_COUNT - 1) << 16) | (1u << 24))

#define REGISTER_SHIFT 4
#define X2APIC_MSRS    0x100

#define APIC_BASE_ADDRESS PAGE_MASK
#define APIC_BASE_DEFAULT PLATFORM_LAPIC_BASE
#define PHYS_BITS_DEFAULT 36

#define ID_XAPIC_SHIFT 24
#define LDR_WRITABLE   0xff000000u
#define DFR_READ_ONES  0x0fffffffu
#define SVR_WRITABLE   (0xffu | SVR_ENABLED | SVR_FOCUS | SVR_QUIET_EOI)
#define SVR_POWER_ON   0xffu
#define DIVIDE_MASK    0xbu

#define ICR_VECTOR	    0xffu
#define ICR_MODE_SHIFT	    8
#define ICR_LOGICAL	    (1u << 11)
#define ICR_BUSY	    (1u << 12)
#define ICR_ASSERT	    (1u << 14)
#define ICR_LEVEL	    (1u << 15)
#define ICR_SHORTHAND_SHIFT 18
#define ICR_WRITABLE	    0xccfffu
#define ICR_HIGH_WRITABLE   0xff000000u

#define LVT_STATUS     (1u << 12)
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_READ_ONLY  (LVT_STATUS | LVT_REMOTE_IRR)

static const u32 lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
	[LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,	[LVT_ERROR] = 0x100ff,
};

/* --- states --- */

static void reset_vectors(u32 *words)
{
	for (u32 i = 0; i < LAPIC_VECTOR_WORDS; i++)
		__atomic_store_n(&words[i], 0, __ATOMIC_SEQ_CST);
}

/* SDM 3A 11.4.7.1: after power-up, and after the APIC was switched off. */
static void reset_registers(struct lapic *l)
{
	lapic_timer_reset(l);
	for (u32 i = 0; i < LVT_COUNT; i++)
		WRITE_ONCE(l->lvt[i], LVT_MASKED);
	l->id = l->v->id << ID_XAPIC_SHIFT;
	l->ldr = 0;
	l->dfr = ~0u;
	l->svr = SVR_POWER_ON;
	l->tpr = 0;
	l->icr_low = 0;
	l->icr_high = 0;
	l->esr = 0;
	__atomic_store_n(&l->esr_pending, 0, __ATOMIC_SEQ_CST);
	reset_vectors(l->isr);
	reset_vectors(l->irr);
	reset_vectors(l->tmr);
}

/* vCPU 0 finds what a PC's firmware leaves: PIC through LINT0, NMI at LINT1 (MP 1.4, 3.6.2.2). */
void lapic_power_on(struct lapic *l)
{
	bool boot = l->v->id == 0;

	reset_registers(l);
	WRITE_ONCE(l->apic_base, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (boot ? APIC_BASE_BSP : 0));
	__atomic_store_n(&l->nmi_pending, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&l->init_pending, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&l->sipi_vector, LAPIC_NO_SIPI, __ATOMIC_SEQ_CST);
	if (!boot)
		return;
	l->svr = SVR_POWER_ON | SVR_ENABLED;
	WRITE_ONCE(l->lvt[LVT_LINT0], LAPIC_EXTINT << LVT_MODE_SHIFT);
	WRITE_ONCE(l->lvt[LVT_LINT1], LAPIC_NMI << LVT_MODE_SHIFT);
}

static u64 physical_bits(void)
{
	u32 bits = PHYS_BITS_DEFAULT;

	if (cpuid(0x80000000, 0).eax >= 0x80000008)
		bits = cpuid(0x80000008, 0).eax & 0xff;
	return min(max(bits, (u32)PHYS_BITS_DEFAULT), 52u);
}

int lapic_create(struct vcpu *v, struct lapic **out)
{
	u64 known = APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE;
	struct lapic *l = kmalloc(sizeof(*l));

	if (!l)
		return ERR_NOMEM;
	l->v = v;
	l->base_reserved = ~(((BIT(physical_bits()) - 1) & APIC_BASE_ADDRESS) | known);
	lapic_timer_init(l);
	lapic_power_on(l);
	*out = l;
	return 0;
}

void lapic_destroy(struct lapic *l)
{
	lapic_timer_cancel(l);
	kfree(l);
}

static void retry_ioapic(struct lapic *l)
{
	struct platform *p = l->v->vm->platform;
	bool on = spin_lock_irqsave(&p->lock);

	ioapic_retry(&p->ioapic);
	spin_unlock_irqrestore(&p->lock, on);
}

/* In x2APIC mode the logical ID follows from the ID (SDM 3A 11.12.10.2). */
static void enter_x2apic(struct lapic *l)
{
	l->icr_high = 0;
	WRITE_ONCE(l->id, l->v->id);
	WRITE_ONCE(l->ldr, ((l->v->id >> 4) << 16) | (1u << (l->v->id & 0xf)));
}

/*
 * The transitions of SDM 3A figure 11-27: x2APIC is entered from xAPIC only, and left only to off.
 * EXTD without EN is no state at all.
 */
static int write_apic_base(struct lapic *l, u64 value)
{
	bool was_on = lapic_enabled(l), was_x2 = lapic_is_x2apic(l);
	bool on = value & APIC_BASE_ENABLE, x2 = value & APIC_BASE_X2APIC;

	if ((value & l->base_reserved) || (x2 && !on))
		return ERR_FAULT;
	if ((x2 && !was_on) || (was_x2 && on && !x2))
		return ERR_FAULT;
	WRITE_ONCE(l->apic_base, value);
	if (was_on && !on)
		reset_registers(l);
	if (x2 && !was_x2)
		enter_x2apic(l);
	if (on)
		retry_ioapic(l);
	return 0;
}

/* --- registers that do something --- */

static void write_svr(struct lapic *l, u32 value)
{
	WRITE_ONCE(l->svr, value & SVR_WRITABLE);
	if (value & SVR_ENABLED) {
		retry_ioapic(l);
		return;
	}
	for (u32 i = 0; i < LVT_COUNT; i++) {
		if (i == LVT_TIMER)
			lapic_timer_set_lvt(l, l->lvt[i] | LVT_MASKED);
		else
			WRITE_ONCE(l->lvt[i], l->lvt[i] | LVT_MASKED);
	}
}

/* While software has the APIC disabled no entry can be unmasked. */
static void write_lvt(struct lapic *l, enum lapic_lvt i, u32 value)
{
	value &= lvt_writable[i];
	if (!(l->svr & SVR_ENABLED))
		value |= LVT_MASKED;
	if (i == LVT_TIMER)
		lapic_timer_set_lvt(l, value);
	else
		WRITE_ONCE(l->lvt[i], value);
}

/* A write shows what was gathered since the one before. */
static void write_esr(struct lapic *l)
{
	l->esr = __atomic_exchange_n(&l->esr_pending, 0, __ATOMIC_SEQ_CST);
}

static void send_ipi(struct lapic *l, u32 low, u32 dest, bool wide)
{
	struct lapic_message m = {
		.mode = (low >> ICR_MODE_SHIFT) & 7,
		.vector = (u8)(low & ICR_VECTOR),
		.shorthand = (low >> ICR_SHORTHAND_SHIFT) & 3,
		.logical = low & ICR_LOGICAL,
		.wide = wide,
		.dest = dest,
	};
	bool to_self = m.shorthand == LAPIC_DEST_SELF || m.shorthand == LAPIC_DEST_ALL;

	if (m.mode == LAPIC_EXTINT)
		return;
	/* INIT level de-assert: nothing since the Pentium 4. */
	if (m.mode == LAPIC_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
		return;
	if ((m.mode == LAPIC_INIT || m.mode == LAPIC_STARTUP) && to_self)
		return;
	if ((m.mode == LAPIC_FIXED || m.mode == LAPIC_LOWEST) && m.vector < 16) {
		lapic_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	lapic_send(l->v->vm, &m, l);
}

static void write_icr(struct lapic *l, u32 low, u32 high)
{
	bool wide = lapic_is_x2apic(l);

	l->icr_low = low & ICR_WRITABLE;
	l->icr_high = high;
	send_ipi(l, l->icr_low, wide ? high : high >> 24, wide);
}

/* --- one register --- */

static bool lvt_of(u32 reg, enum lapic_lvt *i)
{
	if (reg < REG_LVT_TIMER || reg > REG_LVT_ERROR)
		return false;
	*i = (enum lapic_lvt)(reg - REG_LVT_TIMER);
	return true;
}

/* Registers that both modes have and that read. False: there is none. */
static bool read_register(struct lapic *l, u32 reg, u32 *value)
{
	enum lapic_lvt i;

	if (reg >= REG_ISR && reg < REG_ESR) {
		u32 *words = reg < REG_TMR ? l->isr : reg < REG_IRR ? l->tmr : l->irr;

		*value = __atomic_load_n(&words[reg & 7], __ATOMIC_SEQ_CST);
	} else if (lvt_of(reg, &i)) {
		*value = l->lvt[i];
	} else if (reg == REG_ID) {
		*value = l->id;
	} else if (reg == REG_VERSION) {
		*value = VERSION;
	} else if (reg == REG_TPR) {
		*value = l->tpr;
	} else if (reg == REG_PPR) {
		*value = lapic_ppr(l);
	} else if (reg == REG_LDR) {
		*value = l->ldr;
	} else if (reg == REG_SVR) {
		*value = l->svr;
	} else if (reg == REG_ESR) {
		*value = l->esr;
	} else if (reg == REG_ICR_LOW) {
		*value = l->icr_low;
	} else if (reg == REG_INITIAL_COUNT) {
		*value = l->initial_count;
	} else if (reg == REG_CURRENT_COUNT) {
		*value = lapic_timer_current(l);
	} else if (reg == REG_DIVIDE) {
		*value = l->divide_register;
	} else {
		return false;
	}
	return true;
}

/* Registers that both modes have and that are written alike. False: there is none. */
static bool write_register(struct lapic *l, u32 reg, u32 value)
{
	enum lapic_lvt i;

	if (lvt_of(reg, &i)) {
		write_lvt(l, i, value);
		return true;
	}
	switch (reg) {
	case REG_TPR:
		WRITE_ONCE(l->tpr, value & 0xff);
		return true;
	case REG_EOI:
		lapic_eoi(l);
		return true;
	case REG_SVR:
		write_svr(l, value);
		return true;
	case REG_ESR:
		write_esr(l);
		return true;
	case REG_INITIAL_COUNT:
		lapic_timer_set_initial(l, value);
		return true;
	case REG_DIVIDE:
		lapic_timer_set_divide(l, value & DIVIDE_MASK);
		return true;
	}
	return false;
}

/* --- xAPIC --- */

static u32 xapic_read(struct lapic *l, u32 reg)
{
	u32 value = 0;

	switch (reg) {
	case REG_APR:
		return lapic_apr(l);
	case REG_RRD:
	case REG_EOI:
		return 0;
	case REG_DFR:
		return l->dfr;
	case REG_ICR_HIGH:
		return l->icr_high;
	}
	if (!read_register(l, reg, &value))
		lapic_error(l, ESR_ILLEGAL_REGISTER);
	return value;
}

static bool is_read_only(u32 reg)
{
	return reg == REG_VERSION || (reg >= REG_APR && reg <= REG_PPR) || reg == REG_RRD ||
	       (reg >= REG_ISR && reg < REG_ESR) || reg == REG_CURRENT_COUNT;
}

static void xapic_write(struct lapic *l, u32 reg, u32 value)
{
	switch (reg) {
	case REG_ID:
		WRITE_ONCE(l->id, value & LDR_WRITABLE);
		retry_ioapic(l);
		return;
	case REG_LDR:
		WRITE_ONCE(l->ldr, value & LDR_WRITABLE);
		retry_ioapic(l);
		return;
	case REG_DFR:
		WRITE_ONCE(l->dfr, value | DFR_READ_ONES);
		retry_ioapic(l);
		return;
	case REG_ICR_LOW:
		write_icr(l, value, l->icr_high);
		return;
	case REG_ICR_HIGH:
		l->icr_high = value & ICR_HIGH_WRITABLE;
		return;
	}
	if (!write_register(l, reg, value) && !is_read_only(reg))
		lapic_error(l, ESR_ILLEGAL_REGISTER);
}

/*
 * Registers are 32 bits wide at multiples of 16 (SDM 3A 11.4.1). A narrower read inside the four
 * bytes gets its part; every other access is undefined there and does nothing here.
 */
bool lapic_mmio(struct lapic *l, gpa_t gpa, u32 size, bool write, u64 *value)
{
	u64 offset = gpa.v - (l->apic_base & APIC_BASE_ADDRESS);
	u32 reg = (u32)offset >> REGISTER_SHIFT, at = offset & 0xf;

	if (!lapic_enabled(l) || lapic_is_x2apic(l) || offset >= PAGE_SIZE)
		return false;
	if (write) {
		if (at == 0 && size == 4)
			xapic_write(l, reg, (u32)*value);
		return true;
	}
	*value = 0;
	if (at + size <= 4)
		*value = (xapic_read(l, reg) >> (at * 8)) & (BIT(size * 8) - 1);
	return true;
}

/* --- x2APIC --- */

/* What a register takes; 0: it is not written, or there is none. */
static u32 x2apic_writable(u32 reg)
{
	enum lapic_lvt i;

	if (lvt_of(reg, &i))
		return lvt_writable[i] | LVT_READ_ONLY;
	switch (reg) {
	case REG_TPR:
	case REG_SELF_IPI:
		return 0xff;
	case REG_SVR:
		return SVR_WRITABLE;
	case REG_INITIAL_COUNT:
		return ~0u;
	case REG_DIVIDE:
		return DIVIDE_MASK;
	}
	return 0;
}

static int x2apic_read(struct lapic *l, u32 reg, u64 *value)
{
	u32 low;

	if (!lapic_is_x2apic(l) || !read_register(l, reg, &low))
		return ERR_FAULT;
	*value = low;
	if (reg == REG_ICR_LOW)
		*value |= (u64)l->icr_high << 32;
	return 0;
}

static int x2apic_write(struct lapic *l, u32 reg, u64 value)
{
	if (!lapic_is_x2apic(l))
		return ERR_FAULT;
	if (reg == REG_ICR_LOW) {
		if ((u32)value & ~(ICR_WRITABLE | ICR_BUSY))
			return ERR_FAULT;
		write_icr(l, (u32)value, (u32)(value >> 32));
		return 0;
	}
	/* EOI and ESR take a zero and nothing else. */
	if (value & ~(u64)x2apic_writable(reg))
		return ERR_FAULT;
	if (reg == REG_SELF_IPI) {
		send_ipi(l, (LAPIC_DEST_SELF << ICR_SHORTHAND_SHIFT) | (u32)value, 0, true);
		return 0;
	}
	return write_register(l, reg, (u32)value) ? 0 : ERR_FAULT;
}

/* --- MSRs and CR8 --- */

bool lapic_owns_msr(u32 index)
{
	return index == MSR_IA32_APIC_BASE || index == MSR_IA32_TSC_DEADLINE ||
	       (index >= MSR_X2APIC_BASE && index < MSR_X2APIC_BASE + X2APIC_MSRS);
}

int lapic_rdmsr(struct lapic *l, u32 index, u64 *value)
{
	switch (index) {
	case MSR_IA32_APIC_BASE:
		*value = l->apic_base;
		return 0;
	case MSR_IA32_TSC_DEADLINE:
		*value = lapic_timer_deadline(l);
		return 0;
	}
	return x2apic_read(l, index - MSR_X2APIC_BASE, value);
}

int lapic_wrmsr(struct lapic *l, u32 index, u64 value)
{
	switch (index) {
	case MSR_IA32_APIC_BASE:
		return write_apic_base(l, value);
	case MSR_IA32_TSC_DEADLINE:
		lapic_timer_set_deadline(l, value);
		return 0;
	}
	return x2apic_write(l, index - MSR_X2APIC_BASE, value);
}

u64 lapic_cr8(const struct lapic *l)
{
	return l->tpr >> 4;
}

void lapic_set_cr8(struct lapic *l, u64 cr8)
{
	WRITE_ONCE(l->tpr, (u32)(cr8 & 0xf) << 4);
}
