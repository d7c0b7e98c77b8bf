/* SPDX-License-Identifier: MIT */
/* What the tests of the loaders make images of, and look at guest memory by. */
#ifndef TESTS_UNIT_GUEST_IMAGES_H
#define TESTS_UNIT_GUEST_IMAGES_H

#include "guest_memory.h"

#define IMAGE_SIZE KIB(64)
extern u8 image[IMAGE_SIZE];
extern struct vm_config config;
extern struct vmx_start start;

void put16(u64 at, u16 v);
void put32(u64 at, u32 v);
void put64(u64 at, u64 v);
u32 ram32(u64 at);
u64 ram64(u64 at);

/* An image of zeros, and a VM of so much memory without modules. */
void fresh(u64 mem);

/* A sound bzImage of protocol 2.15 that fills the image; its kernel begins here. */
#define BZ_OFFSET (3 * 512)
void make_bzimage(void);

/*
 * An ELF file of one segment with a PVH note, and a multiboot 1 kernel with addresses of its own.
 */
#define NOTE_AT 0x400
#define CODE_AT 0x1000
void make_pvh(void);
#define MB_AT 0x40
void make_multiboot(void);

#endif
