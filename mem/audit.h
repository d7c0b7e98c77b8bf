/* SPDX-License-Identifier: MIT */
/*
 * When no VM is left nothing of one is: no frame, no place in the pool, no block of the swap disk.
 * Debug builds look, and panic with what is still there.
 */
#ifndef MEM_AUDIT_H
#define MEM_AUDIT_H

#include "kernel/base/types.h"

/* Before the first VM: what Weir itself has. Thread context. */
void mem_audit_begin(void);

/*
 * No VM is left, nothing is taken meanwhile, and the objects that are left have so many pages, each in a
 * frame of its own. Sleeps until nothing is under way to the disk, and frees that wait for readers are
 * done. Thread context, no lock held.
 */
void mem_audit(u64 pages);

#endif
