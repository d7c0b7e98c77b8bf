/* SPDX-License-Identifier: MIT */
#include "kernel/dev/i8042.h"

#include "kernel/dev/chipset.h"

#define DATA_PORT      0x60
#define COMMAND_PORT   0x64
#define OFFSET_COMMAND 1

#define IRQ_KEYBOARD 1
#define IRQ_MOUSE    12

#define STATUS_FULL	0x01
#define STATUS_SYSTEM	0x04
#define STATUS_COMMAND	0x08 /* the last write went to 0x64 */
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX	0x20
#define STATUS_TIMEOUT	0x40

#define BYTE_IRQ_KEYBOARD 0x01
#define BYTE_IRQ_MOUSE	  0x02
#define BYTE_SYSTEM	  0x04
#define BYTE_NO_KEYBOARD  0x10
#define BYTE_NO_MOUSE	  0x20

#define PORT_RESET 0x01 /* low resets */
#define PORT_A20   0x02

enum {
	COMMAND_READ_BYTE = 0x20,
	COMMAND_WRITE_BYTE = 0x60,
	COMMAND_MOUSE_OFF = 0xa7,
	COMMAND_MOUSE_ON = 0xa8,
	COMMAND_MOUSE_TEST = 0xa9,
	COMMAND_SELF_TEST = 0xaa,
	COMMAND_KEYBOARD_TEST = 0xab,
	COMMAND_KEYBOARD_OFF = 0xad,
	COMMAND_KEYBOARD_ON = 0xae,
	COMMAND_READ_INPUT = 0xc0,
	COMMAND_READ_OUTPUT = 0xd0,
	COMMAND_WRITE_OUTPUT = 0xd1,
	COMMAND_KEYBOARD_ECHO = 0xd2,
	COMMAND_MOUSE_ECHO = 0xd3,
	COMMAND_TO_MOUSE = 0xd4,
	COMMAND_PULSE = 0xf0, /* the low half: lines that go low */
};

#define ANSWER_SELF_TEST  0x55
#define ANSWER_TEST_OK	  0x00
#define ANSWER_CLOCK_LOW  0x01
#define ANSWER_RESEND	  0xfe
#define ANSWER_INPUT_PORT 0x80 /* not locked */

static void update_irqs(struct i8042 *k)
{
	bool mouse = k->status & STATUS_AUX;

	chipset_irq(k->p, IRQ_KEYBOARD, k->full && !mouse && (k->command_byte & BYTE_IRQ_KEYBOARD));
	chipset_irq(k->p, IRQ_MOUSE, k->full && mouse && (k->command_byte & BYTE_IRQ_MOUSE));
}

static void answer(struct i8042 *k, u8 byte, u8 status)
{
	k->full = true;
	k->data = byte;
	k->status = (k->status & STATUS_COMMAND) | status;
}

/* True: the reset line was pulled. */
static bool command(struct i8042 *k, u8 value)
{
	k->status |= STATUS_COMMAND;
	k->pending = 0;
	switch (value) {
	case COMMAND_READ_BYTE:
		answer(k, k->command_byte, 0);
		break;
	case COMMAND_MOUSE_OFF:
		k->command_byte |= BYTE_NO_MOUSE;
		break;
	case COMMAND_MOUSE_ON:
		k->command_byte &= ~BYTE_NO_MOUSE;
		break;
	case COMMAND_MOUSE_TEST:
		answer(k, ANSWER_CLOCK_LOW, 0);
		break;
	case COMMAND_SELF_TEST:
		k->command_byte |= BYTE_SYSTEM;
		answer(k, ANSWER_SELF_TEST, 0);
		break;
	case COMMAND_KEYBOARD_TEST:
		answer(k, ANSWER_TEST_OK, 0);
		break;
	case COMMAND_KEYBOARD_OFF:
		k->command_byte |= BYTE_NO_KEYBOARD;
		break;
	case COMMAND_KEYBOARD_ON:
		k->command_byte &= ~BYTE_NO_KEYBOARD;
		break;
	case COMMAND_READ_INPUT:
		answer(k, ANSWER_INPUT_PORT, 0);
		break;
	case COMMAND_READ_OUTPUT:
		answer(k, k->output_port, 0);
		break;
	case COMMAND_WRITE_BYTE:
	case COMMAND_WRITE_OUTPUT:
	case COMMAND_KEYBOARD_ECHO:
	case COMMAND_MOUSE_ECHO:
	case COMMAND_TO_MOUSE:
		k->pending = value;
		break;
	default:
		return value >= COMMAND_PULSE && !(value & PORT_RESET);
	}
	return false;
}

