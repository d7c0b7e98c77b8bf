/* SPDX-License-Identifier: MIT */
/*
 * When there is no memory to be had: who wants some waits, and of several VMs that wait in vain the
 * one furthest over its share is paused, so that nobody touches its pages any more and they can be
 * taken for the others. It goes on by itself when memory is back. Nothing of it is dropped.
 *
 * Pausing whom nobody waits beside would help nobody, so the last one that waits is never paused; nor
 * is a VM that does not wait, for it may yet end, or give back, by itself.
 */
#ifndef KERNEL_VM_MEMORY_H
#define KERNEL_VM_MEMORY_H

#include "kernel/vm.h"

/*
 * A vCPU of it found no frame, and tries to take one from others; a VM that ends leaves some sooner. If its
 * last try was in vain just now it waits on meanwhile, for as long as it takes. Its own thread; LOCK_WAIT.
 */
void vm_wants_memory(struct vm *vm, struct memory_wait *w);

/*
 * It found nothing to be taken. Says once for each that it waits for memory of its own, for 2 MiB, or for
 * others; if for others it waits, and may have VMs paused, this one, too. How many ns it is to sleep: twice as
 * long as the last time, within bounds, where that was in vain just now. Its own thread.
 */
u64 vm_waits_in_vain(struct vm *vm, struct memory_wait *w);

/* It has found some, or has slept. Its own thread. */
void vm_wanted_memory(struct vm *vm, struct memory_wait *w, bool found);

/*
 * The VM is paused for memory: lets it go on where there is some, which is to be asked about every
 * VM_MEMORY_LOOK_NS. A vCPU's own thread, which holds no lock.
 */
#define VM_MEMORY_LOOK_NS 100000000ull
void vm_look_for_memory(struct vm *vm);

#endif
