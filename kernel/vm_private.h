/* SPDX-License-Identifier: MIT */
/*
 * Between the manager (kernel/vm.c), which starts VMs and looks after their ends, kernel/vm_make.c,
 * which makes one and takes it apart, kernel/vm_list.c, which has those that run and what is planned
 * for the others, and kernel/vm_life.c, which stops and shows one. Thread context unless said
 * otherwise.
 */
#ifndef KERNEL_VM_PRIVATE_H
#define KERNEL_VM_PRIVATE_H

#include "kernel/vm_life.h"

/*
 * The manager sleeps on it. Its lock guards the list, references, plans, and when vCPUs go, stop and
 * are released.
 */
extern struct wait_queue vm_wait;

/*
 * All of a VM, its threads waiting to go; or nothing, and message says why where there is more to say
 * than the error. The manager's thread, like the next two.
 */
int vm_make(const struct vm_config *config, struct restart *restart, struct vm **out, char *message,
	    size_t size);
/* Its vCPUs begin. It is on the list. */
void vm_let_go(struct vm *vm);
/* Frees what there is of it. No thread of it is left; devices and local APICs may be gone. */
void vm_unmake(struct vm *vm);

/* vm->life before anything can end the VM. */
void vm_life_init_vm(struct vm *vm);

/* Any thread, its vCPUs', too: reasons that come and that go. Its vCPUs park soon, or go on. */
void vm_set_paused(struct vm *vm, u32 on, u32 off);

/* Every VM that is not refused may start. */
void vm_list_init(struct weir_config *config);
/* It runs from here on; or, where somebody does not want it any more, ends at once. */
void vm_list_add(struct vm *vm);
bool vm_list_empty(void);

/*
 * Takes a VM off the list whose vCPUs have all stopped and that nobody refers to: it may start again
 * from here on. NULL: there is none. vm_wait's lock is held.
 */
struct vm *vm_list_take_stopped(void);

/* What somebody wants of a configured VM that does not run; wanted no more once it was taken. */
enum vm_plan {
	VM_PLAN_NONE,
	VM_PLAN_START,
	VM_PLAN_STAY_OFF, /* though it was to start, or to start again */
};
enum vm_plan vm_take_plan(u32 config_index);
/* There is one to take. vm_wait's lock is held. */
bool vm_any_plan(void);
/* The manager does not start it, for now. */
void vm_is_off(u32 config_index);

#endif
