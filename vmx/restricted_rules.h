/* SPDX-License-Identifier: MIT */
/*
 * Without unrestricted guest: which states of a guest a VM entry takes (SDM 3C 27.3.1.2). Real mode
 * is entered as virtual-8086 mode, if each segment is what a load in that mode would make it;
 * protected mode just after CR0.PE was set may still have the segments of real mode. What is not
 * taken is run in software until it is. Pure.
 */
#ifndef VMX_RESTRICTED_RULES_H
#define VMX_RESTRICTED_RULES_H

#include "vmx/vmx.h"

#define RESTRICTED_SEGMENTS 8 /* by enum vmx_segment_id */
#define VM86_LIMIT	    0xffffu
#define VM86_ACCESS	    0xf3u

/* Real mode, which virtual-8086 mode can stand for: segments, and RIP within CS. */
bool restricted_fits_vm86(const struct vmx_segment s[RESTRICTED_SEGMENTS], u64 rip);

/*
 * Protected mode, not virtual-8086 mode. DS, ES, FS and GS that real mode left may have an RPL above
 * their DPL, which an entry refuses and nothing else looks at: their DPL is raised.
 */
bool restricted_fits_protected(struct vmx_segment s[RESTRICTED_SEGMENTS]);

#endif
