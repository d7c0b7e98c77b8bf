/* SPDX-License-Identifier: MIT */
/*
 * One 16550 (or 8250, 16450) UART: output by polling, input by polling or interrupt. A UART that is
 * not there or stops answering costs time once, never a hang. While a text goes out, what comes in is
 * put by. The console lock guards both ways. Any context.
 */
#ifndef KERNEL_BASE_SERIAL_H
#define KERNEL_BASE_SERIAL_H

#include "kernel/base/types.h"

#define SERIAL_BAUD_BASE 115200 /* the highest rate; others divide it */

#define SERIAL_FIFO    16   /* bytes that a 16550 holds each way */
#define SERIAL_RX_RING 1024 /* that are put by; a power of two */

/* 8 bits, no parity, one stop bit. 0, ERR_NOENT: nothing answers, ERR_INVAL: rate. */
int serial_init(u16 port, u32 baud);

bool serial_is_there(void); /* serial_init found one */

void serial_write(const void *bytes, size_t n);

bool serial_rx_ready(void);
u8 serial_read(void); /* only when serial_rx_ready() */

/* Received bytes raise ISA interrupt serial_irq() (or ERR_NOTSUP at an unusual port: poll). */
int serial_irq(void);
void serial_enable_rx_interrupt(void);

/*
 * One interrupt without a byte in either direction: the transmitter says that it is empty. Its
 * handler asks whether it is that one, which ends it. Only where serial_is_there(); without the
 * console lock, which nobody needs for these registers.
 */
void serial_ask_for_interrupt(void);
bool serial_interrupt_was_asked(void);

/* Likewise: a byte waits, and nothing ends it but reading. */
bool serial_rx_interrupt_is_raised(void);

#endif
