/* SPDX-License-Identifier: MIT */
/* A new VMCS's controls and host state (SDM 3C 25.5-25.8). */
#include "kernel/base/machine.h"
#include "kernel/base/msr.h"
#include "smp/cpu.h"
#include "smp/timer.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/errata.h"
#include "vmx/features.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#define NO_VMCS		    (~0ull)
#define MISC_TIMER_SHIFT(m) ((u32)(m)&0x1f)

/* Cycles of the TSC: what spins for longer than a short critical section takes (SDM 3C 25.1.3). */
#define PAUSE_GAP      128
#define PAUSE_WINDOW   4096
#define PAUSE_FOR_EVER (~0u)

/* CR0 and CR4 bits that a guest flips without an exit. */
#define CR0_GUESTS_OWN (CR0_TS | CR0_MP | CR0_EM | CR0_AM | CR0_WP)
#define CR4_GUESTS_OWN                                                                            \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | \
	 CR4_FSGSBASE | CR4_UMIP)

/* Shadow paging: what changes the meaning of the guest's tables is Weir's to see. */
#define CR0_SHADOWED CR0_WP
#define CR4_SHADOWED CR4_PGE
#define WITH_SHADOW  ((u32)(PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INVLPG))
/* INVPCID names PCIDs, of which the guest has none. */
#define WITH_EPT_ONLY ((u32)(PROC2_EPT | PROC2_UNRESTRICTED | PROC2_INVPCID))

void vmcs_set_proc_controls(struct vmx_vcpu *v, u32 value)
{
	if (v->proc_controls == value)
		return;
	v->proc_controls = value;
	vmcs_write(CTRL_PROC, value);
}

void vmcs_set_entry_controls(struct vmx_vcpu *v, u32 value)
{
	if (v->entry_controls == value)
		return;
	v->entry_controls = value;
	vmcs_write(ENTRY_CONTROLS, value);
}

/* One vCPU waits for no other. */
static bool alone(const struct vmx_vcpu *v)
{
	return v->config.vcpu_count == 1;
}

static void setup_controls(struct vmx_vcpu *v)
{
	const struct vmx_controls *c = &vmx_boot_controls;
	u32 must = (u32)vmx_boot_capability.proc;

	v->proc_controls = c->proc | (v->shadow ? WITH_SHADOW : 0);
	if (alone(v))
		v->proc_controls &= (~(u32)PROC_PAUSE) | must;
	v->proc2_controls = c->proc2 & ~(v->shadow ? WITH_EPT_ONLY : 0);
	v->entry_controls = c->entry;
	vmcs_write(CTRL_PIN, c->pin);
	vmcs_write(CTRL_PROC, v->proc_controls);
	vmcs_write(CTRL_PROC_SECONDARY, v->proc2_controls);
	vmcs_write(EXIT_CONTROLS, c->exit);
	vmcs_write(ENTRY_CONTROLS, c->entry);
	if (c->proc2 & PROC2_ENCLS)
		vmcs_write(CTRL_ENCLS_EXITING, ~0ull);

	vmcs_write(CTRL_EXCEPTION_BITMAP, vcpu_exceptions(v));
	vmcs_write(CTRL_PAGE_FAULT_MASK, 0);
	vmcs_write(CTRL_PAGE_FAULT_MATCH, 0);
	vmcs_write(CTRL_CR3_TARGET_COUNT, 0);
	vmcs_write(CTRL_MSR_BITMAP, virt_to_phys(msr_bitmap(false, v->shadow)).v);
	if (!v->shadow)
		vmcs_write(CTRL_EPT_POINTER, mmu_eptp(v->config.mmu));
	vmcs_write(CTRL_TSC_OFFSET, v->config.tsc_offset);
	vmcs_write(EXIT_MSR_STORE_COUNT, 0);
	vmcs_write(EXIT_MSR_LOAD_COUNT, 0);
	vmcs_write(ENTRY_MSR_LOAD_COUNT, 0);
	vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
	vmcs_write(GUEST_LINK_POINTER, NO_VMCS);
}

