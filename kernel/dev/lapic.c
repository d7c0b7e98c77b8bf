/* SPDX-License-Identifier: MIT */
/* The local APIC's life: power-on, IA32_APIC_BASE (SDM 3A 11.4.3, 11.12.5), and its MSRs. */
#include "kernel/dev/lapic_page.h"

#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "kernel/dev/chipset.h"
#include "mem/slab.h"
#include "vmx/apicv.h"
#include "vmx/posted.h"

#define APIC_BASE_DEFAULT PLATFORM_LAPIC_BASE
#define PHYS_BITS_DEFAULT 36

#define ID_XAPIC_SHIFT 24
#define SVR_POWER_ON   0xffu

static_assert(offsetof(struct lapic, posted) == 0, "a frame's beginning");
static_assert(offsetof(struct lapic, posted.words) == offsetof(struct posted_descriptor, control) &&
		      offsetof(struct lapic, rest) + sizeof(((struct lapic *)0)->rest) ==
			      sizeof(struct posted_descriptor),
	      "as the CPU reads it");
static_assert(LAPIC_ON == POSTED_ON, "one bit");

/* The summary first: one that comes meanwhile sets it anew, after its vector. */
static void reset_vectors(struct lapic_vectors *set)
{
	__atomic_store_n(&set->words, 0, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < LAPIC_VECTOR_WORDS; i++)
		__atomic_store_n(&set->word[i], 0, __ATOMIC_SEQ_CST);
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
	lapic_put(l, REG_TPR, 0);
	lapic_put_icr(l, 0, 0);
	lapic_put(l, REG_ICR_HIGH, 0);
	l->esr = 0;
	__atomic_store_n(&l->esr_pending, 0, __ATOMIC_SEQ_CST);
	reset_vectors(&l->posted);
	reset_vectors(&l->held);
	for (u32 i = 0; i < LAPIC_VECTOR_WORDS; i++) {
		lapic_put(l, REG_ISR + i, 0);
		lapic_put(l, REG_IRR + i, 0);
		lapic_put(l, REG_TMR + i, 0);
	}
	l->irr_words = 0;
	l->isr_words = 0;
	l->stale = true;
}

/* vCPU 0 finds what a PC's firmware leaves: PIC through LINT0, NMI at LINT1 (MP 1.4, 3.6.2.2). */
void lapic_power_on(struct lapic *l)
{
	bool boot = l->v->id == 0;

	reset_registers(l);
	WRITE_ONCE(l->apic_base, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (boot ? APIC_BASE_BSP : 0));
	__atomic_store_n(&l->nmi_pending, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&l->start_up, 0, __ATOMIC_SEQ_CST);
	if (boot) {
		l->svr = SVR_POWER_ON | SVR_ENABLED;
		WRITE_ONCE(l->lvt[LVT_LINT0], LAPIC_EXTINT << LVT_MODE_SHIFT);
		WRITE_ONCE(l->lvt[LVT_LINT1], LAPIC_NMI << LVT_MODE_SHIFT);
	}
	lapic_show_all(l);
}

static u64 physical_bits(void)
{
	u32 bits = PHYS_BITS_DEFAULT;

	if (cpuid(0x80000000, 0).eax >= 0x80000008)
		bits = cpuid(0x80000008, 0).eax & 0xff;
	return min(max(bits, (u32)PHYS_BITS_DEFAULT), 52u);
}

static_assert(sizeof(struct lapic) <= PAGE_SIZE, "it begins a frame and has room there");

int lapic_create(struct vcpu *v, struct lapic **out)
{
	u64 known = APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE;
	/* The descriptor begins a frame, in which the rest has room. */
	u64 size = vmx_apicv() >= VMX_APICV_POSTED ? PAGE_SIZE : sizeof(struct lapic);
	struct lapic *l = kmalloc(size);

	if (!l)
		return ERR_NOMEM;
	l->page = kmalloc(PAGE_SIZE); /* as large as a frame it is one */
	if (!l->page) {
		kfree(l);
		return ERR_NOMEM;
	}
	l->v = v;
	l->shown = vmx_apicv() >= VMX_APICV_REGISTERS;
	l->by_cpu = vmx_apicv() >= VMX_APICV_FULL && v->vm->mmu.kind != MMU_SHADOW;
	l->posts = l->by_cpu && vmx_apicv() >= VMX_APICV_POSTED;
	l->base_reserved = ~(((BIT(physical_bits()) - 1) & PAGE_MASK) | known);
	lapic_timer_init(l);
	lapic_power_on(l);
	*out = l;
	return 0;
}

void lapic_destroy(struct lapic *l)
{
	lapic_timer_reset(l); /* or it might arm itself once more while it is cancelled */
	lapic_timer_cancel(l);
	kfree(l->page);
	kfree(l);
}

void lapic_init(struct lapic *l)
{
	u32 id = l->id;

	lapic_before_taking(l);
	reset_registers(l);
	__atomic_store_n(&l->nmi_pending, false, __ATOMIC_SEQ_CST);
	WRITE_ONCE(l->id, id);
	lapic_taken(l);
	lapic_show_all(l);
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
	lapic_before_change(l);
	WRITE_ONCE(l->apic_base, value);
	if (was_on && !on)
		reset_registers(l);
	if (x2 && !was_x2)
		lapic_put_icr(l, lapic_get(l, REG_ICR_LOW), 0);
	lapic_show_all(l);
	if (on)
		lapic_retry_ioapic(l);
	return 0;
}

/* --- MSRs --- */

static int __noinline read_deadline(struct lapic *l, u64 *value)
{
	*value = lapic_timer_deadline(l);
	return 0;
}

int lapic_rdmsr(struct lapic *l, u32 index, u64 *value)
{
	switch (index) {
	case MSR_IA32_APIC_BASE:
		*value = l->apic_base;
		return 0;
	case MSR_IA32_TSC_DEADLINE:
		return read_deadline(l, value);
	}
	return lapic_x2apic_read(l, index - MSR_X2APIC_BASE, value);
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
	return lapic_x2apic_write(l, index - MSR_X2APIC_BASE, value);
}
