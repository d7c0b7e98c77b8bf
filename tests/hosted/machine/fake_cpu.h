/* SPDX-License-Identifier: MIT */
/*
 * What a CPU of the fake machine does with guest-physical addresses in the guest. It keeps
 * translations of 4 KiB and 2 MiB with their rights, and where tables are, and forgets them at
 * INVEPT on that CPU, at a violation for the address that had it (SDM 3C 29.4.3.1), or when it
 * likes; never otherwise. It sets A and D as hardware does, where the EPT pointer says so. An
 * entry that makes no sense, or a table or page whose frame is free, panics.
 *
 * Each job of schedule.h is one CPU. All functions: on that CPU, interrupts off, between mmu_enter
 * and mmu_exit, unless they say otherwise.
 */
#ifndef TESTS_HOSTED_MACHINE_FAKE_CPU_H
#define TESTS_HOSTED_MACHINE_FAKE_CPU_H

#include "kernel/base/addr.h"

enum fake_outcome {
	FAKE_TRANSLATED,
	FAKE_VIOLATION, /* an EPT violation */
	FAKE_KICKED,	/* an IPI came: nothing was done */
};

/* Before a run, no CPU in the guest: empty TLBs, INVEPT goes to them. */
void fake_cpus_reset(u64 seed);

/* Translates gpa for this access (one of enum mmu_access) as the CPU would at an access. */
enum fake_outcome fake_cpu_translate(u64 eptp, gpa_t gpa, u32 access, pfn_t *out);

/* The CPU looks ahead: it walks to gpa, may keep what it finds, and changes but A bits. */
void fake_cpu_speculate(u64 eptp, gpa_t gpa);

/* With PML: called at each D bit that is set. May be NULL. Set while no CPU is in the guest. */
extern void (*fake_cpu_dirtied)(gpa_t gpa);

/* Whether nobody takes D bits away from entries that stay: then one that is gone was lost. */
extern bool fake_cpu_keeps_dirty;

/* Interrupts are on again: a kick that was pending is taken. */
void fake_cpu_interrupts_on(void);

/* Panics unless the frame is allocated. Any context. */
void fake_check_frame(pfn_t pfn, const char *what);

struct fake_cpu_stats {
	u64 accesses, walks, violations, kicks, invepts;
};
/* Of all CPUs together, while none runs. */
struct fake_cpu_stats fake_cpus_stats(void);

#endif
