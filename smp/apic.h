/* SPDX-License-Identifier: MIT */
/*
 * The host's LAPIC below irq.h: registers, interrupt command, timer (SDM 3A chapter 10). For smp/
 * alone. Every function works on the calling CPU's LAPIC; any context once apic_init_cpu ran.
 */
#ifndef SMP_APIC_H
#define SMP_APIC_H

#include "kernel/base/types.h"

bool apic_ready(void); /* apic_init_cpu ran on the boot CPU */
bool apic_is_x2apic(void);

void apic_send_ipi(u32 apic_id, u8 vector);
void apic_send_nmi(u32 apic_id);
/* From an NMI too: in the middle of another command it leaves that one's destination alone. */
void apic_send_self(u8 vector);
void apic_send_init(u32 apic_id);
void apic_send_startup(u32 apic_id, u8 page); /* starts at page << 12 */

/*
 * The timer of this CPU. Chooses TSC deadline where CPUID has it and it proves to fire, else
 * one-shot counting, which the boot CPU measures against the TSC. Interrupts off, once per CPU.
 */
void apic_timer_init_cpu(void);
bool apic_timer_is_deadline(void);
/* One VECTOR_TIMER at about this time, or earlier: who gets it looks at the clock. */
void apic_timer_set(u64 deadline_ns);
void apic_timer_stop(void);

#endif
