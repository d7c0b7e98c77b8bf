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
static bool routed, another; /* the line leads to Weir's pin; so does another device's */
static int refused;
static u32 registered, received, storm;
static irq_handler_t handler;

static bool raised(void)
{
	return (reg[IER] & TX_EMPTY) && (reg[MCR] & OUT2);
}

/* The pin is level-triggered: it comes again until nobody asks. */
static void deliver(void)
{
	if (another && handler && !raised())
		handler(NULL);
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
		return raised() ? 0xc2 : 0xc1;
	case LSR:
		return 0x60;
	}
	return reg[(port - base) & 7];
}

static void uart_out(u16 port, u32 size, u32 value)
{
	if (port - base != IIR) /* FCR */
		reg[(port - base) & 7] = (u8)value;
	if (port - base == IER)
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
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.in = uart_in, .out = uart_out};
	memset(reg, 0, sizeof(reg));
	routed = true;
	another = false;
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

/* The first, for the module starts once: nothing comes, and whatever comes late is nobody's. */
static void nothing_comes(void **state)
{
	start_port(COM3);
	routed = false;
	another = true;
	assert_false(serial_irq_start(receive));
	assert_int_equal(registered, 4);
	assert_int_equal(reg[IER], 0);
	assert_int_equal(reg[MCR], 3);
	handler(NULL);
	assert_int_equal(received, 0);
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
		cmocka_unit_test_setup(nothing_comes, setup),
		cmocka_unit_test_setup(no_line_to_try, setup),
		cmocka_unit_test_setup(it_comes, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
