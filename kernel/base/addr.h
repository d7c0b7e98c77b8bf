/* SPDX-License-Identifier: MIT */
/*
 * The five kinds of address, each a type of its own so that mixing them does not compile:
 *   gva  guest virtual     gpa  guest physical, in bytes    gfn  guest frame number (gpa >> 12)
 *                          hpa  host physical, in bytes     pfn  host frame number  (hpa >> 12)
 * Host virtual addresses are plain pointers. Pure: any context.
 */
#ifndef KERNEL_BASE_ADDR_H
#define KERNEL_BASE_ADDR_H

#include "kernel/base/types.h"

typedef struct {
	u64 v;
} gva_t;
typedef struct {
	u64 v;
} gpa_t;
typedef struct {
	u64 v;
} hpa_t;
typedef struct {
	u64 v;
} gfn_t;
typedef struct {
	u64 v;
} pfn_t;

#define GVA(x) ((gva_t){(u64)(x)})
#define GPA(x) ((gpa_t){(u64)(x)})
#define HPA(x) ((hpa_t){(u64)(x)})
#define GFN(x) ((gfn_t){(u64)(x)})
#define PFN(x) ((pfn_t){(u64)(x)})

static inline gfn_t gpa_to_gfn(gpa_t a)
{
	return GFN(a.v >> PAGE_SHIFT);
}

static inline gpa_t gfn_to_gpa(gfn_t f)
{
	return GPA(f.v << PAGE_SHIFT);
}

static inline pfn_t hpa_to_pfn(hpa_t a)
{
	return PFN(a.v >> PAGE_SHIFT);
}

static inline hpa_t pfn_to_hpa(pfn_t f)
{
	return HPA(f.v << PAGE_SHIFT);
}

#ifndef WEIR_HOSTED
/*
 * Where things stand in Weir's own address space (SDM 3A 4.5, 4-level paging):
 *   0xffff800000000000  DIRECT_MAP_BASE  all RAM, RW (RO where it aliases Weir's text), NX; 64 TiB
 *   0xffffc00000000000  VMAP_BASE        stacks with guard pages and device mappings
 *   0xffffffff80000000  IMAGE_BASE       Weir's image (linked here + 2 MiB)
 */
#define DIRECT_MAP_BASE 0xffff800000000000ull
#define DIRECT_MAP_SIZE 0x0000400000000000ull
#define VMAP_BASE	0xffffc00000000000ull
#define VMAP_SIZE	0x0000010000000000ull
#define IMAGE_BASE	0xffffffff80000000ull

/* Physical address of IMAGE_BASE: where GRUB put the image less its link offset. Set by boot/. */
extern u64 image_phys_offset;

/* Any hpa of RAM below the end of the direct map. Not for device memory: see mem/vmap.h. */
static inline void *phys_to_virt(hpa_t a)
{
	return (void *)(DIRECT_MAP_BASE + a.v);
}

/* For pointers into the direct map or the image; anything else is a bug of the caller's. */
static inline hpa_t virt_to_phys(const void *p)
{
	u64 v = (u64)p;

	return v >= IMAGE_BASE ? HPA(v - IMAGE_BASE + image_phys_offset) : HPA(v - DIRECT_MAP_BASE);
}
#else
/* Hosted: physical memory is one arena of the fake machine's (tests/hosted/hosted.c). */
extern char *hosted_arena;
extern u64 hosted_arena_size;

static inline void *phys_to_virt(hpa_t a)
{
	return hosted_arena + a.v;
}

static inline hpa_t virt_to_phys(const void *p)
{
	return HPA((const char *)p - hosted_arena);
}
#endif

static inline void *pfn_to_virt(pfn_t f)
{
	return phys_to_virt(pfn_to_hpa(f));
}

static inline pfn_t virt_to_pfn(const void *p)
{
	return hpa_to_pfn(virt_to_phys(p));
}

#endif
