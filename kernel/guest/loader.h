/* SPDX-License-Identifier: MIT */
/*
 * Guest loaders: put a kernel (bzImage by the 64-bit boot protocol, vmlinux by its PVH note, multiboot1 ELF or
 * a.out-kludge) with its modules and tables into the VM's memory and say how vCPU 0 starts.
 * Thread context; the VM's memslots exist and no vCPU has run.
 */
#ifndef KERNEL_GUEST_LOADER_H
#define KERNEL_GUEST_LOADER_H

#include "kernel/vm.h"
#include "vmx/vmx.h"

/* RAM: [0, mem) below 3 GiB, the rest from 4 GiB; legacy hole 0xa0000-0xfffff is not RAM but for
 * the BIOS area 0xe0000-0xfffff, which holds the ACPI tables. */
#define GUEST_LOWMEM_TOP GIB(3)
#define GUEST_LEGACY_HOLE 0xa0000ull
#define GUEST_BIOS_AREA	  0xe0000ull
#define GUEST_HIGH_BASE	 GIB(4)

/*
 * 0, or an error after writing to message (size bytes) one line that says what was found and what
 * is accepted. Module contents are untrusted.
 */
int loader_load(struct vm *vm, struct vmx_start *start, char *message, size_t size);

#endif
