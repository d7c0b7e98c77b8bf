/* SPDX-License-Identifier: MIT */
/*
 * Weir's console shared among the log and the guests' serial ports. One VM alone: its bytes pass
 * as they are. Several: whole lines, each headed by the VM's name. What is typed goes to the VM in
 * focus, the first that was started and still runs.
 */
#ifndef KERNEL_CONSOLE_H
#define KERNEL_CONSOLE_H

#include "kernel/config.h"

struct vm;

/* Thread context, once, after smp_bring_up. Input by the UART's interrupt, else by polling. */
void console_init(const struct weir_config *config);

/* Thread context, the manager's thread. ERR_NOMEM. Removing twice is harmless. */
int console_vm_add(struct vm *vm);
void console_vm_remove(struct vm *vm);

#endif
