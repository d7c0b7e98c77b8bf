/* SPDX-License-Identifier: MIT */
/*
 * Host interrupts: vectors, handlers, the host's LAPIC and IOAPICs.
 * Handlers run in interrupt context. Registration: thread context, boot CPU.
 */
#ifndef SMP_IRQ_H
#define SMP_IRQ_H

#include "kernel/base/interrupt_frame.h"

/* Exceptions that Weir names (SDM 3A table 6-1). */
#define VECTOR_NMI	  2
#define VECTOR_DF	  8
#define VECTOR_GP	  13
#define VECTOR_PF	  14
#define VECTOR_MC	  18
#define VECTOR_EXCEPTIONS 32 /* those below are exceptions */

#define VECTOR_PIC	0x20 /* 16 of them: the masked 8259 pair's spurious interrupts */
#define VECTOR_IRQ_BASE 0x30 /* device interrupts */
#define VECTOR_TIMER	0xf0
#define VECTOR_IPI_CALL 0xf1
#define VECTOR_KICK	0xf2
#define VECTOR_ERROR	0xf3 /* LAPIC error */
#define VECTOR_NMI_CAME 0xf4 /* an NMI sent it, to have its source looked for */
#define VECTOR_POSTED	0xf5 /* posted interrupts' notification; mostly the CPU takes it itself */
#define VECTOR_SPURIOUS 0xff

typedef void (*irq_handler_t)(void *arg);

/* A vector of smp/'s own. Boot CPU, interrupts off, once for each vector. */
void irq_set_handler(u8 vector, irq_handler_t fn, void *arg);
u64 irq_count(u8 vector); /* how often it arrived, on all CPUs; approximate while they run */

/* Masks the 8259 pair, finds the IOAPICs of the MADT and masks their pins. Boot CPU, once. */
void irq_init(void);

/*
 * Routes an ISA interrupt (through MADT overrides) to a vector on the boot CPU, unmasked.
 * ERR_NOTSUP where no IOAPIC serves it, ERR_NOSPC.
 */
int irq_register_isa(u32 isa_irq, irq_handler_t fn, void *arg);

/* C entry of all vectors, called by the stubs. */
void interrupt_dispatch(struct interrupt_frame *f);
/*
 * What the stubs do for an interrupt that the CPU has acknowledged and not delivered: a VM exit's.
 * As after any interrupt its caller is to see whether another thread should run. Interrupts off.
 */
void interrupt_acknowledged(u8 vector);

/*
 * A fault at an instruction whose address stands in the fixup table resumes at its partner:
 * for RDMSR/WRMSR that may #GP. 0 or ERR_FAULT. Any context.
 */
int rdmsr_safe(u32 index, u64 *value);
int wrmsr_safe(u32 index, u64 value);

/* Host LAPIC of this CPU: xAPIC or x2APIC as the firmware left it on the boot CPU. */
void apic_init_cpu(void);
void apic_eoi(void);
u32 apic_id(void);

#endif
