/* SPDX-License-Identifier: MIT */
#include "kernel/dev/pic.h"

#include "kernel/base/string.h"
#include "kernel/dev/chipset.h"

#define PIC_MASTER_PORT 0x20
#define PIC_SLAVE_PORT	0xa0
#define PIC_ELCR_PORT	0x4d0

/* Offsets on the bus. */
#define OFFSET_SLAVE 2
#define OFFSET_ELCR  4

#define ICW1	    0x10
#define ICW1_IC4    0x01
#define ICW1_SINGLE 0x02
#define ICW4_AEOI   0x02
#define ICW4_SFNM   0x10
#define OCW3	    0x08
#define OCW3_READ   0x02
#define OCW3_ISR    0x01
#define OCW3_POLL   0x04
#define OCW3_ESMM   0x40
#define OCW3_SMM    0x20

/* OCW2's upper three bits. */
enum {
	OCW2_ROTATE_AEOI_OFF = 0,
	OCW2_EOI = 1,
	OCW2_EOI_SPECIFIC = 3,
	OCW2_ROTATE_AEOI_ON = 4,
	OCW2_EOI_ROTATE = 5,
	OCW2_SET_PRIORITY = 6,
	OCW2_EOI_SPECIFIC_ROTATE = 7,
};

#define CASCADE	  2
#define NOTHING	  8 /* below the lowest priority */
#define SPURIOUS  7
#define POLL_INTR 0x80

/* Inputs 0, 1, 2, 8 and 13 are edge-triggered for ever. */
#define ELCR_MASTER 0xf8
#define ELCR_SLAVE  0xde

/* Priority (0 is highest) of the best input in the set. */
static u32 best_priority(const struct pic_chip *c, u8 inputs)
{
	u32 first = (c->lowest + 1) & 7;
	/* Turned so that the input of the highest priority is bit 0. */
	u32 turned = ((u32)inputs | (u32)inputs << 8) >> first;

	return inputs ? (u32)__builtin_ctz(turned) : NOTHING;
}

static u32 input_of_priority(const struct pic_chip *c, u32 priority)
{
	return (c->lowest + 1 + priority) & 7;
}

/* The input that asks for service now, or -1. */
static int request(const struct pic *pic, u32 n)
{
	const struct pic_chip *c = &pic->chip[n];
	u8 serving = c->isr;
	u32 wanted = best_priority(c, c->irr & ~c->imr);

	if (c->special_mask)
		serving &= ~c->imr;
	/* A slave in service may ask again for one of its inputs of higher priority. */
	if (n == 0 && c->special_nested)
		serving &= ~BIT(CASCADE);
	if (wanted >= best_priority(c, serving))
		return -1;
	return (int)input_of_priority(c, wanted);
}

/*
 * An edge stays latched when its line falls before the INTA, where the chip would drop it: the
 * vCPU may be away for longer than any pulse lasts, which a real CPU is not.
 */
static void chip_set_line(struct pic_chip *c, u32 input, bool level)
{
	u8 bit = (u8)BIT(input);

	if (level && (!(c->lines & bit) || (c->elcr & bit)))
		c->irr |= bit;
	else if (!level && (c->elcr & bit))
		c->irr &= ~bit;
	if (level)
		c->lines |= bit;
	else
		c->lines &= ~bit;
}

static void update(struct pic *pic)
{
	struct pic_chip *master = &pic->chip[0];
	bool output;

	/* The slave's INT is wired straight through: no latch between. */
	if (request(pic, 1) >= 0)
		master->irr |= BIT(CASCADE);
	else
		master->irr &= ~BIT(CASCADE);
	output = request(pic, 0) >= 0;
	if (output == pic->output)
		return;
	WRITE_ONCE(pic->output, output);
	chipset_intr(pic->p, output);
}

static void chip_ack(struct pic_chip *c, u32 input)
{
	if (!(c->elcr & BIT(input)))
		c->irr &= ~BIT(input);
	if (!c->auto_eoi)
		c->isr |= BIT(input);
	else if (c->rotate_on_auto_eoi)
		c->lowest = (u8)input;
}

