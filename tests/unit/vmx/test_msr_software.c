/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/msr.c vmx/msr_policy.c vmx/msr_bitmap.c */
/* MSRs of instructions that are run in software: by the vCPU's thread, with interrupts on. */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/irq.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/features.h"
#include "vmx/msr_policy.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

static struct vmx_vcpu v;
static u32 updates;

/* As vmx/vcpu.h asks: a switch amid it would undo what vmx/switch.c has made of the entry's flags. */
void mitigations_update(struct vmx_vcpu *vcpu)
{
	assert_false(irq_enabled());
	updates++;
}

struct vmx_controls vmx_boot_controls;
struct guest_features guest_features;

bool vmx_unrestricted_guest(void)
{
	return false;
}

int rdmsr_safe(u32 index, u64 *value)
{
	return ERR_FAULT;
}

int wrmsr_safe(u32 index, u64 value)
{
	return ERR_FAULT;
}

u64 cr_efer(const struct vmx_vcpu *vcpu)
{
	return vcpu->msr.efer;
}

void vcpu_set_efer(struct vmx_vcpu *vcpu, u64 efer)
{
}

void shadow_stale(struct vmx_vcpu *vcpu)
{
}

void vcpu_flush_tlb(struct vmx_vcpu *vcpu)
{
}

void cpuid_forget(struct vmx_vcpu *vcpu)
{
}

/* Exits come to none of these here. */

enum exit_verdict exit_gp(struct vmx_vcpu *vcpu, struct vmx_exit *e)
{
	return EXIT_RETURN;
}

enum exit_verdict exit_kind(struct vmx_exit *e, enum vmx_exit_kind kind)
{
	return EXIT_RETURN;
}

enum exit_verdict exit_look(struct vmx_vcpu *vcpu, struct vmx_exit *e)
{
	return EXIT_RETURN;
}

enum exit_verdict exit_done_slowly(struct vmx_vcpu *vcpu)
{
	return EXIT_RETURN;
}

void vcpu_skip_slowly(struct vmx_vcpu *vcpu, u64 length)
{
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	v.msr.has_spec_ctrl = true;
	v.msr.spec_ctrl_bits = SPEC_CTRL_IBRS;
	updates = 0;
	msr_bitmap_init();
	irq_enable();
	return 0;
}

static void interrupts_are_off_meanwhile(void **state)
{
	assert_int_equal(vmx_write_msr(&v, MSR_IA32_SPEC_CTRL, SPEC_CTRL_IBRS), 0);
	assert_int_equal(v.msr.spec_ctrl, SPEC_CTRL_IBRS);
	assert_int_equal(updates, 1);
	assert_true(irq_enabled());
}

static void refused_ones(void **state)
{
	assert_int_equal(vmx_write_msr(&v, MSR_IA32_SPEC_CTRL, BIT(63)), ERR_FAULT);
	assert_int_equal(v.msr.spec_ctrl, 0);
	assert_int_equal(vmx_write_msr(&v, 0x1234, 0), ERR_NOSLOT);
	assert_int_equal(updates, 0);
	assert_true(irq_enabled());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(interrupts_are_off_meanwhile, setup),
		cmocka_unit_test_setup(refused_ones, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
