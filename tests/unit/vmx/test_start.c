/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/base/trace.c vmx/start.c vmx/cr.c vmx/cr_rules.c vmx/shadow.c vmx/regs.c
 *   vmx/event.c
 */
/*
 * The states in which a vCPU begins, and above all INIT of one that runs: what the VMCS says of long
 * mode and of EFER is what the vCPU's own state says, whether or not VM entry loads EFER.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/trace.h"
#include "kernel/base/x86.h"
#include "mmu/shadow.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/features.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define RFLAGS_FIXED 2ull
#define SIPI_VECTOR  0x9a
#define HOST_EFER    (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

struct vmx_controls vmx_boot_controls;
struct vmx_capability vmx_boot_capability;
struct guest_features guest_features;

static struct vmx_vcpu v;
static u64 real_efer; /* the CPU's own: the guest's, where entry does not load it */

static u64 read_msr(u32 index)
{
	return index == MSR_EFER ? real_efer : 0;
}

static void write_msr(u32 index, u64 value)
{
	if (index == MSR_EFER)
		real_efer = value;
}

void vmcs_set_entry_controls(struct vmx_vcpu *vcpu, u32 value)
{
	assert_false(irq_enabled());
	vcpu->entry_controls = value;
	vmcs_write(ENTRY_CONTROLS, value);
}

NOTHING(vmcs_set_proc_controls, struct vmx_vcpu *vcpu, u32 value)
NOTHING(debug_regs_save, struct vmx_vcpu *vcpu)
NOTHING(debug_regs_load, struct vmx_vcpu *vcpu)
NOTHING(event_forget, struct vmx_vcpu *vcpu)
NOTHING(vcpu_flush_tlb, struct vmx_vcpu *vcpu)
NOTHING(cpuid_forget, struct vmx_vcpu *vcpu)
NOTHING(exit_to_thread, struct vmx_vcpu *vcpu)
NOTHING(apic_set_cr8, struct vmx_vcpu *vcpu, u64 cr8)
NOTHING(vmx_drop_page, struct vmx_vcpu *vcpu, gva_t gva)
NOTHING(vmx_get_paging, struct vmx_vcpu *vcpu, struct guest_paging *out)
NOTHING(vmx_inject_page_fault, struct vmx_vcpu *vcpu, gva_t gva, u32 code)
ANSWER(u64, apic_cr8, 0, struct vmx_vcpu *vcpu)
ANSWER(const char *, vcpu_name, "test", void)
ANSWER(u32, vcpu_number, 0, void)
ANSWER(int, gpa_read, ERR_NOSLOT, struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size)
ANSWER(enum exit_verdict, exit_gp, EXIT_RETURN, struct vmx_vcpu *vcpu, struct vmx_exit *e)
ANSWER(enum exit_verdict, exit_kind, EXIT_RETURN, struct vmx_exit *e, enum vmx_exit_kind kind)
ANSWER(enum exit_verdict, exit_to_device, EXIT_RETURN, struct vmx_vcpu *vcpu, struct vmx_exit *e,
       gpa_t gpa, u32 access)
ANSWER(u64, mmu_shadow_cr3, 0, const struct mmu_vcpu *m)
ANSWER(int, mmu_shadow_load, 0, struct mmu_vcpu *m, const struct guest_paging *p)
ANSWER(int, mmu_shadow_fault, ERR_NOTSUP, struct mmu_vcpu *m, const struct guest_paging *p,
       gva_t gva, u32 access, struct shadow_answer *out)
ANSWER(int, mmu_shadow_let_write, ERR_NOTSUP, struct mmu_vcpu *m, gfn_t gfn, u64 digest)

/* The three kinds of CPU: of them the first alone has an entry that does not load EFER. */
enum cpu_kind {
	NO_EPT,
	SHADOW_BY_CHOICE,
	EPT,
	CPU_KINDS,
};

static void begin(enum cpu_kind kind)
{
	memset(&v, 0, sizeof(v));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	vmx_boot_capability.cr0_fixed1 = vmx_boot_capability.cr4_fixed1 = ~0ull;
	vmx_boot_controls.entry = kind == NO_EPT ? 0 : (u32)ENTRY_LOAD_EFER;
	guest_features.maxphyaddr = 40;
	hosted_machine.rdmsr = read_msr;
	hosted_machine.wrmsr = write_msr;
	real_efer = HOST_EFER;
	v.shadow = v.restricted = kind != EPT;
	v.entry_controls = vmx_boot_controls.entry;
	vmcs_write(ENTRY_CONTROLS, v.entry_controls);
	vmcs_write(CTRL_CR0_MASK, ~0ull);
	vmcs_write(CTRL_CR4_MASK, ~0ull);
	irq_enable();
}

static bool in_ia32e(void)
{
	return vmcs_read(ENTRY_CONTROLS) & (u32)ENTRY_IA32E;
}

