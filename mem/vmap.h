/* SPDX-License-Identifier: MIT */
/*
 * Weir's own page tables after boot: the final direct map, the image with W^X, the vmap area for
 * stacks with guard pages and for device memory. Thread context; LOCK_VMAP.
 */
#ifndef MEM_VMAP_H
#define MEM_VMAP_H

#include "mem/memmap.h"

enum vmap_cache {
	VMAP_WB,
	VMAP_WC,
	VMAP_UC
};

/* Memory above the first MiB that is not write-back, as mtrr_not_write_back has it; sorted. */
struct vmap_uncached {
	u32 count;
	const struct mem_range *ranges;
	bool in_use; /* mapped as if it were write-back: the MTRRs alone decide */
};

/*
 * Builds the final tables, which vmap_init_cpu loads. Boot CPU, once, after slab_init:
 *   image      by section: text RX, rodata R, data and bss RW
 *   direct map the first MiB and all RAM below top_of_ram (bytes); RW, but R where it shows
 *              Weir's text and rodata, and in uncached UC unless in use (read now, not kept)
 *   vmap area  empty
 * Nothing below the kernel half. ERR_NOMEM.
 */
int vmap_init(u64 top_of_ram, const struct vmap_uncached *uncached);
u64 vmap_phys_end(void); /* the first physical address this CPU cannot have. Any context */
u64 vmap_cr3(void);	 /* for CPUs that come up later */

/*
 * This CPU's EFER.NXE, PAT and CR3, for what vmap_init built. On the boot CPU after that, and on each
 * that comes up; interrupts off. Code that loads vmap_cr3() itself must have set EFER.NXE before.
 */
void vmap_init_cpu(void);

/*
 * Device memory, RW NX; hpa and size (bytes, not 0) need not be aligned. NULL: no memory or
 * address space, or not an address of this CPU's, or Weir's own code.
 */
void *vmap_device(hpa_t hpa, u64 size, enum vmap_cache cache);
void vunmap_device(void *p, u64 size);

/* Stack of pages*4 KiB with an unmapped page below and above. Lowest byte, or NULL. */
u8 *vmap_stack_alloc(u32 pages);
/*
 * Where other CPUs cannot be reached (interrupts off), it stays mapped until the next call of this
 * header's that can reach them.
 */
void vmap_stack_free(u8 *stack, u32 pages);

/*
 * Memory of the firmware's (ACPI tables), read-only in spirit: through the direct map where that
 * shows it, else by a lasting read-only mapping of its own. Pointer or NULL.
 */
const void *vmap_firmware(hpa_t hpa, u64 size);

/*
 * The self-test's walk of the live tables. Counts leaf mappings and every breach of W^X: a page
 * that is writable and executable, or a frame executable by one mapping and writable by another.
 */
struct vmap_audit {
	u64 leaves;
	u64 wx_leaves;
	u64 wx_aliases; /* in 4 KiB frames */
	u64 user_leaves;
	u64 low_leaves; /* mappings left below the kernel half */
};
void vmap_audit(struct vmap_audit *out);

#endif
