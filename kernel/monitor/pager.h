/* SPDX-License-Identifier: MIT */
/*
 * What a command says, a screenful at a time: lines are broken between words at the terminal's width,
 * and after 23 of them it waits for a key. It never waits while a command runs, which may hold locks
 * or a VM: what does not fit is kept, and shown when the command has ended. The console's thread.
 */
#ifndef KERNEL_MONITOR_PAGER_H
#define KERNEL_MONITOR_PAGER_H

#include "kernel/monitor/cut_name.h"

#define PAGER_ROWS    24
#define PAGER_COLUMNS 80

/* Of all commands from the next one on. On at boot. */
void pager_switch(bool on);

/* Around a command. Outside it lines come as they are. */
void pager_begin(void);
/* Shows what was kept; waits for keys. True: the last of them was Ctrl-], and nothing was done about it. */
bool pager_end(void);

/* During a command, before its first line: all comes at once and unbroken, for a program reads it. */
void pager_pass(void);
/* During a command: what was kept is dropped, and what comes as well. */
void pager_drop(void);

/* A VM's name in a table's column. Whole while the pager is off: a program reads it. */
struct cut_name pager_name(const char *name, u32 columns);

/* A line of printable characters, without its end. */
void pager_put(const char *line, size_t n);

#endif
