/* SPDX-License-Identifier: MIT */
/*
 * The guest's 16550A at 0x3f8, IRQ 4 (National PC16550D data sheet), with a line of infinite speed:
 * what is sent is gone at once, what is typed waits outside until the receiver has room. The
 * guest's output is gathered and written in batches: at each line's end, when the buffer is full,
 * or a moment later. On the way to the console, which is slow and all VMs share, it goes piece by piece. A vCPU
 * that writes while the buffer is full waits for room, until its VM has ended.
 */
#ifndef KERNEL_DEV_UART_H
#define KERNEL_DEV_UART_H

#include "kernel/dev/device.h"
#include "smp/mutex.h"
#include "smp/timer.h"

#define UART_FIFO_SIZE	 16
#define UART_INPUT_SIZE	 256 /* typed and not yet received */
#define UART_OUTPUT_SIZE 256
#define UART_PIECE	 32 /* bytes of it that go to the console at a time */

struct platform;

struct uart {
	struct device dev;
	struct platform *p;
	/* platform's lock */
	u8 ier, fcr, lcr, mcr, scr, divisor_low, divisor_high;
	u8 msr_delta;	/* the low half of MSR */
	u8 line_errors; /* of LSR */
	bool thre_pending;
	bool irq;
	u8 fifo[UART_FIFO_SIZE];
	u32 fifo_head, fifo_count;
	u8 last_received;
	u8 input[UART_INPUT_SIZE];
	u32 input_head, input_count;
	u8 output[UART_OUTPUT_SIZE];
	u32 output_count;
	struct timer flush_timer;
	/* LOCK_DEVICE: pieces leave one after the other */
	struct mutex output_lock;
};

int uart_init(struct uart *u, struct platform *p);

/*
 * Thread context, no spin lock held: hands the guest's output to the console. A vCPU's thread leaves that for
 * later while its VM is paused, unless the buffer is full, and for who takes it apart once it has ended.
 */
void uart_flush(struct uart *u);

/* Bytes for the receiver; returns how many it took. Thread context. */
u32 uart_input(struct uart *u, const u8 *bytes, u32 count);

#endif
