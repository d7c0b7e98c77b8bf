/* SPDX-License-Identifier: MIT */
/*
 * The real-mode areas of VMs: the pool that the command line asks for (mem/rma.h), the piece of it
 * that a VM's rma= asks for, and the set-up before a vCPU's first entry (mmu/rma_setup.h). What goes
 * wrong is told in one line with sizes and remedy. Thread context.
 */
#ifndef KERNEL_RMA_H
#define KERNEL_RMA_H

#include "kernel/vm.h"

/* Boot thread, once, before the first VM. bytes: of rma_pool=; where they are not free the log says
 * so and there is no pool. */
void rma_start(u64 bytes);

/*
 * With the VM's RAM made and before anything is in it: the piece that its configuration asks for, if
 * any, becomes the bottom of RAM. An error whose remedy is not just more memory is in message.
 */
int vm_rma_create(struct vm *vm, char *message, size_t size);
/* After the VM's RAM was given back. */
void vm_rma_destroy(struct vm *vm);

/* With the VM's memory map made; and before it is taken apart. Take slots_lock. */
void vm_rma_watch(struct vm *vm);
void vm_rma_unwatch(struct vm *vm);

/*
 * Before the vCPU's first entry, on its thread; takes vm->lock. ERR_AGAIN: call again. ERR_NOMEM:
 * likewise, when there is memory. Any other error: it cannot run as things are; the log says why.
 */
int vcpu_rma_set_up(struct vcpu *v);

#endif
