/* SPDX-License-Identifier: MIT */
/* The keyboard behind an i8042 (IBM PS/2 Hardware Interface Technical Reference, "keyboard and
 * auxiliary device controller"). Every wait is bounded: a controller may be missing or broken. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "kernel/monitor/keyboard.h"
#include "smp/irq.h"

#define DATA	    0x60
#define STATUS	    0x64
#define COMMAND	    0x64
#define OUTPUT_FULL 0x01
#define INPUT_FULL  0x02
#define FROM_MOUSE  0x20

#define READ_CONFIG    0x20
#define WRITE_CONFIG   0x60
#define DISABLE_MOUSE  0xa7
#define DISABLE	       0xad
#define ENABLE	       0xae
#define CONFIG_IRQ     0x01
#define CONFIG_MOUSE   0x02 /* its interrupt */
#define CONFIG_OFF     0x10 /* the keyboard's clock */
#define CONFIG_SET_ONE 0x40 /* translate */

#define KEYBOARD_SCAN 0xf4
#define KEYBOARD_ACK  0xfa

#define POLLS	  100000
#define BYTES_MAX 64 /* taken at an interrupt */
#define LATE_MAX  16 /* bytes of keys that come before an answer */

static struct keyboard keyboard; /* the interrupt's */
static void (*put_byte)(u8 byte);

static bool send(u16 port, u8 value)
{
	u32 polls = POLLS;

	while (inb(STATUS) & INPUT_FULL) {
		if (!--polls)
			return false;
		cpu_relax();
	}
	outb(port, value);
	return true;
}

static int receive(void)
{
	for (u32 polls = POLLS; polls; polls--) {
		if (inb(STATUS) & OUTPUT_FULL)
			return inb(DATA);
		cpu_relax();
	}
	return ERR_NOENT;
}

static void empty(void)
{
	for (u32 n = 0; n < BYTES_MAX && (inb(STATUS) & OUTPUT_FULL); n++)
		inb(DATA);
}

/* A byte of a key's may still have been on its way: what is answered twice running is no key. */
static int read_config(void)
{
	int last = ERR_NOENT;

	for (u32 n = 0; n < LATE_MAX; n++) {
		int config;

		if (!send(COMMAND, READ_CONFIG) || (config = receive()) < 0)
			return ERR_NOENT;
		if (config == last)
			return config;
		last = config;
	}
	return ERR_NOENT;
}

/* The keyboard sends the keys that it knows of first. */
static bool acknowledged(void)
{
	for (u32 n = 0; n <= LATE_MAX; n++) {
		int byte = receive();

		if (byte < 0 || byte == KEYBOARD_ACK)
			return byte == KEYBOARD_ACK;
	}
	return false;
}

static void interrupt(void *arg)
{
	char bytes[KEYBOARD_BYTES_MAX];

	(void)arg;
	for (u32 n = 0; n < BYTES_MAX; n++) {
		u8 status = inb(STATUS), code;
		u32 count;

		if (!(status & OUTPUT_FULL))
			break;
		code = inb(DATA);
		if (status & FROM_MOUSE) /* it is no key that is held from now on either */
			continue;
		count = keyboard_decode(&keyboard, code, bytes);
		for (u32 i = 0; i < count; i++)
			put_byte((u8)bytes[i]);
	}
}

/* As whatever firmware left it, to: keyboard on, set 1, its interrupt off, the mouse off. */
static int set_up(void)
{
	int config;
	bool on;

	if (inb(STATUS) == 0xff || !send(COMMAND, DISABLE) || !send(COMMAND, DISABLE_MOUSE))
		return ERR_NOENT;
	empty();
	config = read_config();
	if (config < 0)
		return ERR_NOENT;
	empty();
	config &= ~(CONFIG_IRQ | CONFIG_MOUSE | CONFIG_OFF);
	config |= CONFIG_SET_ONE;
	if (!send(COMMAND, WRITE_CONFIG) || !send(DATA, (u8)config) || !send(COMMAND, ENABLE) ||
	    !send(DATA, KEYBOARD_SCAN) || !acknowledged())
		return ERR_NOENT;
	empty();
	if (irq_register_isa(1, interrupt, NULL))
		return ERR_NOTSUP;
	if (!send(COMMAND, WRITE_CONFIG) || !send(DATA, (u8)config | CONFIG_IRQ))
		return ERR_NOENT;
	/* One that came before holds the line up, and another raises no interrupt. */
	on = irq_save();
	interrupt(NULL);
	irq_restore(on);
	return 0;
}

int keyboard_start(void (*put)(u8 byte))
{
	int err;

	put_byte = put;
	err = set_up();
	if (err)
		log_debug("keyboard: %s", err == ERR_NOENT ? "none answers at the i8042"
							   : "its interrupt leads nowhere");
	return err;
}
