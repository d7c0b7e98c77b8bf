/* SPDX-License-Identifier: MIT */
/*
 * VMCALL: Weir's hypercalls, which have PAPR's names and results, and the answer to KVM's numbers.
 * docs/hypercalls.md is the ABI; what is named here is what guests rely on. Called on the vCPU's
 * own thread, interrupts on, no lock held.
 */
#ifndef KERNEL_HYPERCALL_H
#define KERNEL_HYPERCALL_H

#include "kernel/base/types.h"

struct vcpu;

/* RAX: this and the call's token of PAPR. Far from KVM's numbers and from any error code. */
#define HYPERCALL_BASE 0x57490000u
#define HYPERCALL_MASK 0xffffu

enum hypercall_token {
	H_REMOVE = 0x04,
	H_ENTER = 0x08,
	H_READ = 0x0c,
	H_PROTECT = 0x18,
	H_CEDE = 0xe0,
	H_PROD = 0xe8,
};

enum hypercall_result {
	H_SUCCESS = 0,
	H_BUSY = 1,
	H_PARTIAL = 5,
	H_HARDWARE = -1,
	H_FUNCTION = -2,
	H_PRIVILEGE = -3,
	H_PARAMETER = -4,
	H_NOT_FOUND = -7,
	H_PERMISSION = -11,
	H_RESOURCE = -16,
	H_P2 = -55,
	H_P3 = -56,
};

/* RDX */
#define H_ENTER_WRITE BIT(0)
#define H_ENTER_PIN   BIT(1)
#define H_REMOVE_PINS BIT(0) /* only what H_ENTER pinned is given back, contents stay */
#define H_PROTECT_ON  BIT(0)

/* What H_READ leaves in RBX: where the page's contents are, */
enum hypercall_contents {
	H_CONTENTS_NONE = 0, /* nowhere: it reads as zeros */
	H_CONTENTS_MEMORY = 1,
	H_CONTENTS_SHARED = 2,
	H_CONTENTS_PACKED = 3,
	H_CONTENTS_SWAPPED = 4,
	H_CONTENTS_CHANGING = 5,
};
/* and in RCX. */
#define H_PAGE_MAPPED	 BIT(0)
#define H_PAGE_WRITABLE	 BIT(1)
#define H_PAGE_LARGE	 BIT(2) /* by a mapping of 2 MiB */
#define H_PAGE_ACCESSED	 BIT(3)
#define H_PAGE_DIRTY	 BIT(4)
#define H_PAGE_PINNED	 BIT(5)
#define H_PAGE_PROTECTED BIT(6)
#define H_PAGE_READONLY	 BIT(7)
#define H_PAGE_STAYS	 BIT(8)
#define H_PAGE_WHOLE	 BIT(9) /* its contents are part of a page of 2 MiB */

/* CPUID 0x40000102, EAX: which calls there are. */
#define HYPERCALL_HAS_ENTER   BIT(0)
#define HYPERCALL_HAS_REMOVE  BIT(1)
#define HYPERCALL_HAS_PROTECT BIT(2)
#define HYPERCALL_HAS_READ    BIT(3)
#define HYPERCALL_HAS_CEDE    BIT(4)
#define HYPERCALL_HAS_PROD    BIT(5)
#define HYPERCALL_FEATURES    (BIT(6) - 1)

/* What the vCPU's loop does after the call. */
enum hypercall_next {
	HYPERCALL_GO_ON,
	HYPERCALL_HALT,	       /* H_CEDE: until an interrupt or vcpu->prodded */
	HYPERCALL_WAIT_MEMORY, /* not completed: the guest makes the call again */
};
enum hypercall_next hypercall(struct vcpu *v, u64 rax);

/*
 * vmx_config.quick_call. Exit context: answers a number that there is not in *rax and returns 0;
 * ERR_TOO_HARD for calls that may be there.
 */
int hypercall_quick(u64 *rax, u32 ss_access);

/* --- KVM's calls that are offered (kernel/kvm_hypercall.c): numbers and results are KVM's ABI. --- */

#define KVM_HC_KICK_CPU	   5
#define KVM_HC_SEND_IPI	   10
#define KVM_HC_SCHED_YIELD 11

#define KVM_EPERM  ((u64)-1)
#define KVM_EINVAL ((u64)-22)
#define KVM_ENOSYS ((u64)-1000)

/* Not one of them: false. They are small, and one comparison is quick. */
static inline bool kvm_hypercall_may_be(u64 rax)
{
	return (u32)rax <= KVM_HC_SCHED_YIELD;
}

/* What RAX is to be; number is RAX as it was. Own thread, between two instructions of the guest. */
u64 kvm_hypercall(struct vcpu *v, u64 number, bool long_mode, u32 cpl);

/* A KVM_HC_KICK_CPU that came for the vCPU and that no HLT has taken yet. Own thread. */
bool hypercall_take_kick(struct vcpu *v);

/* Any context: H_PROD came for the vCPU, which takes it with its next H_CEDE, or in this one. */
void hypercall_prod(struct vcpu *v);
bool hypercall_take_prod(struct vcpu *v); /* own thread */

#endif
