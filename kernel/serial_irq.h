/* SPDX-License-Identifier: MIT */
/* The UART's interrupt, if it comes. Boot CPU, thread context, at boot. */
#ifndef KERNEL_SERIAL_IRQ_H
#define KERNEL_SERIAL_IRQ_H

#include "smp/irq.h"

/*
 * Received bytes call fn, in interrupt context, from now on, if the interrupt comes: many boards
 * route those of COM3 and COM4, and of cards, elsewhere. Whether it does is tried; false: not as
 * far as is known, so poll besides until serial_irq_comes.
 */
bool serial_irq_start(irq_handler_t fn);

/*
 * It was seen twice, for once may be another device's at the right moment. One that interrupts all
 * the time at the same vector does pass for the UART. Any context.
 */
bool serial_irq_comes(void);

#endif
