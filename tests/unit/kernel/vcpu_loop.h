/* SPDX-License-Identifier: MIT */
/*
 * The vCPUs of a VM, each on a thread of its own in the real loop (kernel/vcpu.c). Instead of a guest a
 * function of the test says what the vCPU does next. The VM has 4 MiB of memory at BASE.
 */
#ifndef TESTS_UNIT_KERNEL_VCPU_LOOP_H
#define TESTS_UNIT_KERNEL_VCPU_LOOP_H

#include "kernel/vcpu.h"
#include "kernel/vm_memory.h"

#define VCPUS 2
#define BASE  0x100000ull

/* What a vCPU does as its step number `step`; false: it ends the VM. Called once for each step. */
typedef bool (*guest_fn)(u32 id, u32 step, struct vmx_exit *e);

struct vmx_vcpu {
	u32 id, step;
	struct guest_regs regs;
	struct vmx_exit exit;
	bool completed;
};

extern struct vm machine;
extern struct vcpu cpus[VCPUS];
extern struct vmx_vcpu guests[VCPUS];
extern gfn_t emulated_at[2]; /* what the last MMIO, and string I/O, are said to have touched */
extern struct vmx_table_write emulated_write; /* the last */
/* Masks of vCPUs that wait for the CPU of vCPU 0's thread, or for another; and whom it yielded to. */
extern u32 waits_here, waits_elsewhere;
extern u32 yielded_to[8], yields;
/* atomic */
extern u32 steps[VCPUS];      /* completed */
extern bool interrupt[VCPUS]; /* one is pending */
extern u32 injected;
extern u32 retries; /* runs of the guest that found the last call not completed */
extern u32 waits_told;
extern u32 dumps;
extern char dump_heading[64];	       /* what was logged before the last of them */
extern bool (*ask_crash)(void *owner); /* struct vmx_config's */

/* A test's. */
int vcpu_loop_setup(void **state);
int vcpu_loop_teardown(void **state);

/* All vCPUs run fn's steps; the end comes when one of them says so. */
void vcpus_start(guest_fn fn);
void vcpus_end(void);

/* For a guest_fn: a hypercall; a step that does nothing for a moment. */
void make_call(u32 id, struct vmx_exit *e, u64 token, u64 rbx, u64 rcx, u64 rdx);
bool idle(u32 id, struct vmx_exit *e);

void settle(void); /* time enough for who is not really asleep */
void wait_steps(u32 id, u32 n);

static inline u32 look(const u32 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

#endif
