/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/cr.c vmx/cr_rules.c vmx/regs.c */
/* Control registers written in software: by the vCPU's thread, with interrupts on; and so are exits'. */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/features.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define CR3_EXITS (u32)(PROC_CR3_LOAD | PROC_CR3_STORE)

static struct vmx_vcpu v;
static u32 changes;

/*
 * Whoever changes them has read them before, and a switch in between may have asked for exits of MOV
 * DR: without these the guest would have another's debug registers.
 */
void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
	assert_false(irq_enabled());
	vcpu->proc_controls = value;
	changes++;
}

struct vmx_capability vmx_boot_capability;
struct vmx_controls vmx_boot_controls;
struct guest_features guest_features;

void vmcs_set_entry_controls(struct vmx_vcpu *vcpu, u32 value)
{
	vcpu->entry_controls = value;
}

u64 vcpu_cr3(const struct vmx_vcpu *vcpu)
{
	return vmcs_read(GUEST_CR3);
}

void vcpu_set_cr3(struct vmx_vcpu *vcpu, u64 cr3)
{
	vmcs_write(GUEST_CR3, cr3);
}

void vcpu_set_pdptes(struct vmx_vcpu *vcpu, const u64 pdpte[4])
{
}

u64 vcpu_cr4_offered(const struct vmx_vcpu *vcpu)
{
	return 0;
}

void vcpu_set_efer(struct vmx_vcpu *vcpu, u64 efer)
{
}

void vcpu_flush_tlb(struct vmx_vcpu *vcpu)
{
}

void cpuid_forget(struct vmx_vcpu *vcpu)
{
}

const char *vcpu_name(void)
{
	return "test";
}

int gpa_read(struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size)
{
	return ERR_NOSLOT;
}

static u64 cr8;

u64 apic_cr8(struct vmx_vcpu *vcpu)
{
	return cr8;
}

void apic_set_cr8(struct vmx_vcpu *vcpu, u64 value)
{
	cr8 = value;
}

/* Shadow paging, of which there is none here, and exits. */

u64 shadow_cr0(u64 cr0)
{
	return cr0;
}

u64 shadow_cr4(u64 cr4, bool paging)
{
	return cr4;
}

void shadow_stale(struct vmx_vcpu *vcpu)
{
}

enum exit_verdict cr3_write(struct vmx_vcpu *vcpu, struct vmx_exit *e, u64 value)
{
	return EXIT_RETURN;
}

enum exit_verdict exit_gp(struct vmx_vcpu *vcpu, struct vmx_exit *e)
{
	return EXIT_RETURN;
}

enum exit_verdict exit_kind(struct vmx_exit *e, enum vmx_exit_kind kind)
{
	return EXIT_RETURN;
}

void exit_to_thread(struct vmx_vcpu *vcpu)
{
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	vmx_boot_capability.cr0_fixed1 = vmx_boot_capability.cr4_fixed1 = ~0ull;
	v.restricted = true;
	v.config.identity_map = GPA(0x7000);
	vmcs_write(CTRL_CR0_MASK, ~0ull);
	vmcs_write(CTRL_CR0_SHADOW, CR0_PE | CR0_ET);
	v.paging_hidden = true;
	v.proc_controls = CR3_EXITS | (u32)PROC_MOV_DR;
	v.cr3 = 0x5000;
	vmx_boot_controls.proc = (u32)PROC_MOV_DR;
	changes = 0;
	irq_enable();
	return 0;
}

static void paging_goes_on_and_off(void **state)
{
	assert_int_equal(vmx_write_cr(&v, 0, CR0_PE | CR0_ET | CR0_PG), 0);
	assert_false(v.paging_hidden);
	assert_int_equal(v.proc_controls, (u32)PROC_MOV_DR);
	assert_int_equal(vmcs_read(GUEST_CR3), 0x5000);
	assert_true(irq_enabled());
	assert_int_equal(vmx_write_cr(&v, 0, CR0_PE | CR0_ET), 0);
	assert_true(v.paging_hidden);
	assert_int_equal(v.proc_controls, CR3_EXITS | (u32)PROC_MOV_DR);
	assert_int_equal(vmcs_read(GUEST_CR3), 0x7000);
	assert_int_equal(changes, 2);
	assert_true(irq_enabled());
}

/* A CPU that wants CR3 exits to be on (IA32_VMX_PROCBASED_CTLS) fails the entry without. */
static void exits_that_must_be_stay(void **state)
{
	vmx_boot_controls.proc |= CR3_EXITS;
	assert_int_equal(vmx_write_cr(&v, 0, CR0_PE | CR0_ET | CR0_PG), 0);
	assert_false(v.paging_hidden);
	assert_int_equal(v.proc_controls, CR3_EXITS | (u32)PROC_MOV_DR);
}

static void cr8_is_the_tpr(void **state)
{
	assert_int_equal(vmx_write_cr(&v, 8, 9), 0);
	assert_int_equal(vmx_read_cr(&v, 8), 9);
	for (u32 bit = 4; bit < 64; bit++)
		assert_int_equal(vmx_write_cr(&v, 8, BIT(bit)), ERR_FAULT);
	assert_int_equal(vmx_read_cr(&v, 8), 9);
}

/* Paging with LME set, and a task of 16 bits: IA-32e mode has none (SDM 3A 9.8.5). */
static void no_long_mode_with_a_16_bit_task(void **state)
{
	v.msr.efer = EFER_LME;
	vmcs_write(CTRL_CR4_MASK, ~0ull);
	vmcs_write(CTRL_CR4_SHADOW, CR4_PAE);
	vmcs_write(GUEST_TR_ACCESS, 0x83);
	assert_int_equal(vmx_write_cr(&v, 0, CR0_PE | CR0_ET | CR0_PG), ERR_FAULT);
	assert_true(v.paging_hidden && v.msr.efer == EFER_LME);
	vmcs_write(GUEST_TR_ACCESS, ACCESS_TSS_BUSY);
	assert_int_equal(vmx_write_cr(&v, 0, CR0_PE | CR0_ET | CR0_PG), 0);
	assert_true(v.msr.efer == (EFER_LME | EFER_LMA));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(paging_goes_on_and_off, setup),
		cmocka_unit_test_setup(exits_that_must_be_stay, setup),
		cmocka_unit_test_setup(cr8_is_the_tpr, setup),
		cmocka_unit_test_setup(no_long_mode_with_a_16_bit_task, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
