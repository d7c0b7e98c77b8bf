/* SPDX-License-Identifier: MIT */
/*
 * What boot/ learnt from GRUB, in Weir's own form: copied out of the multiboot2 information, so
 * that nothing points there any more. Written once by boot/ before kernel_main; read-only after.
 */
#ifndef KERNEL_BASE_BOOT_INFO_H
#define KERNEL_BASE_BOOT_INFO_H

#include "kernel/base/addr.h"

#define BOOT_MODULES_MAX    64
#define BOOT_MODULE_CMDLINE 1024
#define BOOT_DROPPED_MAX    32
#define BOOT_VM_WORD	    36 /* "vm=", a name, NUL; of one that is no name there is too much for one */
#define BOOT_MMAP_MAX	    256
#define BOOT_CMDLINE_MAX    2048

/* Multiboot2 memory types (section 3.6.8). */
enum boot_mem_type {
	BOOT_MEM_AVAILABLE = 1,
	BOOT_MEM_RESERVED = 2,
	BOOT_MEM_ACPI_RECLAIM = 3,
	BOOT_MEM_ACPI_NVS = 4,
	BOOT_MEM_BAD = 5,
};

struct boot_mmap_entry {
	u64 base; /* bytes, as the firmware said: may overlap, wrap, be empty or unsorted */
	u64 length;
	u32 type;
};

struct boot_module {
	hpa_t start;
	u64 size;			   /* bytes; 0 is possible */
	char cmdline[BOOT_MODULE_CMDLINE]; /* cut and flagged when GRUB's was longer */
	bool cmdline_cut;
};

/* The first of a VM's modules that there was no room for. */
struct boot_dropped {
	u32 number;	       /* as GRUB has them, from 1 */
	char vm[BOOT_VM_WORD]; /* its word vm=, "" without one */
};

struct boot_framebuffer {
	bool present; /* a direct-colour framebuffer; EGA text is not one */
	bool palette; /* the screen is in a mode that is neither, and Weir does not draw on it */
	hpa_t addr;
	u32 pitch; /* bytes a line */
	u32 width, height, bpp;
	u8 red_pos, red_size, green_pos, green_size, blue_pos, blue_size;
};

struct boot_info {
	char cmdline[BOOT_CMDLINE_MAX];
	char loader[64];
	u32 mmap_count;
	struct boot_mmap_entry mmap[BOOT_MMAP_MAX];
	u32 module_count;
	u32 modules_dropped; /* over BOOT_MODULES_MAX */
	struct boot_module modules[BOOT_MODULES_MAX];
	u32 dropped_count;
	struct boot_dropped dropped[BOOT_DROPPED_MAX];
	bool dropped_more; /* of more VMs than there is room for: any VM may have lost one */
	struct boot_framebuffer fb;
	bool rsdp_present;
	u8 rsdp[36]; /* copy of the RSDP from the ACPI tag, the new one where both are there */
	bool efi;    /* booted by UEFI firmware: no VGA text, no BIOS data area */
	hpa_t image_start, image_end; /* where GRUB put Weir */
};

extern struct boot_info boot_info;

#endif
