/* SPDX-License-Identifier: MIT */
#include "kernel/serial_irq.h"
#include "kernel/base/serial.h"
#include "kernel/base/x86.h"
#include "smp/timer.h"

#define PATIENCE_NS 20000000ull /* more than a full FIFO takes to drain at 9600 baud */

static irq_handler_t receive; /* atomic; NULL while it is tried */
static bool came;	      /* atomic */

static void interrupt(void *arg)
{
	irq_handler_t fn = __atomic_load_n(&receive, __ATOMIC_ACQUIRE);

	if (fn)
		fn(arg);
	else if (serial_interrupt_was_asked())
		__atomic_store_n(&came, true, __ATOMIC_RELEASE);
}

static bool comes(void)
{
	u64 end = clock_ns() + PATIENCE_NS;

	serial_ask_for_interrupt();
	do {
		if (__atomic_load_n(&came, __ATOMIC_ACQUIRE))
			return true;
		cpu_relax();
	} while (clock_ns() < end);
	return false;
}

bool serial_irq_start(irq_handler_t fn)
{
	int irq = serial_irq();

	if (irq < 0 || irq_register_isa((u32)irq, interrupt, NULL))
		return false;
	if (!comes()) {
		serial_disable_interrupts();
		return false;
	}
	__atomic_store_n(&receive, fn, __ATOMIC_RELEASE);
	serial_enable_rx_interrupt();
	return true;
}
