/* SPDX-License-Identifier: MIT */
/*
 * The MSR bitmap (SDM 3C 25.6.9): the MSRs that a guest reads and writes without an exit, because
 * VM entry and exit or the thread's switch keep them apart, and the CPU itself checks the values.
 * Pure.
 */
#ifndef VMX_MSR_BITMAP_H
#define VMX_MSR_BITMAP_H

#include "kernel/base/types.h"

#define MSR_BITMAP_SIZE 4096

/* shadow: of EFER and PAT the CPU has other values than the guest. */
void msr_bitmap_fill(u8 bitmap[MSR_BITMAP_SIZE], bool has_tsc_aux, bool shadow);
/* The CPU's EFER is not always the guest's (cr.c): reading it exits. */
void msr_bitmap_keep_efer(u8 bitmap[MSR_BITMAP_SIZE]);
/* Beside those, what the CPU does of a local APIC in x2APIC mode. full: VMX_APICV_FULL. */
void msr_bitmap_pass_x2apic(u8 bitmap[MSR_BITMAP_SIZE], bool full);
bool msr_bitmap_exits(const u8 bitmap[MSR_BITMAP_SIZE], u32 index, bool write);

#endif
