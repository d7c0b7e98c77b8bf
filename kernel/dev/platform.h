/* SPDX-License-Identifier: MIT */
/*
 * The PC that a guest sees: makes all of a VM's devices and wires them, and what the rest of
 * kernel/ asks of them. Interrupt lines and interrupt acceptance may be used in any context (short
 * spin locks, LOCK_IRQCHIP and LOCK_LAPIC); everything else in thread context.
 */
#ifndef KERNEL_DEV_PLATFORM_H
#define KERNEL_DEV_PLATFORM_H

#include "kernel/dev/device.h"

#define PLATFORM_LAPIC_BASE  0xfee00000ull
#define PLATFORM_IOAPIC_BASE 0xfec00000ull
#define PLATFORM_IOAPIC_PINS 24
/* RAM ends below, and goes on at 4 GiB. */
#define PLATFORM_AREA_BASE  PLATFORM_IOAPIC_BASE
#define PLATFORM_AREA_SIZE  (PLATFORM_LAPIC_BASE + 0x1000 - PLATFORM_AREA_BASE)
#define PLATFORM_PM_BASE    0x600 /* PM1a event/control block (ACPI 6.4 4.8.3) */
#define PLATFORM_PM_TIMER   0x608 /* 3.579545 MHz, 32 bits */
#define PLATFORM_PM_CONTROL 0x604 /* SLP_EN with SLP_TYP 5: power-off */
#define PLATFORM_SLP_TYP_S5 5
#define PLATFORM_SCI_IRQ    9
#define PLATFORM_RESET_PORT 0xcf9
#define PLATFORM_DEBUG_EXIT 0xf4

struct platform; /* owns all devices of a VM */

/* Thread context. Registers everything on vm->bus. ERR_NOMEM. */
int platform_create(struct vm *vm, struct platform **out);
void platform_destroy(struct platform *p);
void platform_reset(struct platform *p);

/*
 * Sets an interrupt line (GSI; ISA interrupts 0-15 go to PIC and IOAPIC alike, with IRQ 0 on
 * IOAPIC pin 2). Any context.
 */
void platform_irq(struct platform *p, u32 gsi, bool level);

/*
 * While vm->paused no device arms a timer of its own accord again: one that was armed fires at most
 * once. Resuming lets each do what came due, and arm. Any context.
 */
void platform_resume(struct platform *p);

/* The NMI button: LINT1 of every local APIC (the CPU's own pin, where the APIC is off). */
void platform_nmi(struct platform *p);

/* Bytes typed by the person reach the guest's 16550. Returns how many it took. Thread context. */
u32 platform_console_input(struct platform *p, const u8 *bytes, u32 count);

/*
 * Writes out what the guest has printed and the UART still gathers: before a VM that crashed
 * loses its console. Thread context.
 */
void platform_console_flush(struct platform *p);

/* Is a vector waiting that the vCPU would take now (LAPIC above PPR, or ExtINT from the PIC)? */
bool platform_interrupt_pending(struct vcpu *v);
bool platform_extint_pending(struct vcpu *v); /* the latter */
/* Takes what is to be injected: IRR to ISR, or the PIC's INTA cycle. Vector, or -1 where it is gone. */
int platform_interrupt_ack(struct vcpu *v);
bool platform_nmi_take(struct vcpu *v); /* an NMI is pending; taken */

/*
 * INIT and start-up IPIs for the vCPU. pending: take would find some. taken: what there was, INIT
 * before SIPI. After an INIT its local APIC is to be reset by platform_init. Own thread.
 */
struct platform_start_up {
	bool init, sipi;
	u8 vector;
};
bool platform_start_up_pending(struct vcpu *v);
struct platform_start_up platform_start_up_take(struct vcpu *v);
void platform_init(struct vcpu *v);

/* Local APIC by MSR: IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC 0x800-0x8ff. 0 or ERR_FAULT: #GP. */
int platform_rdmsr(struct vcpu *v, u32 index, u64 *value);
int platform_wrmsr(struct vcpu *v, u32 index, u64 value);
bool platform_owns_msr(u32 index);
u64 platform_apic_base(struct vcpu *v); /* where the xAPIC page is and whether it is on */
/* MMIO inside the LAPIC page of this vCPU: true when done. */
bool platform_lapic_mmio(struct vcpu *v, gpa_t gpa, u32 size, bool write, u64 *value);

/* The registers that vmx_config.apic_page is for. */
void *platform_apic_page(struct vcpu *v);
/* What vmx_config.posted is for: NULL where the CPU posts nothing. */
void *platform_posted(struct vcpu *v);
/*
 * Where the CPU delivers the local APIC's interrupts by itself (VMX_APICV_FULL): what it is to be
 * told before the next entry; false: nothing new. Only what is not the local APIC's is to be
 * injected then. Own thread.
 */
struct platform_apic_state {
	u8 requested, in_service;
	u32 level[8];
};
bool platform_apic_load(struct vcpu *v, struct platform_apic_state *out);
/* An interrupt is to be injected, once the guest takes one. Own thread. */
bool platform_injection_pending(struct vcpu *v);
/* An exit that was answered at once left something for the loop. Own thread. */
bool platform_wants_look(struct vcpu *v);
/* The APIC is in x2APIC mode. */
bool platform_is_x2apic(struct vcpu *v);
/* For vmx_set_tpr_threshold. Own thread. */
u32 platform_tpr_threshold(struct vcpu *v);
/* The guest moved this vCPU's TSC: a deadline on it is another moment now. Own thread. */
void platform_tsc_moved(struct vcpu *v);
/* Work that interrupt context left for the vCPU's thread (timers that fired). */
void platform_vcpu_poll(struct vcpu *v);

/* Each vCPU's local APIC: made by platform_vcpu_create before it runs. ERR_NOMEM. */
int platform_vcpu_create(struct vcpu *v);
void platform_vcpu_destroy(struct vcpu *v);

#endif
