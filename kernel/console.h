/* SPDX-License-Identifier: MIT */
/*
 * Weir's console shared among the log, the guests' serial ports and the monitor. At first it is the
 * guests': one VM alone and its bytes pass as they are; several, and whole lines come, each headed
 * by the VM's name. What is typed goes to the first VM that was started and still runs. Ctrl-] at
 * any time leaves that for the monitor (kernel/monitor/), which may give the console to one VM.
 *
 * What a VM has written since Weir booted is kept, the last CONSOLE_KEPT bytes of it, also while
 * another has the console, and beyond resets and its end.
 */
#ifndef KERNEL_CONSOLE_H
#define KERNEL_CONSOLE_H

#include "kernel/config.h"

struct vm;
struct vm_console;

#define CONSOLE_KEPT_ORDER 2
#define CONSOLE_KEPT	   (PAGE_SIZE << CONSOLE_KEPT_ORDER)

/* Thread context, once, after smp_bring_up; starts the thread that reads what is typed. */
void console_init(const struct weir_config *config);

/*
 * Thread context; of one name one after the other. ERR_NOENT: not a configured VM. how: its end, in a few
 * words, which stand where what it wrote is shown again; NULL: it never ran. Removing twice is harmless.
 * LOCK_CONSOLES; removing, which may wait for output, then LOCK_CONSOLE.
 */
int console_vm_add(struct vm *vm);
void console_vm_remove(struct vm *vm, const char *how);

/*
 * After console_vm_remove of one that does not start again by itself. Where it is the one that is shown
 * while others run, a line of the log says how to go on; where none runs, monitor_stay does. Thread
 * context; LOCK_CONSOLE.
 */
void console_vm_is_off(const char *name);

/* --- who has the console: the console's thread only, but for console_view --- */

enum console_view {
	CONSOLE_SHARED,	 /* as at first */
	CONSOLE_VM,	 /* one VM's, whether it runs or not */
	CONSOLE_MONITOR, /* the monitor's: no guest's byte is shown */
};
enum console_view console_view(void);

/* The one VM whose console is shown, NULL where it is all VMs', or the monitor's. */
const char *console_shown_vm(void);

void console_show_shared(void);
/* Shows what was kept of the VM, then what it writes. ERR_NOENT: no VM is configured so. */
int console_show_vm(const char *name);
/* As it was when the monitor got it. */
void console_show_last(void);

/*
 * Takes the console for the monitor. Whatever the guest before did to the terminal (modes, a
 * sequence that does not end, the cursor's place) is undone: what follows is on a line of its own.
 */
void console_show_monitor(void);

/*
 * What is typed, for the VM that has the console. Returns how many bytes were taken. *whom: who was
 * offered some of these bytes before, NULL for nobody; then who was now. ERR_NOENT: that one has the
 * console no more. What was typed for it is no other's to read, and nothing was offered.
 */
int console_deliver(const u8 *bytes, u32 count, const struct vm_console **whom);

/* --- for everyone --- */

/* The name of the i-th configured VM, NULL after the last. Any context. */
const char *console_vm_name(u32 i);
/* How many VMs have a console: those that run. Any context. */
u32 console_running(void);

#endif
