/* SPDX-License-Identifier: MIT */
/*
 * A VM with its platform and local APICs, and the accesses a guest would make, for the tests of
 * kernel/dev. Time stands still but for machine_run.
 */
#ifndef TESTS_UNIT_DEV_MACHINE_H
#define TESTS_UNIT_DEV_MACHINE_H

#include "kernel/dev/chipset.h"
#include "kernel/dev/lapic.h"
#include "kernel/dev/platform.h"
#include "tests/hosted/fake_timer.h"
#include "tests/hosted/fake_vm.h"
#include "tests/hosted/hosted.h"
#include "vmx/apicv.h"

#define MACHINE_START_NS 10000000000ull

/* xAPIC register offsets. */
#define APIC_ID	      0x20
#define APIC_VERSION  0x30
#define APIC_TPR      0x80
#define APIC_APR      0x90
#define APIC_PPR      0xa0
#define APIC_EOI      0xb0
#define APIC_LDR      0xd0
#define APIC_DFR      0xe0
#define APIC_SVR      0xf0
#define APIC_ISR      0x100
#define APIC_TMR      0x180
#define APIC_IRR      0x200
#define APIC_ESR      0x280
#define APIC_ICR      0x300
#define APIC_ICR_HIGH 0x310
#define APIC_TIMER    0x320
#define APIC_LINT0    0x350
#define APIC_LINT1    0x360
#define APIC_ERROR    0x370
#define APIC_INITIAL  0x380
#define APIC_CURRENT  0x390
#define APIC_DIVIDE   0x3e0

#define X2APIC(offset) (0x800 + ((offset) >> 4))

#define DIVIDE_BY_1 0xb

struct machine {
	struct vm *vm;
	struct platform *p;
	struct vcpu *v; /* vCPU 0 */
};

/* What the CPU does of local APICs that are made from now on. */
extern enum vmx_apicv machine_apicv;

void machine_create(struct machine *m, u32 vcpus);
void machine_destroy(struct machine *m);

/* Time passes; timers fire. Returns how many. */
u32 machine_run(u64 ns);

u8 in8(struct machine *m, u16 port);
u16 in16(struct machine *m, u16 port);
u32 in32(struct machine *m, u16 port);
void out8(struct machine *m, u16 port, u8 value);
void out16(struct machine *m, u16 port, u16 value);
void out32(struct machine *m, u16 port, u32 value);

/* A vCPU's local APIC in xAPIC mode; the access must be answered. */
u32 apic_read(struct machine *m, u32 vcpu, u32 offset);
void apic_write(struct machine *m, u32 vcpu, u32 offset, u32 value);
void apic_enable(struct machine *m, u32 vcpu); /* by SVR */
bool apic_bit(struct machine *m, u32 vcpu, u32 base, u8 vector);

u32 ioapic_get(struct machine *m, u32 reg);
void ioapic_put(struct machine *m, u32 reg, u32 value);
void ioapic_route(struct machine *m, u32 pin, u32 dest, u32 low);

/* Both 8259s as Linux programs them: vectors 0x30 and 0x38, all inputs open but those masked. */
void pic_setup(struct machine *m, u16 mask);

/* The 8254's channel 0, low byte first; and how long it takes for n of its ticks. */
#define PIT_TICKS_NS(n) (((n)*NS_PER_SECOND + PIT_HZ - 1) / PIT_HZ)
void pit_setup(struct machine *m, u8 control, u16 count);

#define RTE_LEVEL_BIT  (1u << 15)
#define RTE_MASK_BIT   (1u << 16)
#define RTE_REMOTE_BIT (1u << 14)

#endif
