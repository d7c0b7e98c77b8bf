/* SPDX-License-Identifier: MIT */
/* What the files of vmap know of each other: vmap.c, vmap_area.c, vmap_image.c. */
#ifndef MEM_VMAP_INTERNAL_H
#define MEM_VMAP_INTERNAL_H

#include "mem/memmap.h"
#include "mem/pagetable.h"
#include "mem/vmap.h"
#include "smp/spinlock.h"

#ifdef WEIR_HOSTED
/* The hosted tests build and walk the target's tables without ever living in them. */
#define DIRECT_MAP_BASE 0xffff800000000000ull
#define VMAP_BASE	0xffffc00000000000ull
#define VMAP_SIZE	0x0000010000000000ull
#endif

struct vmap {
	struct spinlock lock; /* LOCK_VMAP */
	/* lock */
	struct pagetable pt;
	struct list areas; /* by address */
	/* set by vmap_init */
	u64 phys_end;		    /* first address the CPU cannot have */
	struct mem_range read_only; /* Weir's text and rodata */
};

extern struct vmap vmap;

/* A part of Weir's image. */
struct vmap_section {
	u64 va, size;
	hpa_t hpa;
	u64 flags; /* PTE_WRITE, PTE_NX; neither: executable */
};

#define VMAP_SECTIONS 4 /* text, rodata, data, bss: the first two adjoin and are read-only */
void vmap_image_sections(struct vmap_section out[VMAP_SECTIONS]);

/* False when other CPUs' TLBs cannot be reached just now: interrupts are off and there are some. */
bool vmap_can_flush(void);
/* No CPU's TLB knows the range any more. No lock held; vmap_can_flush(). */
void vmap_flush(u64 va, u64 size);
/* Frees the frames on a list made by pagetable_unmap. */
void vmap_free_frames(struct list *frames);

void vmap_area_init(void);

#endif
