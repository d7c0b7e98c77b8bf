/* SPDX-License-Identifier: MIT */
/*
 * A VM without a CPU: what kernel/dev asks of kernel/vm.h, recorded for the test to look at. The
 * guest's TSC is clock_ns (1 GHz from 0).
 */
#ifndef TESTS_HOSTED_FAKE_VM_H
#define TESTS_HOSTED_FAKE_VM_H

#include "kernel/vm.h"

/* A VM with vCPUs and memory size, and neither platform nor local APICs yet. */
struct vm *hosted_vm_create(u32 vcpus, u64 mem);
void hosted_vm_destroy(struct vm *vm);

/* The request bits that came since the last call. */
u64 hosted_vm_requests(struct vcpu *v);

/* What the guest printed since the last call, and in how many pieces it came. */
const char *hosted_vm_output(u32 *pieces);
/* What others do as a VM writes; NULL at first. */
extern void (*hosted_vm_on_write)(void);

#endif