void pic_set_line(struct pic *pic, u32 irq, bool level)
{
	if (irq == CASCADE)
		return;
	chip_set_line(&pic->chip[irq >> 3], irq & 7, level);
	update(pic);
}

u8 pic_ack(struct pic *pic)
{
	int input = request(pic, 0);
	u32 n = 0;
	u8 vector;

	if (input == CASCADE) {
		chip_ack(&pic->chip[0], CASCADE);
		n = 1;
		input = request(pic, 1);
	}
	if (input >= 0)
		chip_ack(&pic->chip[n], (u32)input);
	else
		input = SPURIOUS;
	vector = (u8)(pic->chip[n].vector_base + input);
	update(pic);
	return vector;
}

bool pic_wants_edge(const struct pic *pic, u32 irq)
{
	const struct pic_chip *c = &pic->chip[irq >> 3];

	return !((c->imr | c->irr) & BIT(irq & 7));
}

/* ICW1 clears the edge latches: a line must rise again to be seen. */
static void start_initialisation(struct pic_chip *c, u8 value)
{
	c->irr = c->lines & c->elcr;
	c->isr = 0;
	c->imr = 0;
	c->lowest = 7;
	c->auto_eoi = false;
	c->rotate_on_auto_eoi = false;
	c->special_mask = false;
	c->special_nested = false;
	c->poll = false;
	c->read_isr = false;
	c->icw4_follows = value & ICW1_IC4;
	c->single = value & ICW1_SINGLE;
	c->icw_next = 2;
}

static void continue_initialisation(struct pic_chip *c, u8 value)
{
	switch (c->icw_next) {
	case 2:
		c->vector_base = value & 0xf8;
		c->icw_next = !c->single ? 3 : c->icw4_follows ? 4 : 0;
		break;
	case 3: /* how the pair is wired is known */
		c->icw_next = c->icw4_follows ? 4 : 0;
		break;
	case 4:
		c->auto_eoi = value & ICW4_AEOI;
		c->special_nested = value & ICW4_SFNM;
		c->icw_next = 0;
		break;
	}
}

/* In special mask mode a masked input's service is not ended by an EOI that names none. */
static void end_highest(struct pic_chip *c, bool rotate)
{
	u32 priority = best_priority(c, c->special_mask ? c->isr & ~c->imr : c->isr);
	u32 input;

	if (priority == NOTHING)
		return;
	input = input_of_priority(c, priority);
	c->isr &= ~BIT(input);
	if (rotate)
		c->lowest = (u8)input;
}

static void write_ocw2(struct pic_chip *c, u8 value)
{
	u8 input = value & 7;

	switch (value >> 5) {
	case OCW2_ROTATE_AEOI_OFF:
		c->rotate_on_auto_eoi = false;
		break;
	case OCW2_ROTATE_AEOI_ON:
		c->rotate_on_auto_eoi = true;
		break;
	case OCW2_EOI:
		end_highest(c, false);
		break;
	case OCW2_EOI_ROTATE:
		end_highest(c, true);
		break;
	case OCW2_EOI_SPECIFIC:
		c->isr &= ~BIT(input);
		break;
	case OCW2_EOI_SPECIFIC_ROTATE:
		c->isr &= ~BIT(input);
		c->lowest = input;
		break;
	case OCW2_SET_PRIORITY:
		c->lowest = input;
		break;
	}
}

static void write_ocw3(struct pic_chip *c, u8 value)
{
	if (value & OCW3_POLL)
		c->poll = true;
	if (value & OCW3_READ)
		c->read_isr = value & OCW3_ISR;
	if (value & OCW3_ESMM)
		c->special_mask = value & OCW3_SMM;
}

static void write_elcr(struct pic_chip *c, u8 value)
{
	c->elcr = value & c->elcr_mask;
	/* Inputs that became level-triggered are what their lines are. */
	c->irr = (u8)((c->irr & ~c->elcr) | (c->lines & c->elcr));
}

