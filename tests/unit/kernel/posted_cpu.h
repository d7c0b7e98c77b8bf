/* SPDX-License-Identifier: MIT */
/*
 * For test_posted.c: CPUs that do with a posted-interrupt descriptor what SDM 3C 30.6 says, and a
 * VM's loop in short. vCPUs go from one CPU to the other, also between an exit and the next entry,
 * halt, and stay in the guest. Every random choice is of the vCPU's own numbers. The test needs
 * --wrap of vcpu_request, vcpu_notify and ipi_notify.
 */
#ifndef TESTS_UNIT_KERNEL_POSTED_CPU_H
#define TESTS_UNIT_KERNEL_POSTED_CPU_H

#include "tests/unit/dev/machine.h"
#include "vmx/posted.h"

#define CPUS	3 /* at most */
#define VCPUS	3
#define OFF_CPU 8 /* what threads that run on none go by */
#define LEVEL	0x54

struct guest {
	struct vmx_vcpu vmx;
	struct vcpu *v;
	u64 random;
	u32 home;   /* the CPU that has its state; CPUS: none */
	u32 at;	    /* the CPU that it runs on */
	u32 spins;  /* stays in a loop that only an interrupt ends, with few exits or none */
	bool woken; /* atomic: thread_wake */
	/* the CPU's */
	u8 rvi, svi;
	u32 eoi_exits[LAPIC_VECTOR_WORDS];
};

extern struct guest guests[VCPUS];
extern u32 cpus, vcpus;		       /* that there are in this run */
extern u32 running;		       /* atomic: senders */
extern bool lost;		       /* atomic: an interrupt, or so it seems */
extern u32 delivered[VCPUS][256];      /* atomic */
extern bool level[VCPUS];	       /* how LEVEL was sent last */
extern u64 without_exit, while_masked; /* atomic */

/* The run is to end: all is sent, or something was lost. */
bool over(void);

/* As they are before a run, with the vCPUs of this VM. */
void posted_cpus_reset(struct vm *vm, u64 seed);
/* A vCPU's thread, until the run is over. */
void vcpu_thread(void *guest);

#endif
