/* SPDX-License-Identifier: MIT */
/*
 * A fake machine with frames, slab and one VM, for the tests of mmu/; and a walker over EPT that
 * knows nothing of the code under test.
 */
#ifndef TESTS_UNIT_MMU_FIXTURE_H
#define TESTS_UNIT_MMU_FIXTURE_H

#include "mem/gmem.h"
#include "mmu/mmu.h"
#include "tests/hosted/frames.h"

extern struct mmu_vm vm;
extern struct mmu_vcpu vcpu;

/* The machine with this much memory, nothing in it. Its CPU is 0. */
void machine_start(u64 memory);

/* The machine, the VM and one vCPU; and their end, which checks that every frame came back. */
void fixture_start(u64 memory);
void fixture_start_kind(u64 memory, enum mmu_kind kind);
void fixture_end(void);

/* One of the VM's counters, over all vCPUs. */
#define STAT(field)                          \
	({                                   \
		struct mmu_stats stats_;     \
		mmu_stats_get(&vm, &stats_); \
		stats_.field;                \
	})

/* Frees what waits for a grace period. */
void grace(void);

struct gmem *object_new(u64 pages);

/* mmu_fault as in exit context: interrupts off. */
int fault(struct mmu_vcpu *v, gpa_t gpa, u32 access);

/* As vmx/ does: fast, then slow where it must be. */
int touch(struct mmu_vcpu *v, gpa_t gpa, u32 access);

/*
 * What the CPU would find at gpa: the leaf entry, or 0. Fails the test where an entry is one that
 * the CPU would refuse (EPT misconfiguration, SDM 3C 29.3.3.1) or leads out of memory.
 */
u64 ept_walk(const struct mmu_vm *m, gpa_t gpa);
/* Present leaves, and tables with the root. */
void ept_census(const struct mmu_vm *m, u64 *leaves, u64 *tables);

#define EPT_R	       0x1ull
#define EPT_W	       0x2ull
#define EPT_X	       0x4ull
#define EPT_RWX	       0x7ull
#define EPT_TYPE(e)    (((e) >> 3) & 7)
#define EPT_PFN(e)     (((e)&0x000ffffffffff000ull) >> 12)
#define EPT_MEMTYPE_WB 6

#endif
