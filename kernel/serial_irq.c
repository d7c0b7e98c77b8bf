/* SPDX-License-Identifier: MIT */
#include "kernel/serial_irq.h"
#include "kernel/base/serial.h"
#include "kernel/base/x86.h"
#include "smp/timer.h"

#define PATIENCE_NS 20000000ull /* more than a full FIFO takes to drain at 9600 baud */
#define ROUNDS	    2

static irq_handler_t receive; /* atomic; NULL while it is tried */
static u32 rounds;	      /* atomic; interrupts that found the UART asking for one */

bool serial_irq_comes(void)
{
	return __atomic_load_n(&rounds, __ATOMIC_ACQUIRE) >= ROUNDS;
}

static void count_round(void)
{
	__atomic_fetch_add(&rounds, 1, __ATOMIC_RELEASE);
}

static void interrupt(void *arg)
{
	irq_handler_t fn = __atomic_load_n(&receive, __ATOMIC_ACQUIRE);

	if (fn) {
		if (!serial_irq_comes() && serial_rx_interrupt_is_raised())
			count_round();
		fn(arg);
	} else if (serial_interrupt_was_asked()) {
		count_round();
	}
}

static bool round_comes(u32 round)
{
	u64 end = clock_ns() + PATIENCE_NS;

	serial_ask_for_interrupt();
	while (__atomic_load_n(&rounds, __ATOMIC_ACQUIRE) < round) {
		if (clock_ns() >= end)
			return __atomic_load_n(&rounds, __ATOMIC_ACQUIRE) >= round;
		cpu_relax();
	}
	return true;
}

/*
 * Silence proves little: there are UARTs that do not interrupt for a transmitter that is empty
 * already, and a slow line, or another CPU's log, keeps it from being empty.
 */
static bool try_it(void)
{
	for (u32 round = 1; round <= ROUNDS; round++) {
		if (!round_comes(round))
			return false;
	}
	return true;
}

bool serial_irq_start(irq_handler_t fn)
{
	int irq = serial_irq();
	bool came;

	__atomic_store_n(&receive, NULL, __ATOMIC_RELEASE);
	__atomic_store_n(&rounds, 0, __ATOMIC_RELEASE);
	if (irq < 0 || irq_register_isa((u32)irq, interrupt, NULL))
		return false;
	came = try_it();
	if (!came) /* as many of the receiver's, then */
		__atomic_store_n(&rounds, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&receive, fn, __ATOMIC_RELEASE);
	serial_enable_rx_interrupt();
	return came;
}
