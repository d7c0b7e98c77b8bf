/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/kvm_hypercall.c */
/*
 * KVM's yields and interrupts to a set of vCPUs: whom a call reaches, in 64-bit code and outside, and
 * what it answers. Kicks are in test_hypercall, with what they wake.
 */
#include "kernel/dev/lapic.h"
#include "kernel/hypercall.h"
#include "kernel/vcpu.h"

#include <cmocka.h>

static struct vm machine;
static struct vcpu cpus[VM_VCPUS_MAX];
static struct lapic lapics[VM_VCPUS_MAX];
static struct guest_regs regs;
static bool narrow;

struct guest_regs *vmx_regs(struct vmx_vcpu *v)
{
	return &regs;
}

void vcpu_request(struct vcpu *v, u64 bits)
{
}

static struct vcpu *yielded_to;

void vcpu_yield_to(struct vcpu *v, struct vcpu *to)
{
	assert_ptr_equal(v, &cpus[0]);
	yielded_to = to;
}

static u32 reached;
static struct lapic_message sent;

bool lapic_send_to(struct lapic *l, const struct lapic_message *m)
{
	u32 id = (u32)(l - lapics);

	assert_true(id < machine.vcpu_count);
	assert_false(reached & (1u << id));
	reached |= 1u << id;
	sent = *m;
	return id != 3; /* that one is off */
}

static int setup(void **state)
{
	machine.vcpu_count = VM_VCPUS_MAX;
	for (u32 i = 0; i < VM_VCPUS_MAX; i++) {
		cpus[i] = (struct vcpu){.vm = &machine, .id = i, .lapic = &lapics[i]};
		machine.vcpus[i] = &cpus[i];
	}
	yielded_to = NULL;
	reached = 0;
	narrow = false;
	return 0;
}

static s64 yield_to(u64 id)
{
	regs.gpr[RBX] = id;
	return (s64)kvm_hypercall(&cpus[0], KVM_HC_SCHED_YIELD, !narrow, 0);
}

static void yielding(void **state)
{
	machine.vcpu_count = 2;
	hosted_no_speculation = 0;
	assert_int_equal(yield_to(1), 0);
	assert_int_equal(hosted_no_speculation, 1); /* before the number leads to it */
	assert_ptr_equal(yielded_to, &cpus[1]);
	yielded_to = NULL;
	assert_int_equal(yield_to(0), 0); /* itself */
	assert_int_equal(yield_to(2), 0);
	assert_int_equal(yield_to(~0ull), 0);
	assert_int_equal(yield_to(1ull << 32 | 1), 0);
	assert_null(yielded_to);
	narrow = true;
	assert_int_equal(yield_to(1ull << 32 | 1), 0);
	assert_ptr_equal(yielded_to, &cpus[1]);
	assert_int_equal(cpus[0].paravirt.yields, 6);
}

static s64 send_ipi(u64 low, u64 high, u64 first, u64 icr)
{
	reached = 0;
	regs.gpr[RBX] = low;
	regs.gpr[RCX] = high;
	regs.gpr[RDX] = first;
	regs.gpr[RSI] = icr;
	return (s64)kvm_hypercall(&cpus[0], KVM_HC_SEND_IPI, !narrow, 0);
}

static void sending_ipis(void **state)
{
	hosted_no_speculation = 0;
	assert_int_equal(send_ipi(BIT(0) | BIT(2) | BIT(31), 0, 0, 0x40fd), 3);
	assert_int_equal(hosted_no_speculation, 3); /* each */
	assert_int_equal(reached, 0x80000005);
	assert_int_equal(sent.vector, 0xfd);
	assert_int_equal(sent.mode, LAPIC_FIXED);
	assert_false(sent.level);
	/* Those that are off count as little as those that there are not. */
	assert_int_equal(send_ipi(~0ull, ~0ull, 0, 0x400), 31);
	assert_int_equal(reached, ~0u);
	assert_int_equal(sent.mode, LAPIC_NMI);
	assert_int_equal(send_ipi(~0ull, ~0ull, 30, 0x41), 2);
	assert_int_equal(reached, 0xc0000000);
	assert_int_equal(send_ipi(~0ull, ~0ull, 32, 0x41), 0);
	assert_int_equal(send_ipi(~0ull, ~0ull, ~0ull, 0x41), 0);
	assert_int_equal(send_ipi(~0ull, ~0ull, ~0ull - 62, 0x41), 0);
	assert_int_equal(send_ipi(0, 0, 0, 0x41), 0);
	assert_int_equal(reached, 0);
	/* Whom is said by the set alone, and INIT, start-up and the like are ICR's. */
	for (u64 bad = 1; bad < 8; bad++) {
		if (bad != LAPIC_NMI)
			assert_int_equal(send_ipi(1, 0, 0, bad << 8 | 0x41), -22);
	}
	assert_int_equal(send_ipi(1, 0, 0, 0x841), -22);
	assert_int_equal(send_ipi(1, 0, 0, 0x40041), -22);
	assert_int_equal(send_ipi(1, 0, 0, 0x80041), -22);
	assert_int_equal(reached, 0);
	/* Two words of 32. */
	narrow = true;
	assert_int_equal(
		send_ipi(~0ull << 32 | 2, ~0ull << 32 | 1, ~0ull << 32, ~0ull << 32 | 0x41), 1);
	assert_int_equal(reached, 2);
	assert_int_equal(send_ipi(2, 5, ~0ull << 32 | 0, 0x41), 1);
}

static void outer_rings(void **state)
{
	for (u32 cpl = 1; cpl < 4; cpl++) {
		assert_int_equal(kvm_hypercall(&cpus[0], KVM_HC_SCHED_YIELD, true, cpl), KVM_EPERM);
		assert_int_equal(kvm_hypercall(&cpus[0], KVM_HC_SEND_IPI, true, cpl), KVM_EPERM);
	}
	assert_null(yielded_to);
	assert_int_equal(reached, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(yielding, setup),
		cmocka_unit_test_setup(sending_ipis, setup),
		cmocka_unit_test_setup(outer_rings, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
