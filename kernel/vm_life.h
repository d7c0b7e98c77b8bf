/* SPDX-License-Identifier: MIT */
/*
 * A VM's life as others steer it: whoever means one by its name, such as the monitor. Thread
 * context, no spin lock held, never a vCPU's own thread (it would wait for itself).
 *
 * What vm_find and vm_list give is a reference. The VM may end at any moment, and every call but
 * vm_dump_memory then says ERR_NOENT; but the struct and all it points to (vCPUs, devices, memory,
 * counters) stay as they are until vm_put. Its memory goes back only then, and a reset waits as well:
 * a reference is held for one command, not while a person thinks.
 */
#ifndef KERNEL_VM_LIFE_H
#define KERNEL_VM_LIFE_H

#include "kernel/vm.h"

/* The VM of that name, if it runs. NULL: none does. */
struct vm *vm_find(const char *name);
void vm_put(struct vm *vm);

/* References to the VMs that run, in the order of starting; how many. Each is to be put. */
u32 vm_list(struct vm **out, u32 max);

/*
 * Asks for a start of a configured VM that does not run, from its modules. 0: the manager does it
 * soon, and logs how it went; where it ends just now, afterwards. ERR_NOENT: none has the name.
 * ERR_EXIST: it runs, or is about to.
 * ERR_PERM: its configuration was refused, or its modules were released.
 */
int vm_start(const char *name);

/*
 * Whether a VM that does not run is about to start, or to start again: after a reset or a crash it
 * may wait for its turn, or for memory.
 */
bool vm_may_start(const char *name);
/* vm_start would say ERR_PERM. */
bool vm_is_refused(const char *name);
/* Likewise: it has started, with modules=release, and does not again. */
bool vm_is_spent(const char *name);
/*
 * It starts by itself no more. 0: it was about to. ERR_EXIST: it runs, and does not start again once
 * it ends. ERR_NOENT: it is off.
 */
int vm_stay_off(const char *name);

/* Kills every VM, and none starts again. Does not wait for their ends. */
void vm_end_all(void);

/*
 * vm_pause returns when no vCPU of it executes guest code any more (or someone has resumed it
 * meanwhile). Until vm_resume its vCPUs' threads sleep, its periodic timers are off, and its
 * interrupts wait; its clocks run on. Pausing twice is pausing once. What is paused for memory, too,
 * goes on when that reason has gone as well.
 */
int vm_pause(struct vm *vm);
int vm_resume(struct vm *vm);
bool vm_is_paused(const struct vm *vm); /* for whatever reason. Any context */
u32 vm_paused_why(const struct vm *vm); /* enum vm_pause. Any context */

/*
 * Ask for its end, paused or not, and do not wait for it. The first cause wins. Reset starts it
 * again from its modules, and says ERR_PERM where they were released; the guest is not asked in any of
 * them.
 */
int vm_reset(struct vm *vm);
int vm_power_off(struct vm *vm);
int vm_kill(struct vm *vm);

/* The NMI button of a PC: LINT1 of every local APIC, as its entry says. */
int vm_nmi(struct vm *vm);

/* The registers of every vCPU into the log, each looked at between two of its instructions. */
int vm_dump(struct vm *vm);

/*
 * [gpa, gpa + size) into the log, 8 bytes a line, read page by page as they are at the moment.
 * ERR_RANGE: more than VM_DUMP_MAX, nothing, or a sum that wraps. ERR_NOSLOT: from some page on
 * there is no RAM; what comes before it is shown. ERR_NOMEM; others of gpa_read: ERR_IO and ERR_CORRUPT
 * where a page is lost. Of a VM that has ended it shows what is left.
 */
#define VM_DUMP_MAX 4096
int vm_dump_memory(struct vm *vm, u64 gpa, u64 size);

#endif
