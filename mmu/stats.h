/* SPDX-License-Identifier: MIT */
/*
 * What a VM's MMU counts. A vCPU counts on its own, so that no cache line is shared on the fault
 * path; mmu_stats_get adds up.
 */
#ifndef MMU_STATS_H
#define MMU_STATS_H

#include "kernel/base/stat.h"

#define MMU_STATS(X)                                                                               \
	X(faults, "count", "Second-level faults that the guest took.")                             \
	X(faults_slow, "count",                                                                    \
	  "Faults that went to thread context (H_TOO_HARD), mostly to get a page.")                \
	X(faults_mmio, "count", "Faults at an address without a memslot, which went to a device.") \
	X(faults_readonly, "count", "Writes to a read-only memslot.")                              \
	X(faults_retry, "count",                                                                   \
	  "Faults that lost a race and were left for the guest to take again.")                    \
	X(faults_invalid, "count",                                                                 \
	  "Faults at a memslot on its way out, which waited for the change.")                      \
	X(faults_protected, "count", "Writes to a page that the guest itself had protected.")      \
	X(faults_spurious, "count", "Faults whose page another vCPU had mapped in the meantime.")  \
	X(mapped, "pages", "Pages of 4 KiB that were mapped.")                                     \
	X(mapped_around, "pages", "Of those, neighbours of a fault that were resident already.")   \
	X(mapped_large, "pages", "Pages of 2 MiB that were mapped.")                               \
	X(unmapped, "pages", "Pages of 4 KiB whose mapping was taken away.")                       \
	X(unmapped_large, "pages", "Pages of 2 MiB whose mapping was taken away.")                 \
	X(split, "pages", "Pages of 2 MiB that were split into mappings of 4 KiB.")                \
	X(collapsed, "pages", "Regions of 2 MiB whose 4 KiB mappings gave way to a large one.")    \
	X(tables, "pages", "Pages in the page tables now, the root included.", STAT_LEVEL)         \
	X(flushes, "count", "Flushes of the VM's translations, on all CPUs that may hold some.")   \
	X(kicks, "count", "CPUs that had to be made to leave the guest for a flush.")              \
	X(invepts, "count", "INVEPT or INVVPID instructions executed before entering the guest.")  \
	X(aged_young, "pages", "Pages that were found used when they were aged.")                  \
	X(write_protected, "pages", "Mappings that lost the right to write.")                      \
	X(dirty_logged, "pages", "Pages that were entered in a dirty log.")                        \
	X(shadow_made, "pages", "Shadow pages that were made for tables of the guest's.")          \
	X(shadow_chains, "count", "Chains by which shadow pages are found.", STAT_LEVEL)           \
	X(shadow_zapped, "pages", "Shadow pages that were taken out.")                             \
	X(shadow_writes, "count", "Writes to tables of the guest's that Weir did.")                \
	X(shadow_flooded, "pages",                                                                 \
	  "Shadow pages that went because the guest wrote what they stand for again and again.")   \
	X(shadow_let_go, "pages", "Shadow pages whose table the guest was left to write itself.")  \
	X(shadow_synced, "pages", "Of those, brought in step again at a flush of the guest's.")    \
	X(guest_faults, "count", "Page faults that shadow paging left to the guest.")              \
	X(slot_changes, "count", "Changes of the memslot array.")

struct mmu_stats {
	MMU_STATS(STAT_FIELD)
};

extern const struct stat_desc mmu_stat_descs[];
#define MMU_STAT_COUNT (sizeof(struct mmu_stats) / sizeof(u64))

struct mmu_vm;

/* The sum over the VM and its vCPUs. Thread context. */
void mmu_stats_get(struct mmu_vm *vm, struct mmu_stats *out);
/* For struct stat_group: owner is the mmu_vm. */
u64 mmu_stat_read(const void *owner, u32 i);

#endif
