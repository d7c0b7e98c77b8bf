/* SPDX-License-Identifier: MIT */
/* The VM as the devices know it. See fake_vm.h. */
#include <stdlib.h>
#include <string.h>
#include "kernel/base/panic.h"
#include "smp/cpu.h"
#include "tests/hosted/fake_vm.h"
#include "tests/hosted/hosted.h"

#define OUTPUT_MAX 65536

static char output[OUTPUT_MAX];
static u32 output_length, output_pieces;

struct vm *hosted_vm_create(u32 vcpus, u64 mem)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	BUG_ON(!vm || vcpus > VM_VCPUS_MAX);
	vm->config.vcpus = vcpus;
	vm->config.mem = mem;
	vm->vcpu_count = vcpus;
	for (u32 i = 0; i < vcpus; i++) {
		vm->vcpus[i] = calloc(1, sizeof(struct vcpu));
		BUG_ON(!vm->vcpus[i]);
		vm->vcpus[i]->vm = vm;
		vm->vcpus[i]->id = i;
	}
	output_length = 0;
	output_pieces = 0;
	return vm;
}

void hosted_vm_destroy(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++)
		free(vm->vcpus[i]);
	free(vm);
}

void vcpu_request(struct vcpu *v, u64 bits)
{
	__atomic_or_fetch(&v->requests, bits, __ATOMIC_SEQ_CST);
}

bool vcpu_notify(struct vcpu *v)
{
	vcpu_request(v, VCPU_REQ_KICK);
	return false;
}

u64 hosted_vm_requests(struct vcpu *v)
{
	return __atomic_exchange_n(&v->requests, 0, __ATOMIC_SEQ_CST);
}

bool vm_request_end(struct vm *vm, enum vm_end cause, u32 code)
{
	if (vm->end != VM_END_NONE)
		return false;
	vm->end = cause;
	vm->end_code = code;
	return true;
}

void (*hosted_vm_on_write)(void);

/* Thread context, and no spin lock: the real one may wait for a slow line. */
void vm_console_write(struct vm *vm, const u8 *bytes, u32 count)
{
	(void)vm;
	BUG_ON(in_interrupt() || this_cpu()->preempt_off);
	BUG_ON(count == 0);
	count = min(count, OUTPUT_MAX - 1 - output_length);
	memcpy(output + output_length, bytes, count);
	output_length += count;
	output_pieces++;
	if (hosted_vm_on_write)
		hosted_vm_on_write();
}

const char *hosted_vm_output(u32 *pieces)
{
	output[output_length] = '\0';
	output_length = 0;
	*pieces = output_pieces;
	output_pieces = 0;
	return output;
}

u64 vcpu_guest_tsc(struct vcpu *v)
{
	(void)v;
	return clock_ns();
}

u64 vcpu_guest_tsc_to_ns(struct vcpu *v, u64 guest_tsc)
{
	(void)v;
	/* The real one multiplies: what is too far off would wrap. */
	BUG_ON(guest_tsc > clock_ns() && guest_tsc - clock_ns() > BIT(52));
	return max(guest_tsc, clock_ns());
}
