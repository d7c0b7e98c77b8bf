/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/serial.c */
/* The UART driver against UARTs that are good, old, absent, or stop answering. */
#include "kernel/base/error.h"
#include "kernel/base/serial.h"
#include "kernel/base/x86.h"

#include <cmocka.h>
#include <string.h>

#define PORT 0x3f8

static struct {
	bool absent;   /* all ones */
	bool open_bus; /* reads give what was written last, to any register */
	bool scratch, fifo;
	bool tx_dead;
	u8 last; /* on the bus */
	u8 reg[8];
	u8 divisor[2];
	u32 room; /* bytes the transmitter takes until it is polled again */
	u32 overruns, polls;
	char sent[256];
	u32 sent_count;
	const char *typed; /* bytes that wait in the receiver */
} uart;

static u32 uart_in(u16 port, u32 size)
{
	u8 mcr = uart.reg[4];

	assert_int_equal(size, 1);
	if (uart.absent || port < PORT || port >= PORT + 8)
		return 0xff;
	if (uart.open_bus)
		return uart.last;
	switch (port - PORT) {
	case 0:
		return uart.typed && *uart.typed ? (u8)*uart.typed++ : 0;
	case 2:
		return uart.fifo && (uart.reg[2] & 1) ? 0xc1 : 0x01;
	case 5:
		uart.polls++;
		if (uart.tx_dead)
			return 0;
		uart.room = uart.fifo ? 16 : 1;
		return uart.typed && *uart.typed ? 0x61 : 0x60;
	case 6:
		if (!(mcr & 0x10))
			return 0xb0;
		return (u32)((mcr & 0x0c) << 4 | (mcr & 2) << 3 | (mcr & 1) << 5);
	case 7:
		return uart.scratch ? uart.reg[7] : 0xff;
	default:
		return uart.reg[port - PORT];
	}
}

static void uart_out(u16 port, u32 size, u32 value)
{
	assert_int_equal(size, 1);
	assert_true(port >= PORT && port < PORT + 8);
	uart.last = (u8)value;
	if (port - PORT < 2 && (uart.reg[3] & 0x80)) {
		uart.divisor[port - PORT] = (u8)value;
	} else if (port == PORT) {
		if (!uart.room)
			uart.overruns++;
		else
			uart.room--;
		uart.sent[uart.sent_count++ % sizeof(uart.sent)] = (char)value;
	} else {
		uart.reg[port - PORT] = (u8)value;
	}
}

static int setup(void **state)
{
	memset(&uart, 0, sizeof(uart));
	uart.scratch = uart.fifo = true;
	hosted_machine.in = uart_in;
	hosted_machine.out = uart_out;
	return 0;
}

static void test_good(void **state)
{
	char text[100];

	assert_int_equal(serial_init(PORT, 9600), 0);
	assert_int_equal(uart.divisor[0] | uart.divisor[1] << 8, 12);
	assert_int_equal(uart.reg[3], 0x03);
	memset(text, 'a', sizeof(text));
	serial_write(text, sizeof(text));
	assert_int_equal(uart.sent_count, sizeof(text));
	assert_int_equal(uart.overruns, 0);
	assert_int_equal(uart.polls, 7); /* 16 bytes each */
	assert_int_equal(serial_init(PORT, 50), 0);
	assert_int_equal(uart.divisor[0] | uart.divisor[1] << 8, 2304);
}

/* An 8250 has neither scratch register nor FIFO. */
static void test_old(void **state)
{
	uart.scratch = uart.fifo = false;
	assert_int_equal(serial_init(PORT, 115200), 0);
	serial_write("hello", 5);
	assert_int_equal(uart.sent_count, 5);
	assert_int_equal(uart.overruns, 0);
	assert_memory_equal(uart.sent, "hello", 5);
}

static void test_absent(void **state)
{
	uart.absent = true;
	assert_int_equal(serial_init(PORT, 115200), ERR_NOENT);
	serial_write("hello", 5);
	assert_int_equal(uart.sent_count, 0);
	assert_false(serial_rx_ready());
	assert_int_equal(serial_irq(), ERR_NOTSUP);
	uart.absent = false;
	uart.open_bus = true;
	assert_int_equal(serial_init(PORT, 115200), ERR_NOENT);
}

static void test_rates(void **state)
{
	static const u32 bad[] = {0, 115201, 230400, 100000, 1};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(serial_init(PORT, bad[i]), ERR_INVAL);
	assert_int_equal(serial_init(0, 9600), ERR_INVAL);
}

/* The wait happens once; afterwards each burst costs a single look, until it answers again. */
static void test_stuck(void **state)
{
	char text[64] = {0};
	u32 before;

	assert_int_equal(serial_init(PORT, 115200), 0);
	uart.tx_dead = true;
	serial_write(text, 16);
	before = uart.polls;
	assert_true(before > 1000 && before < 10000000);
	serial_write(text, sizeof(text));
	assert_int_equal(uart.polls - before, 4);
	assert_int_equal(uart.sent_count, 0);
	uart.tx_dead = false;
	serial_write("back", 4);
	assert_memory_equal(uart.sent, "back", 4);
	assert_int_equal(uart.overruns, 0);
}

static void test_interrupt(void **state)
{
	assert_int_equal(serial_init(PORT, 115200), 0);
	assert_int_equal(serial_irq(), 4);
	assert_int_equal(uart.reg[1], 0);
	assert_int_equal(uart.reg[4], 0x03);
	serial_enable_rx_interrupt();
	assert_int_equal(uart.reg[1], 0x01);
	assert_int_equal(uart.reg[4], 0x0b);
}

/* What comes in while a long text goes out is there afterwards, in order, and then no more. */
static void test_input_during_output(void **state)
{
	const char *typed = "0123456789abcdefghijklmnopqrstuvwxyz";
	char text[100] = {0};

	assert_int_equal(serial_init(PORT, 115200), 0);
	uart.typed = typed;
	serial_write(text, sizeof(text));
	assert_int_equal(*uart.typed, 0); /* the receiver is empty: nothing was lost to it */
	for (const char *p = typed; *p; p++) {
		assert_true(serial_rx_ready());
		assert_int_equal(serial_read(), *p);
	}
	assert_false(serial_rx_ready());
	uart.typed = "x";
	assert_true(serial_rx_ready());
	assert_int_equal(serial_read(), 'x');
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_good, setup),
		cmocka_unit_test_setup(test_old, setup),
		cmocka_unit_test_setup(test_absent, setup),
		cmocka_unit_test_setup(test_rates, setup),
		cmocka_unit_test_setup(test_stuck, setup),
		cmocka_unit_test_setup(test_interrupt, setup),
		cmocka_unit_test_setup(test_input_during_output, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
