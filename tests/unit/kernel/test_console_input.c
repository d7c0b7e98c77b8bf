/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/console_input.c kernel/base/serial.c */
/* unit-libs: -Wl,--wrap=thread_create_with */
/* What is typed, from a UART whose line makes an edge only when it has been low. */
#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/serial.h"
#include "kernel/base/x86.h"
#include "kernel/console.h"
#include "kernel/console_input.h"
#include "kernel/monitor/keyboard.h"
#include "kernel/monitor/monitor.h"
#include "kernel/serial_irq.h"
#include "smp/thread.h"
#include "tests/hosted/fakes.h"

#include <cmocka.h>

#define TYPED_MAX 1024 /* kernel/console_input.c keeps so much */

#define COM1	 0x3f8
#define DATA	 0
#define IIR	 2
#define LSR	 5
#define SCRATCH	 7
#define RX_READY 0x01
#define TX_EMPTY 0x60

static u8 scratch;
static u32 fifo;   /* bytes in the receiver */
static u32 coming; /* as soon as there is room */
static u32 slow;   /* one comes in for so many that are read; 0: none */
static u32 reads;
static bool broken; /* a byte is ready for ever */
static irq_handler_t handler;

static void line_gives(void)
{
	while (coming && fifo < SERIAL_FIFO) {
		coming--;
		fifo++;
	}
}

static u32 uart_in(u16 port, u32 size)
{
	switch (port - COM1) {
	case DATA:
		reads++;
		fifo -= fifo != 0;
		fifo += slow && reads % slow == 0;
		line_gives();
		return 'x';
	case IIR:
		return 0xc1;
	case LSR:
		return TX_EMPTY | (fifo || broken ? RX_READY : 0);
	case SCRATCH:
		return scratch;
	}
	return 0;
}

static void uart_out(u16 port, u32 size, u32 value)
{
	if (port - COM1 == SCRATCH)
		scratch = (u8)value;
}

/* --- what is around it --- */

bool serial_irq_start(irq_handler_t fn)
{
	handler = fn;
	return true;
}

int console_getc_poll(void)
{
	return serial_rx_ready() ? serial_read() : -1;
}

int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options);

/* Nobody takes what is typed but the test. */
int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options)
{
	return ERR_NOMEM;
}

ANSWER(bool, serial_irq_comes, true, void)
ANSWER(int, keyboard_start, ERR_NOENT, void (*put)(u8 byte))
ANSWER(int, console_deliver, 0, const u8 *bytes, u32 count, const struct vm_console **whom)
NOTHING(console_show_monitor, void)
NOTHING(monitor_run, void)
NOTHING(thread_lift, struct thread *t, u32 by)
NOTHING(thread_lower, struct thread *t, u32 by)

static int setup(void **state)
{
	fifo = coming = slow = reads = 0;
	broken = false;
	return 0;
}

static int start(void **state)
{
	hosted_machine.in = uart_in;
	hosted_machine.out = uart_out;
	assert_int_equal(serial_init(COM1, 115200), 0);
	console_input_start();
	assert_non_null(handler);
	return 0;
}

/* So many bytes come in while another CPU writes to the console, which puts by what it can. */
static void come_in(u32 bytes)
{
	coming = bytes;
	line_gives();
	serial_write("x", 1);
	assert_int_equal(coming, 0);
}

static u32 take_all(void)
{
	u32 n = 0;

	while (console_getc(0) == 'x')
		n++;
	return n;
}

/* --- tests --- */

/* All that the UART and its driver can hold is read at the one edge; what finds no room is lost. */
static void as_much_as_can_wait(void **state)
{
	come_in(SERIAL_RX_RING + SERIAL_FIFO);
	assert_int_equal(fifo, SERIAL_FIFO);
	handler(NULL);
	assert_int_equal(fifo, 0); /* the line is low: the next byte makes an edge */
	assert_false(serial_rx_ready());
	assert_int_equal(take_all(), TYPED_MAX);
	come_in(1);
	handler(NULL);
	assert_int_equal(take_all(), 1);
}

/* Others come in meanwhile, at a tenth of the pace at which they are read. */
static void and_what_comes_meanwhile(void **state)
{
	come_in(SERIAL_RX_RING + SERIAL_FIFO);
	slow = 10;
	handler(NULL);
	assert_int_equal(fifo, 0);
	assert_false(serial_rx_ready());
	slow = 0;
	assert_int_equal(take_all(), TYPED_MAX);
}

/* While Weir booted, and put by before there was an interrupt. */
static void what_came_in_before(void **state)
{
	come_in(5);
	console_input_start();
	assert_int_equal(take_all(), 5);
}

static void not_for_ever(void **state)
{
	broken = true;
	handler(NULL);
	assert_true(reads >= SERIAL_RX_RING + SERIAL_FIFO);
	broken = false;
	assert_int_equal(take_all(), TYPED_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(as_much_as_can_wait, setup),
		cmocka_unit_test_setup(and_what_comes_meanwhile, setup),
		cmocka_unit_test_setup(what_came_in_before, setup),
		cmocka_unit_test_setup(not_for_ever, setup),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
