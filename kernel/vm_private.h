/* SPDX-License-Identifier: MIT */
/*
 * Between the manager (kernel/vm.c), which makes VMs and takes them apart, and kernel/vm_life.c,
 * which has the list of those that run. Thread context unless said otherwise.
 */
#ifndef KERNEL_VM_PRIVATE_H
#define KERNEL_VM_PRIVATE_H

#include "kernel/vm_life.h"

/*
 * The manager sleeps on it. Its lock guards the list, references, and when vCPUs go, stop and are
 * released.
 */
extern struct wait_queue vm_wait;

void vm_life_init(struct weir_config *config);
/* vm->life before anything can end the VM. */
void vm_life_init_vm(struct vm *vm);

/* Any thread, its vCPUs', too: reasons that come and that go. Its vCPUs park soon, or go on. */
void vm_set_paused(struct vm *vm, u32 on, u32 off);

void vm_list_add(struct vm *vm);
bool vm_list_empty(void);

/*
 * Takes a VM off the list whose vCPUs have all stopped and that nobody refers to. NULL: there is
 * none. vm_wait's lock is held.
 */
struct vm *vm_list_take_stopped(void);

/* Whether somebody asked for the start of that configuration; asked for no more. vm_wait's lock. */
bool vm_start_asked(u32 config_index);
bool vm_any_start_asked(void);

#endif
