/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/serial.h"
#include "kernel/base/x86.h"

/* Registers, from the port's base (National PC16550D, table II). */
enum {
	UART_DATA = 0,
	UART_IER = 1,
	UART_IIR = 2, /* read */
	UART_FCR = 2, /* write */
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCRATCH = 7,
	UART_DIVISOR_LOW = 0, /* with LCR_DLAB */
	UART_DIVISOR_HIGH = 1,
};

#define IER_RX	     0x01
#define IER_TX_EMPTY 0x02
#define IIR_REASON   0x0f
#define IIR_TX_EMPTY 0x02
#define IIR_RX	     0x04 /* 0x0c for bytes that have waited in the FIFO */
#define IIR_RX_MASK  0x07
#define IIR_FIFO     0xc0 /* both bits: a FIFO that works */
#define FCR_ENABLE   0x07 /* and clear both ways; interrupt at every byte */
#define LCR_8N1	     0x03
#define LCR_DLAB     0x80
#define MCR_DTR	     0x01
#define MCR_RTS	     0x02
#define MCR_OUT1     0x04
#define MCR_OUT2     0x08 /* lets the interrupt line through on a PC */
#define MCR_LOOPBACK 0x10
#define MSR_LINES    0xf0
#define LSR_RX_READY 0x01
#define LSR_TX_EMPTY 0x20
#define WAIT_POLLS   200000 /* at a microsecond a poll, longer than 16 bytes at 1200 baud */
#define COM1_PORT    0x3f8
#define COM2_PORT    0x2f8
#define COM3_PORT    0x3e8
#define COM4_PORT    0x2e8

static u16 uart;       /* 0: none */
static u32 fifo_depth; /* bytes that may follow each other once it is empty */
static bool stuck;     /* timed out; until it answers again bytes are dropped */

static u8 rx_ring[SERIAL_RX_RING];
static u32 rx_head, rx_tail;

static u8 reg_read(u16 port, u32 reg)
{
	return inb((u16)(port + reg));
}

static void reg_write(u16 port, u32 reg, u8 value)
{
	outb((u16)(port + reg), value);
}

/* The write to IER between puts another value on a bus that merely remembers the last one. */
static bool scratch_answers(u16 port)
{
	reg_write(port, UART_SCRATCH, 0x5a);
	reg_write(port, UART_IER, 0);
	if (reg_read(port, UART_SCRATCH) != 0x5a)
		return false;
	reg_write(port, UART_SCRATCH, 0xa5);
	reg_write(port, UART_IER, 0);
	return reg_read(port, UART_SCRATCH) == 0xa5;
}

/* In loop-back the modem outputs RTS, DTR, OUT1, OUT2 appear as the inputs in bits 4 to 7. */
static bool loopback_answers(u16 port)
{
	bool ok;

	reg_write(port, UART_MCR, MCR_LOOPBACK | MCR_RTS | MCR_OUT2);
	ok = (reg_read(port, UART_MSR) & MSR_LINES) == 0x90;
	reg_write(port, UART_MCR, MCR_LOOPBACK | MCR_DTR | MCR_OUT1);
	ok = ok && (reg_read(port, UART_MSR) & MSR_LINES) == 0x60;
	reg_write(port, UART_MCR, 0);
	return ok;
}

int serial_init(u16 port, u32 baud)
{
	u32 divisor;

	uart = 0;
	if (port == 0 || baud == 0 || baud > SERIAL_BAUD_BASE || SERIAL_BAUD_BASE % baud)
		return ERR_INVAL;
	divisor = SERIAL_BAUD_BASE / baud;
	if (divisor > 0xffff)
		return ERR_INVAL;
	reg_write(port, UART_IER, 0);
	if (!scratch_answers(port) && !loopback_answers(port))
		return ERR_NOENT;
	reg_write(port, UART_LCR, LCR_DLAB);
	reg_write(port, UART_DIVISOR_LOW, (u8)divisor);
	reg_write(port, UART_DIVISOR_HIGH, (u8)(divisor >> 8));
	reg_write(port, UART_LCR, LCR_8N1);
	reg_write(port, UART_FCR, FCR_ENABLE);
	fifo_depth = (reg_read(port, UART_IIR) & IIR_FIFO) == IIR_FIFO ? SERIAL_FIFO : 1;
	reg_write(port, UART_MCR, MCR_DTR | MCR_RTS);
	stuck = false;
	rx_head = rx_tail;
	uart = port;
	return 0;
}

bool serial_is_there(void)
{
	return uart != 0;
}

/* What is read off a UART that answers nothing. */
static bool rx_in(u8 status)
{
	return status != 0xff && (status & LSR_RX_READY);
}

/*
 * A writer keeps interrupts off for longer than 16 bytes take to come in: it puts them by. What
 * the ring has no room for stays in the UART.
 */
static void rx_collect(u8 status)
{
	while (rx_in(status) && rx_tail - rx_head < SERIAL_RX_RING) {
		rx_ring[rx_tail++ % SERIAL_RX_RING] = reg_read(uart, UART_DATA);
		status = reg_read(uart, UART_LSR);
	}
}

static bool tx_wait(void)
{
	u32 polls = stuck ? 1 : WAIT_POLLS;

	for (; polls; polls--) {
		u8 status = reg_read(uart, UART_LSR);

		rx_collect(status);
		if (status & LSR_TX_EMPTY) {
			stuck = false;
			return true;
		}
		cpu_relax();
	}
	stuck = true;
	return false;
}

void serial_write(const void *bytes, size_t n)
{
	const u8 *p = bytes;

	while (uart && n) {
		size_t burst = min(n, (size_t)fifo_depth);

		if (tx_wait()) {
			for (size_t i = 0; i < burst; i++)
				reg_write(uart, UART_DATA, p[i]);
		}
		p += burst;
		n -= burst;
	}
}

bool serial_rx_ready(void)
{
	if (!uart)
		return false;
	return rx_head != rx_tail || rx_in(reg_read(uart, UART_LSR));
}

u8 serial_read(void)
{
	if (rx_head != rx_tail)
		return rx_ring[rx_head++ % SERIAL_RX_RING];
	return reg_read(uart, UART_DATA);
}

int serial_irq(void)
{
	switch (uart) {
	case COM1_PORT:
	case COM3_PORT:
		return 4;
	case COM2_PORT:
	case COM4_PORT:
		return 3;
	default:
		return ERR_NOTSUP;
	}
}

void serial_ask_for_interrupt(void)
{
	reg_write(uart, UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	reg_write(uart, UART_IER, IER_TX_EMPTY);
}

bool serial_interrupt_was_asked(void)
{
	if ((reg_read(uart, UART_IIR) & IIR_REASON) != IIR_TX_EMPTY)
		return false;
	reg_write(uart, UART_IER, 0);
	return true;
}

bool serial_rx_interrupt_is_raised(void)
{
	return (reg_read(uart, UART_IIR) & IIR_RX_MASK) == IIR_RX;
}

void serial_enable_rx_interrupt(void)
{
	if (!uart)
		return;
	reg_write(uart, UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	reg_write(uart, UART_IER, IER_RX);
}
