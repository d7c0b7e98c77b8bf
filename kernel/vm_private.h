/* SPDX-License-Identifier: MIT */
/*
 * Between the manager (kernel/vm.c), which starts VMs, kernel/vm_end.c, which looks after their ends on
 * a thread of its own, kernel/vm_make.c, which makes one and takes it apart, kernel/vm_list.c, which has those that run and what is planned
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

/* A start that finds no memory is tried so often, as long as there may be some. */
#define VM_START_TRIES 64u

/*
 * All of a VM, its threads waiting to go; or nothing, and message says why where there is more to say
 * than the error. The manager's thread.
 */
int vm_make(const struct vm_config *config, struct restart *restart, struct vm **out, char *message,
	    size_t size);
/* Its vCPUs begin. It is on the list. The manager's thread. */
void vm_let_go(struct vm *vm);
/* Of one that was made, and was not let go: its vCPUs' threads end, then vm_unmake. The manager's thread. */
void vm_discard(struct vm *vm);
/*
 * Frees what there is of it. No thread of it is left; devices and local APICs may be gone. The thread
 * of ends; or the manager's, of one that has not begun.
 */
void vm_unmake(struct vm *vm);

/* vm->life before anything can end the VM. */
void vm_life_init_vm(struct vm *vm);

/* Any thread, its vCPUs', too: reasons that come and that go. Its vCPUs park soon, or go on. */
void vm_set_paused(struct vm *vm, u32 on, u32 off);

/*
 * It runs from here on. False: it stays off, for somebody has said so while it was made; it is not on
 * the list, and is to be discarded.
 */
bool vm_list_add(struct vm *vm);
/* None runs, and none is being taken apart. */
bool vm_list_empty(void);

/*
 * Takes a VM off the list whose vCPUs have all stopped and that nobody refers to. From here on until
 * vm_list_ended it is the caller's, with what the manager has by its configuration (struct restart):
 * what others want of it meanwhile waits. NULL: there is none. vm_wait's lock is held.
 */
struct vm *vm_list_take_stopped(u32 *config_index);
/* Nothing of it is left. It may start again. */
void vm_list_ended(u32 config_index);
/*
 * Somebody waits for what a VM leaves that ends: if one does, its end is not taken at a small weight.
 * Otherwise nothing. Any context below LOCK_WAIT.
 */
void vm_list_hurry_end(void);

/* How many have ended so far. */
u32 vm_list_ends(void);
/*
 * Sleeps while as many have ended as *seen says and one is about to; tells how many it are. False:
 * none is, and none has ended since.
 */
bool vm_list_wait_end(u32 *seen);
/* None is left, nor has any ended that *seen does not count. */
bool vm_list_idle(u32 seen);

/*
 * Before any VM; once it is there it stays: the thread that takes those apart that have stopped, whatever
 * the manager waits for meanwhile. ERR_NOMEM. The manager's thread.
 */
int vm_ends_start(void);
/* A vCPU has stopped, or a reference has gone. Any context below LOCK_WAIT. */
void vm_ends_wake(void);

/*
 * Somebody waits for what VMs leave that end: the one that is taken apart, or else the next one, is not at
 * the thread's small weight. vm_wait's lock is held, so that none has just ended; or by that thread.
 */
void vm_ends_hurry(void);
/* One has ended: whoever waits for another says so once more. The thread of ends, under vm_wait's lock. */
void vm_ends_hurry_no_more(void);

/* What somebody wants of a configured VM; wanted no more once it was taken. */
enum vm_plan {
	VM_PLAN_NONE,
	VM_PLAN_START,
	VM_PLAN_STAY_OFF, /* though it was to start, or to start again */
	VM_PLAN_LATER,	  /* it runs, or its end is not over */
};
enum vm_plan vm_take_plan(u32 config_index);
/* There is one to take, but VM_PLAN_LATER. vm_wait's lock is held. */
bool vm_any_plan(void);
/* The manager does not start it until somebody asks for it. Its thread, or that of ends. */
void vm_is_off(u32 config_index);

#endif
