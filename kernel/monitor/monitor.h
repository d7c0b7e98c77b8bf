/* SPDX-License-Identifier: MIT */
/*
 * The monitor: an operator at Weir's console (docs/monitor.md). It runs on the console's thread,
 * commands too: what is typed meanwhile waits, but for Ctrl-C.
 */
#ifndef KERNEL_MONITOR_MONITOR_H
#define KERNEL_MONITOR_MONITOR_H

#include "kernel/config.h"

/* The console's thread has taken the console: commands, until it is given to the VMs. */
void monitor_run(void);

/*
 * For Weir's end. No VM is left: with stay the monitor takes the console. Then whether Weir may end:
 * nobody is in the monitor (and with stay it does not matter), or a command has said that it ends,
 * and how. The last three: any context.
 */
void monitor_stay(bool stay);
bool monitor_lets_end(void);
bool monitor_has_decided(void);
enum config_when_done monitor_decision(void);

#endif
