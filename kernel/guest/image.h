/* SPDX-License-Identifier: MIT */
/*
 * Modules' bytes. Each configured module becomes a guest memory object that is made of the very frames
 * that GRUB put it into: nobody maps it, so that its pages are cold at once and go as guests' do when
 * memory is short, and come back when a VM is loaded from it, now or at a reset. Equal modules are
 * one object; modules that no VM has are released, and those that none starts from any more. Thread
 * context, the boot thread.
 */
#ifndef KERNEL_GUEST_IMAGE_H
#define KERNEL_GUEST_IMAGE_H

#include "kernel/config.h"
#include "mem/gmem.h"

/* Untrusted bytes with a size. */
struct image {
	const u8 *data; /* NULL: they are in object */
	u64 size;
	struct gmem *object;
};

/* Once, when frames can be freed and before any VM is started. */
void images_start(const struct weir_config *config);
/*
 * No VM runs, and memory is free: what is wanted next comes back, each page in a frame of its own.
 * Where all did, all_are_back is called before any may be taken again. Nothing more is read, nor
 * unpacked, once is_enough says so: nothing is wanted next.
 */
void images_bring_back(void (*all_are_back)(void), bool (*is_enough)(void));

/* The VM has started, and does not again: returns the bytes of its modules that no other VM needs. */
u64 images_release(const struct vm_config *vm);

/* Of all of them: each page has a frame when they are back. Thread context. */
u64 images_pages(void);

/* The bytes of a configured module. */
struct image image_of_module(const struct config_module *m);

/* A bounds-checked look into an image: false where [offset, offset+size) is not all inside. */
bool image_has(const struct image *i, u64 offset, u64 size);

/* Some bytes of an image in one piece. */
struct image_piece {
	const u8 *data;
	u64 size; /* at least 1 */
	u64 index;
	pfn_t pfn;
};
/*
 * As many as there are in one piece from offset on, at most `size`, all of which are inside. Waits for
 * memory. ERR_NOMEM; others of gmem_hold: ERR_IO and ERR_CORRUPT where the page is lost. Each is given
 * back.
 */
int image_piece_get(const struct image *i, u64 offset, u64 size, struct image_piece *p);
void image_piece_put(const struct image *i, const struct image_piece *p);

/* 0, ERR_RANGE: not all inside; else as image_piece_get. */
int image_read(const struct image *i, u64 offset, void *out, u64 size);

#endif
