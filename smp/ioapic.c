/* SPDX-License-Identifier: MIT */
/*
 * The host's IOAPICs and the 8259 pair that they replace (82093AA datasheet; MADT for what goes
 * where). Set up by the boot CPU; a pin is programmed once and then left alone.
 */
#include "kernel/base/acpi.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "smp/ipi_private.h"
#include "smp/irq.h"
#include "smp/nmi.h"

#define IOAPIC_SIZE	   0x20
#define IOAPIC_SELECT	   0x00
#define IOAPIC_WINDOW	   0x10
#define IOAPIC_VERSION	   1
#define IOAPIC_REDIRECTION 0x10 /* two registers for each pin */
#define REDIRECT_LOW	   BIT(13)
#define REDIRECT_LEVEL	   BIT(15)
#define REDIRECT_MASKED	   BIT(16)

#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1
#define PIC_ICW1     0x11 /* start, ICW4 follows */
#define PIC_ICW4     0x01 /* 8086 */
#define PIC_CASCADE  2

#define ISA_IRQS 16

struct ioapic {
	volatile u32 *registers;
	u32 gsi_base;
	u32 pins;
};

static struct ioapic ioapics[ACPI_IOAPICS_MAX];
static u32 ioapic_count;

static u32 ioapic_read(const struct ioapic *io, u32 reg)
{
	io->registers[IOAPIC_SELECT / 4] = reg;
	return io->registers[IOAPIC_WINDOW / 4];
}

static void ioapic_write(const struct ioapic *io, u32 reg, u32 value)
{
	io->registers[IOAPIC_SELECT / 4] = reg;
	io->registers[IOAPIC_WINDOW / 4] = value;
}

static void set_pin(const struct ioapic *io, u32 pin, u32 destination, u32 low)
{
	/* Masked until the other half is right. */
	ioapic_write(io, IOAPIC_REDIRECTION + 2 * pin, REDIRECT_MASKED);
	ioapic_write(io, IOAPIC_REDIRECTION + 2 * pin + 1, destination << 24);
	ioapic_write(io, IOAPIC_REDIRECTION + 2 * pin, low);
}

static void add_ioapic(const struct acpi_ioapic *a)
{
	struct ioapic *io = &ioapics[ioapic_count];
	u32 version;

	io->registers = (volatile u32 *)(void *)smp_hooks_get()->map_device(HPA(a->address),
									    IOAPIC_SIZE);
	if (!io->registers) {
		log_warn("IOAPIC %u at %#x cannot be mapped; its interrupts are lost", a->id,
			 a->address);
		return;
	}
	version = ioapic_read(io, IOAPIC_VERSION);
	if (version == ~0u) {
		log_warn("IOAPIC %u: nothing answers at %#x; it is left out", a->id, a->address);
		return;
	}
	io->gsi_base = a->gsi_base;
	io->pins = ((version >> 16) & 0xff) + 1;
	for (u32 pin = 0; pin < io->pins; pin++)
		set_pin(io, pin, 0, REDIRECT_MASKED);
	log_debug("IOAPIC %u: GSI %u to %u", a->id, io->gsi_base, io->gsi_base + io->pins - 1);
	ioapic_count++;
}

/* Moved out of the exceptions' way first, for even a masked 8259 may raise its spurious one. */
static void mask_8259(void)
{
	outb(PIC1_COMMAND, PIC_ICW1);
	outb(PIC2_COMMAND, PIC_ICW1);
	outb(PIC1_DATA, VECTOR_PIC);
	outb(PIC2_DATA, VECTOR_PIC + 8);
	outb(PIC1_DATA, BIT(PIC_CASCADE));
	outb(PIC2_DATA, PIC_CASCADE);
	outb(PIC1_DATA, PIC_ICW4);
	outb(PIC2_DATA, PIC_ICW4);
	outb(PIC1_DATA, 0xff);
	outb(PIC2_DATA, 0xff);
}

void irq_init(void)
{
	mask_8259();
	for (u32 i = 0; i < acpi_info.ioapic_count; i++)
		add_ioapic(&acpi_info.ioapics[i]);
	if (!ioapic_count)
		log_warn("no IOAPIC: device interrupts such as the serial port's are not "
			 "delivered");
	ipi_init();
	nmi_init();
}

static struct acpi_override routing_of(u32 isa_irq)
{
	for (u32 i = 0; i < acpi_info.override_count; i++) {
		if (acpi_info.overrides[i].isa_irq == isa_irq)
			return acpi_info.overrides[i];
	}
	return (struct acpi_override){.isa_irq = (u8)isa_irq, .gsi = isa_irq};
}

int irq_register_isa(u32 isa_irq, irq_handler_t fn, void *arg)
{
	struct acpi_override r;
	u32 vector = VECTOR_IRQ_BASE + isa_irq, low;

	if (isa_irq >= ISA_IRQS)
		return ERR_NOSPC;
	r = routing_of(isa_irq);
	for (u32 i = 0; i < ioapic_count; i++) {
		const struct ioapic *io = &ioapics[i];

		if (r.gsi < io->gsi_base || r.gsi - io->gsi_base >= io->pins)
			continue;
		irq_set_handler((u8)vector, fn, arg);
		low = vector | (r.active_low ? REDIRECT_LOW : 0) | (r.level ? REDIRECT_LEVEL : 0);
		set_pin(io, r.gsi - io->gsi_base, cpu_get(0)->apic_id, low);
		return 0;
	}
	return ERR_NOTSUP;
}
