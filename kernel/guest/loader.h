/* SPDX-License-Identifier: MIT */
/*
 * Guest loaders: put a kernel (bzImage by the 64-bit boot protocol, vmlinux by its PVH note, multiboot1 ELF or
 * a.out-kludge) with its modules and tables into the VM's memory and say how vCPU 0 starts.
 * Thread context; the VM's memslots exist and no vCPU has run.
 */
#ifndef KERNEL_GUEST_LOADER_H
#define KERNEL_GUEST_LOADER_H

#include "kernel/guest/memory.h"
#include "kernel/vm.h"
#include "vmx/vmx.h"

/*
 * 0, or an error after writing to message (size bytes) one line that says what was found and what
 * is accepted. Module contents are untrusted.
 */
int loader_load(struct vm *vm, struct vmx_start *start, char *message, size_t size);

#endif
