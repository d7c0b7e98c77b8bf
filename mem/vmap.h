/* SPDX-License-Identifier: MIT */
/*
 * Weir's own page tables after boot: the final direct map, the image with W^X, the vmap area for
 * stacks with guard pages and for device memory. Thread context; LOCK_VMAP.
 */
#ifndef MEM_VMAP_H
#define MEM_VMAP_H

#include "kernel/base/addr.h"

enum vmap_cache {
	VMAP_WB,
	VMAP_WC,
	VMAP_UC
};

/* Builds the final tables (image by section, direct map NX up to top) and loads CR3. Boot CPU. */
int vmap_init(u64 top_of_ram);
u64 vmap_cr3(void); /* for CPUs that come up later */

/* Device memory, RW NX; hpa and size need not be aligned. NULL: no memory or address space. */
void *vmap_device(hpa_t hpa, u64 size, enum vmap_cache cache);
void vunmap_device(void *p, u64 size);

/* Stack of pages*4 KiB with an unmapped page below and above. Lowest byte, or NULL. */
u8 *vmap_stack_alloc(u32 pages);
void vmap_stack_free(u8 *stack, u32 pages);

/* Reserved by firmware or modules yet needed as plain memory: maps read-only through the direct
 * map range if it is RAM below top, else by vmap_device. Pointer or NULL. */
const void *vmap_firmware(hpa_t hpa, u64 size);

/*
 * The self-test's walk of the live tables. Counts leaf mappings and every breach of W^X: a page
 * that is writable and executable, or a frame executable by one mapping and writable by another.
 */
struct vmap_audit {
	u64 leaves;
	u64 wx_leaves;
	u64 wx_aliases;
	u64 user_leaves;
	u64 low_leaves; /* mappings left below the kernel half */
};
void vmap_audit(struct vmap_audit *out);

#endif
