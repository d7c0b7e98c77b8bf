/* SPDX-License-Identifier: MIT */
/* The local APIC's registers as the guest reaches them, by MMIO and by MSR (SDM 3A 11.4, 11.12). */
#include "kernel/dev/lapic_page.h"

#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/dev/chipset.h"

/* 0x14: integrated; LVT entries less one; EOI broadcasts can be suppressed. */
#define VERSION (0x14u | ((LVT_COUNT - 1) << 16) | (1u << 24))

#define LDR_WRITABLE  0xff000000u
#define DFR_READ_ONES 0x0fffffffu
#define SVR_WRITABLE  (0xffu | SVR_ENABLED | SVR_FOCUS | SVR_QUIET_EOI)
#define DIVIDE_MASK   0xbu

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

/* --- registers that do something --- */

/* A level that no APIC took waits for one that is switched on; nothing else here makes one take it. */
static void write_svr(struct lapic *l, u32 value)
{
	bool was_enabled = l->svr & SVR_ENABLED;

	lapic_before_change(l);
	WRITE_ONCE(l->svr, value & SVR_WRITABLE);
	if (value & SVR_ENABLED) {
		if (!was_enabled)
			lapic_retry_ioapic(l);
		return;
	}
	for (u32 i = 0; i < LVT_COUNT; i++) {
		if (i == LVT_TIMER)
			lapic_timer_set_lvt(l, l->lvt[i] | LVT_MASKED);
		else
			WRITE_ONCE(l->lvt[i], l->lvt[i] | LVT_MASKED);
	}
}

/*
 * What the timer did until now comes before a change of how errors are told; then it goes on, if it
 * waited for one. The store is a full barrier.
 */
static void write_error_lvt(struct lapic *l, u32 value)
{
	lapic_taken(l);
	__atomic_store_n(&l->lvt[LVT_ERROR], value, __ATOMIC_SEQ_CST);
	lapic_taken(l);
}

/* While software has the APIC disabled no entry can be unmasked. */
static void write_lvt(struct lapic *l, enum lapic_lvt i, u32 value)
{
	value &= lvt_writable[i];
	if (!(l->svr & SVR_ENABLED))
		value |= LVT_MASKED;
	if (i == LVT_TIMER)
		lapic_timer_set_lvt(l, value);
	else if (i == LVT_ERROR)
		write_error_lvt(l, value);
	else
		WRITE_ONCE(l->lvt[i], value);
}

/* A write shows what was gathered since the one before, and rearms the error's interrupt. */
static void write_esr(struct lapic *l)
{
	lapic_taken(l);
	l->esr = __atomic_exchange_n(&l->esr_pending, 0, __ATOMIC_SEQ_CST) & ESR_VISIBLE;
	lapic_taken(l);
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
	if ((m.mode == LAPIC_FIXED || m.mode == LAPIC_LOWEST) && m.vector < LAPIC_VECTOR_MIN) {
		lapic_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	lapic_send(l->v->vm, &m, l);
}

static void write_icr(struct lapic *l, u32 low, u32 high)
{
	bool wide = lapic_is_x2apic(l);

	low &= ICR_WRITABLE;
	lapic_put_icr(l, low, wide ? high : 0);
	send_ipi(l, low, wide ? high : high >> 24, wide);
}

/* --- one register --- */

static bool lvt_of(u32 reg, enum lapic_lvt *i)
{
	if (reg < REG_LVT_TIMER || reg > REG_LVT_ERROR)
		return false;
	*i = (enum lapic_lvt)(reg - REG_LVT_TIMER);
	return true;
}

/*
 * For the guest to see. Where the CPU takes posted interrupts itself it knows of those that are
 * gathered only when the thread has told it, and an exit for a register may go back to the guest
 * without that.
 */
static void gather_to_read(struct lapic *l)
{
	lapic_gather(l);
	if (unlikely(l->posts && l->stale))
		vcpu_request(l->v, VCPU_REQ_KICK);
}

/* Registers that both modes have and that read. False: there is none. */
static bool read_register(struct lapic *l, u32 reg, u32 *value)
{
	switch (reg) {
	case REG_ID:
		*value = lapic_is_x2apic(l) ? l->v->id : l->id;
		return true;
	case REG_VERSION:
		*value = VERSION;
		return true;
	case REG_TPR:
		*value = lapic_get(l, reg);
		return true;
	case REG_PPR:
		*value = lapic_ppr(l);
		return true;
	case REG_LDR:
		*value = lapic_is_x2apic(l) ? lapic_x2apic_ldr(l) : l->ldr;
		return true;
	case REG_SVR:
		*value = l->svr;
		return true;
	case REG_ISR ... REG_ESR - 1:
		gather_to_read(l);
		*value = lapic_get(l, reg);
		return true;
	case REG_ESR:
		*value = l->esr;
		return true;
	case REG_ICR_LOW:
		*value = lapic_get(l, reg);
		return true;
	case REG_LVT_TIMER ... REG_LVT_ERROR:
		*value = l->lvt[reg - REG_LVT_TIMER];
		return true;
	case REG_INITIAL_COUNT:
		*value = l->initial_count;
		return true;
	case REG_CURRENT_COUNT:
		*value = lapic_timer_current(l);
		return true;
	case REG_DIVIDE:
		*value = l->divide_register;
		return true;
	}
	return false;
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
		lapic_put(l, REG_TPR, value & 0xff);
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
		gather_to_read(l);
		return lapic_apr(l);
	case REG_RRD:
	case REG_EOI:
		return 0;
	case REG_DFR:
		return l->dfr;
	case REG_ICR_HIGH:
		return lapic_get(l, reg);
	}
	if (!read_register(l, reg, &value))
		lapic_error(l, ESR_ILLEGAL_REGISTER);
	return value;
}

