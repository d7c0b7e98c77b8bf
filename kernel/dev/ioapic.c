/* SPDX-License-Identifier: MIT */
#include "kernel/dev/ioapic.h"

#include "kernel/base/string.h"
#include "kernel/dev/chipset.h"
#include "kernel/dev/lapic.h"

#define IOAPIC_SIZE    0x1000
#define IOAPIC_VERSION 0x20

/* The memory window. */
#define WINDOW_SELECT 0x00
#define WINDOW_DATA   0x10
#define WINDOW_EOI    0x40

/* What the select register chooses. */
#define REG_ID	    0x00
#define REG_VERSION 0x01
#define REG_ARB	    0x02
#define REG_RTE	    0x10
#define ID_MASK	    0x0f000000u

/* A redirection table entry. */
#define RTE_VECTOR     0xffull
#define RTE_MODE_SHIFT 8
#define RTE_LOGICAL    BIT(11)
#define RTE_STATUS     BIT(12)
#define RTE_REMOTE_IRR BIT(14)
#define RTE_LEVEL      BIT(15)
#define RTE_MASKED     BIT(16)
#define RTE_DEST_SHIFT 56
#define RTE_READ_ONLY  (RTE_STATUS | RTE_REMOTE_IRR)
#define RTE_WRITABLE   (0xff0000000001ffffull & ~RTE_READ_ONLY)

static struct lapic_message message_of(u64 rte)
{
	return (struct lapic_message){
		.mode = (rte >> RTE_MODE_SHIFT) & 7,
		.vector = (u8)(rte & RTE_VECTOR),
		.dest = (u32)(rte >> RTE_DEST_SHIFT),
		.logical = rte & RTE_LOGICAL,
		.level = rte & RTE_LEVEL,
	};
}

/* Only fixed and lowest-priority interrupts can be level-triggered; the others are edges. */
static bool is_level(u64 rte)
{
	u32 mode = (rte >> RTE_MODE_SHIFT) & 7;

	return (rte & RTE_LEVEL) && (mode == LAPIC_FIXED || mode == LAPIC_LOWEST);
}

static struct lapic_message message_from(const struct ioapic *io, u32 pin)
{
	struct lapic_message m = message_of(io->rte[pin]);

	m.paced = pin == CHIPSET_TIMER_PIN;
	return m;
}

static bool deliver(struct ioapic *io, u32 pin)
{
	struct lapic_message m = message_from(io, pin);

	/* It comes by ioapic_extint_to for as long as INTR is high: who halts has to look. */
	if (m.mode == LAPIC_EXTINT) {
		lapic_kick_all(io->p->vm);
		return false;
	}
	return lapic_send(io->p->vm, &m, NULL);
}

/* A level that is high, unmasked and not yet taken by a local APIC. */
static void service_level(struct ioapic *io, u32 pin)
{
	u64 rte = io->rte[pin];

	if (!is_level(rte) || (rte & (RTE_MASKED | RTE_REMOTE_IRR)) || !(io->lines & BIT(pin)))
		return;
	if (deliver(io, pin))
		io->rte[pin] |= RTE_REMOTE_IRR;
}

void ioapic_set_line(struct ioapic *io, u32 pin, bool level)
{
	bool rising = level && !(io->lines & BIT(pin));

	if (level)
		io->lines |= BIT(pin);
	else
		io->lines &= ~BIT(pin);
	if (is_level(io->rte[pin]))
		service_level(io, pin);
	else if (rising && !(io->rte[pin] & RTE_MASKED))
		deliver(io, pin); /* an edge on a masked pin is gone */
}

void ioapic_eoi(struct ioapic *io, u8 vector)
{
	for (u32 pin = 0; pin < PLATFORM_IOAPIC_PINS; pin++) {
		u64 rte = io->rte[pin];

		if ((rte & RTE_VECTOR) != vector || !(rte & RTE_REMOTE_IRR))
			continue;
		/* The line may have risen and fallen since. */
		if (pin == CHIPSET_TIMER_PIN)
			pit_sync(&io->p->pit);
		io->rte[pin] = rte & ~RTE_REMOTE_IRR;
		service_level(io, pin);
		if (pin == CHIPSET_TIMER_PIN)
			pit_rearm(&io->p->pit);
	}
}

void ioapic_retry(struct ioapic *io)
{
	for (u32 pin = 0; pin < PLATFORM_IOAPIC_PINS; pin++)
		service_level(io, pin);
}

bool ioapic_wants_edge(const struct ioapic *io, u32 pin)
{
	struct lapic_message m = message_from(io, pin);
	u64 rte = io->rte[pin];

	if ((rte & RTE_MASKED) || (is_level(rte) && (rte & RTE_REMOTE_IRR)))
		return false;
	return !lapic_send_is_idle(io->p->vm, &m);
}