/* What VM entry demands of the guest's EFER, and what the guest is to find there (SDM 3C 27.3.1.1). */
static void check_efer(enum cpu_kind kind, u64 want)
{
	struct cr_state s;
	u64 efer = vmcs_read(GUEST_EFER);

	cr_get(&v, &s);
	assert_int_equal(s.efer, want);
	assert_int_equal(in_ia32e(), !!(want & EFER_LMA));
	if (kind == NO_EPT) {
		assert_int_equal(real_efer & EFER_SCE, want & EFER_SCE);
		return;
	}
	assert_int_equal(!!(efer & EFER_LMA), in_ia32e());
	assert_int_equal(efer & EFER_SCE, want & EFER_SCE);
	if (kind == EPT)
		assert_int_equal(efer, want);
}

static const struct vmx_start long_start = {
	.mode = VMX_START_LONG,
	.rip = 0x100000,
	.cs = 0x10,
	.ds = 0x18,
	.cr3 = 0x7000,
};

static void start_in_long_mode(enum cpu_kind kind)
{
	begin(kind);
	vmx_vcpu_set_start(&v, &long_start);
	check_efer(kind, EFER_LME | EFER_LMA);
	/* As the guest's WRMSR does it. */
	v.msr.efer |= EFER_SCE | EFER_NXE;
	vcpu_set_efer(&v, cr_efer(&v));
	check_efer(kind, EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
}

/* What real mode is made of: an entry in virtual-8086 mode with IA-32e mode on would fail. */
static void check_after_init(enum cpu_kind kind)
{
	struct cr_state s;

	check_efer(kind, 0);
	cr_get(&v, &s);
	assert_int_equal(s.cr0, CR0_ET);
	assert_int_equal(s.cr3, 0);
	assert_int_equal(s.cr4, 0);
	assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_FIXED);
	assert_int_equal(vmcs_read(GUEST_CS_ACCESS), ACCESS_REAL_CODE);
	vmx_vcpu_sipi(&v, SIPI_VECTOR);
	assert_int_equal(vcpu_regs(&v)->rip, 0);
	assert_int_equal(vmcs_read(GUEST_CS_BASE), (u64)SIPI_VECTOR << PAGE_SHIFT);
	assert_int_equal(vmcs_read(GUEST_CS_SELECTOR), SIPI_VECTOR << 8);
	assert_true(irq_enabled());
}

static void init_leaves_long_mode(void **state)
{
	for (u32 kind = 0; kind < CPU_KINDS; kind++) {
		start_in_long_mode((enum cpu_kind)kind);
		vmx_vcpu_init(&v);
		check_after_init((enum cpu_kind)kind);
		/* Twice, as it comes from most kernels. */
		vmx_vcpu_init(&v);
		check_after_init((enum cpu_kind)kind);
	}
}

/* LME, SCE and NXE are set, and IA-32e mode is not on: nothing of it comes back. */
static void init_outside_long_mode_clears_efer(void **state)
{
	const struct vmx_start start = {.mode = VMX_START_PROTECTED, .cs = 0x10, .ds = 0x18};

	for (u32 kind = 0; kind < CPU_KINDS; kind++) {
		begin((enum cpu_kind)kind);
		vmx_vcpu_set_start(&v, &start);
		v.msr.efer = EFER_LME | EFER_SCE | EFER_NXE;
		vcpu_set_efer(&v, cr_efer(&v));
		check_efer((enum cpu_kind)kind, EFER_LME | EFER_SCE | EFER_NXE);
		vmx_vcpu_init(&v);
		check_after_init((enum cpu_kind)kind);
	}
}

/* Into long mode and out of it by CR0, and again after an INIT in between. */
static void long_mode_comes_again_after_init(void **state)
{
	for (u32 kind = 0; kind < CPU_KINDS; kind++) {
		struct cr_state s = {.cr0 = CR0_PE | CR0_PG | CR0_ET,
				     .cr4 = CR4_PAE,
				     .efer = EFER_LME | EFER_LMA};

		start_in_long_mode((enum cpu_kind)kind);
		vmx_vcpu_init(&v);
		cr_set(&v, &s);
		check_efer((enum cpu_kind)kind, s.efer);
		s.cr0 &= ~CR0_PG;
		s.efer = EFER_LME;
		cr_set(&v, &s);
		check_efer((enum cpu_kind)kind, s.efer);
	}
}

/* CD and NW are the only bits of CR0 that INIT keeps (SDM 3A table 9-1). */
static void init_keeps_cd_and_nw(void **state)
{
	struct cr_state s;

	begin(EPT);
	vmx_vcpu_set_start(&v, &(struct vmx_start){.mode = VMX_START_RESET, .rip = 0xfff0});
	cr_get(&v, &s);
	assert_int_equal(s.cr0, CR0_CD | CR0_NW | CR0_ET);
	vmx_vcpu_init(&v);
	cr_get(&v, &s);
	assert_int_equal(s.cr0, CR0_CD | CR0_NW | CR0_ET);
	s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	cr_set(&v, &s);
	vmx_vcpu_init(&v);
	cr_get(&v, &s);
	assert_int_equal(s.cr0, CR0_ET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_leaves_long_mode),
		cmocka_unit_test(init_outside_long_mode_clears_efer),
		cmocka_unit_test(long_mode_comes_again_after_init),
		cmocka_unit_test(init_keeps_cd_and_nw),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