/* --- what the CPU reads by itself --- */

static void show(struct lapic *l, u32 reg)
{
	u32 value;

	if (reg == REG_DFR)
		lapic_put(l, reg, l->dfr);
	else if (read_register(l, reg, &value))
		lapic_put(l, reg, value);
}

/* PPR the CPU works out by itself, and a counter's value is never the page's. */
void lapic_show_all(struct lapic *l)
{
	static const u8 shown[] = {
		REG_ID,	       REG_VERSION,   REG_LDR,		 REG_DFR,      REG_SVR,
		REG_ESR,       REG_LVT_TIMER, REG_LVT_THERMAL,	 REG_LVT_PERF, REG_LVT_LINT0,
		REG_LVT_LINT1, REG_LVT_ERROR, REG_INITIAL_COUNT, REG_DIVIDE};

	for (u32 i = 0; l->shown && i < ARRAY_SIZE(shown); i++)
		show(l, shown[i]);
}

/* What switched the APIC off has masked all of the local vector table. */
static void show_written(struct lapic *l, u32 reg)
{
	/* Nothing is read there. */
	if (reg == REG_EOI)
		return;
	if (reg == REG_SVR && !(l->svr & SVR_ENABLED))
		lapic_show_all(l);
	else
		show(l, reg);
}

static bool is_read_only(u32 reg)
{
	return reg == REG_VERSION || (reg >= REG_APR && reg <= REG_PPR) || reg == REG_RRD ||
	       (reg >= REG_ISR && reg < REG_ESR) || reg == REG_CURRENT_COUNT;
}

static void write_xapic(struct lapic *l, u32 reg, u32 value)
{
	switch (reg) {
	case REG_ID:
		lapic_before_change(l);
		WRITE_ONCE(l->id, value & LDR_WRITABLE);
		lapic_retry_ioapic(l);
		return;
	case REG_LDR:
		lapic_before_change(l);
		WRITE_ONCE(l->ldr, value & LDR_WRITABLE);
		lapic_retry_ioapic(l);
		return;
	case REG_DFR:
		lapic_before_change(l);
		WRITE_ONCE(l->dfr, value | DFR_READ_ONES);
		lapic_retry_ioapic(l);
		return;
	case REG_ICR_LOW:
		write_icr(l, value, lapic_get(l, REG_ICR_HIGH));
		return;
	case REG_ICR_HIGH:
		lapic_put(l, reg, value & ICR_HIGH_WRITABLE);
		return;
	}
	if (!write_register(l, reg, value) && !is_read_only(reg))
		lapic_error(l, ESR_ILLEGAL_REGISTER);
}

static void xapic_write(struct lapic *l, u32 reg, u32 value)
{
	write_xapic(l, reg, value);
	if (l->shown)
		show_written(l, reg);
}

/*
 * What is in the page is the guest's as it wrote it, until this is done. Nobody but this thread and
 * the guest's CPU reads those registers there.
 */
void lapic_page_written(struct lapic *l, u32 offset)
{
	u32 reg = offset >> LAPIC_REGISTER_SHIFT;

	if (lapic_is_x2apic(l))
		(void)lapic_x2apic_write(l, reg, lapic_get(l, reg));
	else
		xapic_write(l, reg, lapic_get(l, reg));
}

/* Apart, as in lapic_eoi: what the guest ended in its memory comes before what it reads. */
static bool __noinline settle_and_access(struct lapic *l, gpa_t gpa, u32 size, bool write,
					 u64 *value)
{
	lapic_pv_eoi_take_back(l);
	return lapic_mmio(l, gpa, size, write, value);
}

/*
 * Registers are 32 bits wide at multiples of 16 (SDM 3A 11.4.1). A narrower read inside the four
 * bytes gets its part; every other access is undefined there and does nothing here.
 */
bool lapic_mmio(struct lapic *l, gpa_t gpa, u32 size, bool write, u64 *value)
{
	u64 base = l->apic_base, offset = gpa.v - (base & PAGE_MASK);
	u32 reg = (u32)offset >> LAPIC_REGISTER_SHIFT, at = offset & 0xf;

	if (unlikely(l->pv_eoi_offered))
		return settle_and_access(l, gpa, size, write, value);
	if ((base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) != APIC_BASE_ENABLE ||
	    offset >= PAGE_SIZE)
		return false;
	if (write) {
		if (at == 0 && size == 4)
			xapic_write(l, reg, (u32)*value);
		return true;
	}
	if (likely(at == 0 && size == 4)) {
		*value = xapic_read(l, reg);
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

static int __noinline settle_and_read(struct lapic *l, u32 reg, u64 *value)
{
	lapic_pv_eoi_take_back(l);
	return lapic_x2apic_read(l, reg, value);
}

int lapic_x2apic_read(struct lapic *l, u32 reg, u64 *value)
{
	u32 low;

	if (unlikely(l->pv_eoi_offered))
		return settle_and_read(l, reg, value);
	if (!lapic_is_x2apic(l) || !read_register(l, reg, &low))
		return ERR_FAULT;
	*value = low;
	if (reg == REG_ICR_LOW)
		*value |= (u64)lapic_icr_high_x2apic(l) << 32;
	return 0;
}

static int write_x2apic(struct lapic *l, u32 reg, u64 value)
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

int lapic_x2apic_write(struct lapic *l, u32 reg, u64 value)
{
	int err = write_x2apic(l, reg, value);

	if (!err && l->shown)
		show_written(l, reg);
	return err;
}
