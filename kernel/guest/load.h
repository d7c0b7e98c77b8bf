/* SPDX-License-Identifier: MIT */
/*
 * What the loaders of the three boot protocols share. An image is a module: untrusted bytes with a
 * size (image.h). Thread context, before the VM's first vCPU runs.
 */
#ifndef KERNEL_GUEST_LOAD_H
#define KERNEL_GUEST_LOAD_H

#include "kernel/config.h"
#include "kernel/guest/image.h"
#include "kernel/guest/layout.h"
#include "mem/reclaim.h"
#include "mmu/mmu.h"
#include "vmx/vmx.h"

/* One load: what goes in, where things stand, and the line that tells of a fault. */
struct load {
	const struct vm_config *config;
	struct mmu_vm *mmu;
	struct reclaim_target *reclaim;
	u32 vcpus;
	struct image kernel;
	const char *cmdline; /* the kernel's */
	struct layout layout;
	u64 rsdp; /* gpa of the ACPI root pointer */
	struct vmx_start *start;
	char *message;
	size_t message_size;
};

/* Writes the message and returns err: return load_fail(l, ERR_INVAL, "..."). */
int load_fail(struct load *l, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As image_read: false where not all is inside, or for another error, which loader_load returns. */
bool image_copy(const struct image *i, u64 offset, void *out, u64 size);

/* The n-th module of a kind, or NULL. */
const struct config_module *load_find_module(const struct load *l, enum config_module_kind kind,
					     u32 n);

/* Writes to guest memory; a failure becomes the message. */
int load_write(struct load *l, u64 gpa, const void *data, u64 size);
/* The same of bytes of an image, all of which it has. */
int load_write_image(struct load *l, u64 gpa, const struct image *i, u64 offset, u64 size);

/* Puts the initrd as high as it goes below limit. *gpa and *size are 0 without one. */
int load_initrd(struct load *l, u64 limit, u64 *gpa, u64 *size);

/* A flat GDT (code 0x10, data 0x18) at GUEST_GDT, of 64-bit or 32-bit code, and start's fields. */
int load_gdt(struct load *l, bool long_mode);

/* The ACPI tables, at GUEST_ACPI_BASE; sets l->rsdp. */
int load_acpi(struct load *l);

/* The protocols. Each says whether the image is one of its own, then loads it. */
bool bzimage_probe(const struct image *i);
int bzimage_load(struct load *l);
bool pvh_probe(const struct image *i);
int pvh_load(struct load *l);
bool multiboot1_probe(const struct image *i);
int multiboot1_load(struct load *l);

/* None of them: the message says what it is, as far as that can be told. ERR_INVAL. */
int load_unknown(struct load *l);

/* ELF, 32 and 64 bit, little endian: loads every PT_LOAD segment at its physical address. */
struct elf_summary {
	bool is64;
	u64 header_entry;	  /* as the file says it: often where the kernel will map itself */
	u64 entry;		  /* physical, by the segment that has it there */
	u64 load_start, load_end; /* of all segments, physical */
};
/*
 * Whether it begins as any ELF file does; and whether there is something that none for x86 has, in
 * words.
 */
bool elf_probe(const struct image *i);
bool elf_flaw(const struct image *i, char *what, size_t size);
int elf_load(struct load *l, struct elf_summary *out);
/* The 32-bit PVH entry point from a Xen note, or false. */
bool elf_pvh_entry(const struct image *i, u32 *entry);

#endif