/* True: the reset line was pulled. */
static bool data(struct i8042 *k, u8 value)
{
	u8 pending = k->pending;

	k->status &= ~STATUS_COMMAND;
	k->pending = 0;
	switch (pending) {
	case COMMAND_WRITE_BYTE:
		k->command_byte = value;
		break;
	case COMMAND_WRITE_OUTPUT:
		k->output_port = value | PORT_RESET;
		return !(value & PORT_RESET);
	case COMMAND_KEYBOARD_ECHO:
		answer(k, value, 0);
		break;
	case COMMAND_MOUSE_ECHO: /* a controller without a mouse port does not know it */
		answer(k, value, 0);
		break;
	case COMMAND_TO_MOUSE:
		answer(k, ANSWER_RESEND, STATUS_AUX | STATUS_TIMEOUT);
		break;
	default:
		answer(k, ANSWER_RESEND, STATUS_TIMEOUT);
		break;
	}
	return false;
}

static u8 read_status(const struct i8042 *k)
{
	return k->status | STATUS_UNLOCKED | (k->full ? STATUS_FULL : 0) |
	       (k->command_byte & BYTE_SYSTEM ? STATUS_SYSTEM : 0);
}

static u64 i8042_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct i8042 *k = container_of(d, struct i8042, dev);
	bool on = spin_lock_irqsave(&k->p->lock);
	u8 value;

	(void)v;
	(void)size;
	if (offset == OFFSET_COMMAND) {
		value = read_status(k);
	} else {
		value = k->data;
		k->full = false;
		k->status &= STATUS_COMMAND;
		update_irqs(k);
	}
	spin_unlock_irqrestore(&k->p->lock, on);
	return value;
}

static void i8042_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct i8042 *k = container_of(d, struct i8042, dev);
	bool on = spin_lock_irqsave(&k->p->lock);
	bool reset = offset == OFFSET_COMMAND ? command(k, (u8)value) : data(k, (u8)value);

	(void)v;
	(void)size;
	update_irqs(k);
	spin_unlock_irqrestore(&k->p->lock, on);
	if (reset)
		chipset_end(k->p, VM_END_RESET, 0);
}

static void i8042_reset(struct device *d)
{
	struct i8042 *k = container_of(d, struct i8042, dev);
	bool on = spin_lock_irqsave(&k->p->lock);

	k->command_byte = BYTE_NO_KEYBOARD | BYTE_NO_MOUSE;
	k->output_port = PORT_RESET | PORT_A20;
	k->pending = 0;
	k->full = false;
	k->status = 0;
	k->data = 0;
	update_irqs(k);
	spin_unlock_irqrestore(&k->p->lock, on);
}

static const struct device_ops i8042_ops = {
	.name = "i8042",
	.width = 1,
	.read = i8042_read,
	.write = i8042_write,
	.quick = DEVICE_QUICK_READ,
	.reset = i8042_reset,
};

int i8042_init(struct i8042 *k, struct platform *p)
{
	int err;

	k->p = p;
	chipset_add(p, &k->dev, &i8042_ops);
	err = bus_register(&p->vm->bus, SPACE_PIO, DATA_PORT, 1, &k->dev, 0);
	if (!err)
		err = bus_register(&p->vm->bus, SPACE_PIO, COMMAND_PORT, 1, &k->dev,
				   OFFSET_COMMAND);
	return err;
}