static void write_chip(struct pic_chip *c, bool odd, u8 value)
{
	if (odd && c->icw_next)
		continue_initialisation(c, value);
	else if (odd)
		WRITE_ONCE(c->imr, value);
	else if (value & ICW1)
		start_initialisation(c, value);
	else if (value & OCW3)
		write_ocw3(c, value);
	else
		write_ocw2(c, value);
}

/* A poll command makes the next read an INTA. */
static u8 poll_chip(struct pic *pic, u32 n)
{
	int input = request(pic, n);

	pic->chip[n].poll = false;
	if (input < 0)
		return 0;
	chip_ack(&pic->chip[n], (u32)input);
	update(pic);
	return (u8)(POLL_INTR | input);
}

static u64 pic_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct pic *pic = container_of(d, struct pic, dev);
	u32 n = (offset % OFFSET_ELCR) / OFFSET_SLAVE;
	struct pic_chip *c = &pic->chip[n];
	u8 value;
	bool on;

	(void)v;
	(void)size;
	/* A mask is what was written last: it asks for no lock and no time. */
	if (offset < OFFSET_ELCR && (offset & 1) && !READ_ONCE(c->poll))
		return READ_ONCE(c->imr);
	on = spin_lock_irqsave(&pic->p->lock);
	pit_sync(&pic->p->pit);
	if (offset >= OFFSET_ELCR)
		value = pic->chip[offset - OFFSET_ELCR].elcr;
	else if (c->poll)
		value = poll_chip(pic, n);
	else if (offset & 1)
		value = c->imr;
	else
		value = c->read_isr ? c->isr : c->irr;
	pit_rearm(&pic->p->pit);
	spin_unlock_irqrestore(&pic->p->lock, on);
	return value;
}

static void pic_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct pic *pic = container_of(d, struct pic, dev);
	bool on = spin_lock_irqsave(&pic->p->lock);

	(void)v;
	(void)size;
	pit_sync(&pic->p->pit);
	if (offset >= OFFSET_ELCR)
		write_elcr(&pic->chip[offset - OFFSET_ELCR], (u8)value);
	else
		write_chip(&pic->chip[offset / OFFSET_SLAVE], offset & 1, (u8)value);
	update(pic);
	pit_rearm(&pic->p->pit);
	spin_unlock_irqrestore(&pic->p->lock, on);
}

/* No power-on state is promised; a firmware would have left all inputs masked. */
static void pic_reset(struct device *d)
{
	struct pic *pic = container_of(d, struct pic, dev);
	bool on = spin_lock_irqsave(&pic->p->lock);

	for (u32 n = 0; n < 2; n++) {
		struct pic_chip *c = &pic->chip[n];

		memset(c, 0, sizeof(*c));
		c->imr = 0xff;
		c->lowest = 7;
		c->elcr_mask = n ? ELCR_SLAVE : ELCR_MASTER;
		c->vector_base = n ? 0x70 : 0x08;
	}
	update(pic);
	spin_unlock_irqrestore(&pic->p->lock, on);
}

static const struct device_ops pic_ops = {
	.name = "pic",
	.width = 1,
	.read = pic_read,
	.write = pic_write,
	.quick = DEVICE_QUICK_READ | DEVICE_QUICK_WRITE,
	.reset = pic_reset,
};

int pic_init(struct pic *pic, struct platform *p)
{
	struct bus *bus = &p->vm->bus;
	int err;

	pic->p = p;
	chipset_add(p, &pic->dev, &pic_ops);
	err = bus_register(bus, SPACE_PIO, PIC_MASTER_PORT, 2, &pic->dev, 0);
	if (!err)
		err = bus_register(bus, SPACE_PIO, PIC_SLAVE_PORT, 2, &pic->dev, OFFSET_SLAVE);
	if (!err)
		err = bus_register(bus, SPACE_PIO, PIC_ELCR_PORT, 2, &pic->dev, OFFSET_ELCR);
	return err;
}
