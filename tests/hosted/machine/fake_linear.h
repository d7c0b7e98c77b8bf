/* SPDX-License-Identifier: MIT */
/*
 * What a CPU of the fake machine does with linear addresses where there is no EPT: it walks the tables
 * that its CR3 leads to, in 4-level paging or in PAE, and keeps translations and the places of tables
 * by VPID. It forgets them at INVVPID on that CPU, at INVLPG and at a page fault for that address (SDM
 * 3A 4.10.4.1), or when it likes; never otherwise: a VM entry keeps them. It sets A and D as hardware
 * does. An entry that the CPU would refuse, or a table or page whose frame is free, panics.
 *
 * All functions: on that CPU, interrupts off, between mmu_enter and mmu_exit, unless they say otherwise.
 */
#ifndef TESTS_HOSTED_MACHINE_FAKE_LINEAR_H
#define TESTS_HOSTED_MACHINE_FAKE_LINEAR_H

#include "tests/hosted/machine/fake_cpu.h"

/* What of a vCPU's state decides. CR0.WP and EFER.NXE are set. */
struct fake_linear {
	u64 cr3;
	bool long_mode;
	bool user; /* CPL 3 */
	u16 vpid;
};

/* Before a run, no CPU in the guest: empty TLBs, INVVPID goes to them. */
void fake_linear_reset(u64 seed);

/* VM entry: in PAE mode the CPU loads the four entries that CR3 leads to. */
void fake_linear_enter(const struct fake_linear *g);

/* FAKE_VIOLATION is a page fault. */
enum fake_outcome fake_linear_translate(const struct fake_linear *g, u64 gva, u32 access,
					pfn_t *out);
void fake_linear_speculate(const struct fake_linear *g, u64 gva);
/* The guest's own instruction. */
void fake_linear_invlpg(const struct fake_linear *g, u64 gva);

/* A VPID that this run has not had: for a vCPU that comes to another CPU. Any context. */
u16 fake_linear_new_vpid(void);
/* As MOV to CR3 makes it. Any CPU's context, interrupts on or off. */
void fake_linear_flush(u16 vpid);

#endif
