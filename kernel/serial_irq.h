/* SPDX-License-Identifier: MIT */
/* The UART's interrupt, if it comes. Boot CPU, thread context, once. */
#ifndef KERNEL_SERIAL_IRQ_H
#define KERNEL_SERIAL_IRQ_H

#include "smp/irq.h"

/*
 * Received bytes call fn, in interrupt context, from now on. false: no interrupt comes where the
 * UART's should, for many boards route those of COM3 and COM4, and of cards, elsewhere: poll.
 */
bool serial_irq_start(irq_handler_t fn);

#endif