bool ioapic_extint_to(const struct ioapic *io, u32 pin, struct vcpu *v)
{
	u64 rte = READ_ONCE(io->rte[pin]);
	struct lapic_message m = message_of(rte);

	return !(rte & RTE_MASKED) && m.mode == LAPIC_EXTINT && lapic_matches(v->lapic, &m);
}

static u32 read_register(const struct ioapic *io)
{
	u32 rte = (io->select - REG_RTE) / 2;

	switch (io->select) {
	case REG_ID:
	case REG_ARB:
		return io->id;
	case REG_VERSION:
		return IOAPIC_VERSION | ((PLATFORM_IOAPIC_PINS - 1) << 16);
	}
	if (io->select < REG_RTE || rte >= PLATFORM_IOAPIC_PINS)
		return ~0u;
	return (u32)(io->select & 1 ? io->rte[rte] >> 32 : io->rte[rte]);
}

/*
 * A pin that is made edge-triggered forgets its remote IRR: how guests end a level-triggered
 * interrupt on parts without an EOI register.
 */
static void write_rte(struct ioapic *io, u32 pin, bool high, u32 value)
{
	u64 old = io->rte[pin];
	u64 rte = high ? (old & 0xffffffffull) | ((u64)value << 32)
		       : (old & ~0xffffffffull) | value;

	rte = (rte & RTE_WRITABLE) | (old & RTE_READ_ONLY);
	if (!is_level(rte))
		rte &= ~RTE_REMOTE_IRR;
	WRITE_ONCE(io->rte[pin], rte);
	service_level(io, pin);
	/* INTR may be high already when its pin begins to carry it. */
	if (message_of(rte).mode == LAPIC_EXTINT && (io->lines & BIT(pin)))
		lapic_kick_all(io->p->vm);
}

static void write_register(struct ioapic *io, u32 value)
{
	u32 pin = (io->select - REG_RTE) / 2;

	if (io->select == REG_ID) {
		io->id = value & ID_MASK;
		return;
	}
	if (io->select < REG_RTE || pin >= PLATFORM_IOAPIC_PINS)
		return;
	pit_sync(&io->p->pit);
	write_rte(io, pin, io->select & 1, value);
	pit_rearm(&io->p->pit);
}

/* Registers are 32 bits wide; a narrower read gets the low part, other accesses nothing. */
static u64 ioapic_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);
	u64 value = ~0ull;
	bool on;

	(void)v;
	(void)size;
	on = spin_lock_irqsave(&io->p->lock);
	if (offset == WINDOW_SELECT)
		value = io->select;
	else if (offset == WINDOW_DATA)
		value = read_register(io);
	spin_unlock_irqrestore(&io->p->lock, on);
	return value;
}

/* Apart from ioapic_write so that it has less to save and restore. */
static void __noinline write_window(struct ioapic *io, u64 offset, u32 size, u64 value)
{
	bool on = spin_lock_irqsave(&io->p->lock);

	if (offset == WINDOW_DATA && size == 4)
		write_register(io, (u32)value);
	else if (offset == WINDOW_EOI)
		ioapic_eoi(io, (u8)value);
	spin_unlock_irqrestore(&io->p->lock, on);
}

static void ioapic_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);
	bool on;

	(void)v;
	if (offset != WINDOW_SELECT) {
		write_window(io, offset, size, value);
		return;
	}
	on = spin_lock_irqsave(&io->p->lock);
	io->select = (u8)value;
	spin_unlock_irqrestore(&io->p->lock, on);
}

static void ioapic_reset(struct device *d)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);
	bool on = spin_lock_irqsave(&io->p->lock);

	io->select = 0;
	io->id = 0;
	io->lines = 0;
	for (u32 pin = 0; pin < PLATFORM_IOAPIC_PINS; pin++)
		io->rte[pin] = RTE_MASKED;
	spin_unlock_irqrestore(&io->p->lock, on);
}

static const struct device_ops ioapic_ops = {
	.name = "ioapic",
	.width = 4,
	.read = ioapic_read,
	.write = ioapic_write,
	.quick = DEVICE_QUICK_READ | DEVICE_QUICK_WRITE,
	.reset = ioapic_reset,
};

int ioapic_init(struct ioapic *io, struct platform *p)
{
	io->p = p;
	chipset_add(p, &io->dev, &ioapic_ops);
	return bus_register(&p->vm->bus, SPACE_MMIO, PLATFORM_IOAPIC_BASE, IOAPIC_SIZE, &io->dev,
			    0);
}