/*
 * A host interrupt makes the guest leave whatever the guest's IF is, but in Bochs. The CPU counts
 * from the field's value anew at each entry.
 */
static void setup_longest_stay(void)
{
	if (vmx_boot_controls.pin & PIN_PREEMPTION_TIMER)
		vmcs_write(GUEST_PREEMPTION_TIMER,
			   errata_longest_stay(machine_is_emulated(), clock_tsc_khz(),
					       MISC_TIMER_SHIFT(vmx_boot_capability.misc)));
}

/* PAUSEs no further apart than the gap are a loop; one that lasts as long as the window exits. */
static void setup_pause_loop(struct vmx_vcpu *v)
{
	if (!(vmx_boot_controls.proc2 & PROC2_PAUSE_LOOP))
		return;
	vmcs_write(CTRL_PLE_GAP, PAUSE_GAP);
	vmcs_write(CTRL_PLE_WINDOW, alone(v) ? PAUSE_FOR_EVER : PAUSE_WINDOW);
}

static void setup_cr_masks(const struct vmx_vcpu *v)
{
	const struct vmx_capability *c = &vmx_boot_capability;
	u64 own0 = CR0_GUESTS_OWN & ~c->cr0_fixed0 & c->cr0_fixed1;
	u64 own4 = CR4_GUESTS_OWN & guest_features.cr4 & ~c->cr4_fixed0 & c->cr4_fixed1;

	if (v->shadow) {
		own0 &= ~CR0_SHADOWED;
		own4 &= ~CR4_SHADOWED;
	}
	vmcs_write(CTRL_CR0_MASK, ~own0);
	vmcs_write(CTRL_CR4_MASK, ~own4);
}

void vmcs_set_host_cpu(void)
{
	vmcs_write(HOST_GS_BASE, (u64)this_cpu());
	vmcs_write(HOST_TR_BASE, cpu_tss_base());
	vmcs_write(HOST_GDTR_BASE, cpu_gdt_base());
}

/* What is the same on every CPU. RSP: see entry.S. */
static void setup_host(struct vmx_vcpu *v)
{
	vmcs_write(HOST_CR0, read_cr0());
	vmcs_write(HOST_CR3, read_cr3());
	vmcs_write(HOST_CR4, read_cr4());
	if (vmx_boot_controls.exit & EXIT_LOAD_EFER)
		vmcs_write(HOST_EFER, rdmsr(MSR_EFER));
	if (vmx_boot_controls.exit & EXIT_LOAD_PAT)
		vmcs_write(HOST_PAT, rdmsr(MSR_IA32_PAT));
	vmcs_write(HOST_CS_SELECTOR, SELECTOR_CS);
	vmcs_write(HOST_SS_SELECTOR, SELECTOR_DS);
	vmcs_write(HOST_DS_SELECTOR, SELECTOR_DS);
	vmcs_write(HOST_ES_SELECTOR, SELECTOR_DS);
	vmcs_write(HOST_FS_SELECTOR, 0);
	vmcs_write(HOST_GS_SELECTOR, 0);
	vmcs_write(HOST_TR_SELECTOR, SELECTOR_TSS);
	vmcs_write(HOST_FS_BASE, 0);
	vmcs_write(HOST_IDTR_BASE, cpu_idt_base());
	vmcs_write(HOST_SYSENTER_CS, 0);
	vmcs_write(HOST_SYSENTER_ESP, 0);
	vmcs_write(HOST_SYSENTER_EIP, 0);
	vmcs_write(HOST_RSP, (u64)(v->regs.gpr + ARRAY_SIZE(v->regs.gpr)));
	vmcs_write(HOST_RIP, (u64)vmx_exit_point);
}

void vmcs_setup(struct vmx_vcpu *v)
{
	setup_controls(v);
	apic_setup(v);
	setup_longest_stay();
	setup_pause_loop(v);
	setup_cr_masks(v);
	setup_host(v);
}
