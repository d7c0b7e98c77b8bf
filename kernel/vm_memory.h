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

/* Says once for each that it waits for memory of its own, for 2 MiB, or for others. Thread context. */
void vm_tell_wait(struct vm *vm);

/*
 * A vCPU of it found no frame, and waits until there is one, or takes one from others: a VM that ends
 * leaves some sooner. Its own thread; LOCK_WAIT.
 */
void vm_wants_memory(struct vm *vm);

/*
 * A vCPU of it begins to look. True: it has found nothing the last time, and waits on until vm_tried_again,
 * which is told so, when it knows whether it has found some. Its own thread.
 */
bool vm_tries_again(struct vm *vm, const struct memory_wait *wait, u64 begun_ns);
void vm_tried_again(struct vm *vm, bool again);

/*
 * A vCPU of it found nothing to be taken, having begun to look at begun_ns, and waits. True: until
 * vm_waited_in_vain, when it tries again; else it is its own bound, or there is memory. Its own thread; may
 * pause VMs, this one, too.
 */
bool vm_waits_in_vain(struct vm *vm, u64 begun_ns);
void vm_waited_in_vain(struct vm *vm);

/*
 * How long a vCPU sleeps that found nothing to be taken, having begun to look at begun_ns: twice as long as
 * the last time, within bounds, where it found nothing then and tried again at once.
 */
u64 vm_memory_wait_ns(struct memory_wait *wait, u64 begun_ns);

/*
 * The VM is paused for memory: lets it go on where there is some, which is to be asked about every
 * VM_MEMORY_LOOK_NS. A vCPU's own thread, which holds no lock.
 */
#define VM_MEMORY_LOOK_NS 100000000ull
void vm_look_for_memory(struct vm *vm);

#endif
