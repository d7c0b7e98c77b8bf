/* SPDX-License-Identifier: MIT */
/* The UART's interrupt: one that comes, and lines that lead elsewhere, where Weir has to poll. */
/* unit-sources: kernel/serial_irq.c kernel/base/serial.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/serial.h"
#include "kernel/base/x86.h"
#include "kernel/serial_irq.h"

#define COM1	 0x3f8
#define COM3	 0x3e8
#define CARD	 0xd010
#define IER	 1
#define IIR	 2
#define MCR	 4
#define LSR	 5
#define RX	 0x01
#define TX_EMPTY 0x02
#define OUT2	 0x08

static u16 base;
static u8 reg[8];
static bool routed;  /* the line leads to Weir's pin */
static bool tx_mute; /* a UART that does not raise when an empty transmitter is enabled */
static bool byte_in; /* one waits to be read */
static u32 another;  /* so often another device interrupts there, while the UART asks and after */
static int refused;
static u32 registered, received, storm;
static irq_handler_t handler;

static bool raised(void)
{
	if (!(reg[MCR] & OUT2))
		return false;
	return (!tx_mute && (reg[IER] & TX_EMPTY)) || (byte_in && (reg[IER] & RX));
}

/* The pin is level-triggered: it comes again until nobody asks. */
static void deliver(void)
{
	for (; another && handler && raised(); another = 0) {
		for (u32 i = 0; i < another; i++)
			handler(NULL);
	}
	for (u32 i = 0; routed && handler && raised(); i++) {
		handler(NULL);
		storm = i;
		if (i > 3)
			return;
	}
}

static u32 uart_in(u16 port, u32 size)
{
	switch (port - base) {
	case IIR:
		if (!raised())
			return 0xc1;
		return byte_in && (reg[IER] & RX) ? 0xcc : 0xc2;
	case LSR:
		return 0x60;
	}
	return reg[(port - base) & 7];
}

static void uart_out(u16 port, u32 size, u32 value)
{
	if (port - base != IIR) /* FCR */
		reg[(port - base) & 7] = (u8)value;
	if (port - base == IER && value)
		deliver();
}

int irq_register_isa(u32 isa_irq, irq_handler_t fn, void *arg)
{
	if (refused)
		return refused;
	registered = isa_irq;
	handler = fn;
	return 0;
}

static void receive(void *arg)
{
	received++;
	byte_in = false;
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.in = uart_in, .out = uart_out};
	memset(reg, 0, sizeof(reg));
	routed = true;
	tx_mute = byte_in = false;
	another = 0;
	refused = 0;
	registered = received = storm = 0;
	handler = NULL;
	return 0;
}

static void start_port(u16 port)
{
	base = port;
	assert_int_equal(serial_init(port, 115200), 0);
}

static void a_byte_comes(void)
{
	byte_in = true;
	deliver();
}

/* Another device's interrupts, one of which finds the UART asking. */
static void it_leads_elsewhere(void **state)
{
	start_port(COM3);
	routed = false;
	another = 5;
	assert_false(serial_irq_start(receive));
	assert_int_equal(another, 0);
	assert_int_equal(registered, 4);
	assert_int_equal(reg[IER], RX);
	assert_int_equal(reg[MCR], 0x0b);
	assert_false(serial_irq_comes());
	another = 1;
	a_byte_comes();
	for (u32 i = 0; i < 5; i++)
		handler(NULL);
	assert_int_equal(received, 6);
	assert_false(serial_irq_comes());
}

/* Nothing comes when it is tried, but for bytes: the second ends the polling. */
static void only_bytes_interrupt(void **state)
{
	start_port(COM3);
	tx_mute = true;
	assert_false(serial_irq_start(receive));
	assert_int_equal(reg[IER], RX);
	a_byte_comes();
	assert_false(serial_irq_comes());
	a_byte_comes();
	assert_true(serial_irq_comes());
	assert_int_equal(received, 2);
	assert_int_equal(storm, 0);
}

static void no_line_to_try(void **state)
{
	start_port(CARD);
	assert_false(serial_irq_start(receive));
	start_port(COM1);
	refused = ERR_NOTSUP;
	assert_false(serial_irq_start(receive));
	assert_int_equal(reg[IER], 0);
}

static void it_comes(void **state)
{
	start_port(COM1);
	assert_true(serial_irq_start(receive));
	assert_true(serial_irq_comes());
	assert_int_equal(reg[IER], RX);
	assert_int_equal(reg[MCR], 0x0b);
	assert_int_equal(storm, 0);
	assert_int_equal(received, 0);
	handler(NULL);
	assert_int_equal(received, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(it_leads_elsewhere, setup),
		cmocka_unit_test_setup(only_bytes_interrupt, setup),
		cmocka_unit_test_setup(no_line_to_try, setup),
		cmocka_unit_test_setup(it_comes, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
