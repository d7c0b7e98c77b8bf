/* SPDX-License-Identifier: MIT */
/*
 * What the CPU does of a guest's local APIC by itself (SDM 3C chapter 30). The registers are in a
 * page of the floor above's; where the CPU has a TPR shadow it is the virtual-APIC page, and MOV to
 * and from CR8 go there without an exit.
 */
#include "kernel/base/panic.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/posted.h"
#include "vmx/regs.h"

#define PAGE_TPR      0x80
#define TPR_CR8_SHIFT 4

static u32 *tpr(struct vmx_vcpu *v)
{
	return (u32 *)((u8 *)v->config.apic_page + PAGE_TPR);
}

static void setup_full(struct vmx_vcpu *v)
{
	static const enum vmcs_field eoi_exits[] = {CTRL_EOI_EXIT_0, CTRL_EOI_EXIT_1,
						    CTRL_EOI_EXIT_2, CTRL_EOI_EXIT_3};

	/* It needs external-interrupt exiting (SDM 3C 27.2.1.1), which is always on. */
	v->proc2_controls |= (u32)PROC2_INTERRUPT_DELIVERY;
	vmcs_write(GUEST_INTERRUPT_STATUS, 0);
	for (u32 i = 0; i < ARRAY_SIZE(eoi_exits); i++)
		vmcs_write(eoi_exits[i], 0);
	if (vmx_apicv() >= VMX_APICV_POSTED && v->config.posted)
		posted_setup(v);
}

void apic_setup(struct vmx_vcpu *v)
{
	if (!(v->proc_controls & (u32)PROC_TPR_SHADOW))
		return;
	BUG_ON(!is_aligned((u64)v->config.apic_page, PAGE_SIZE));
	vmcs_write(CTRL_VIRTUAL_APIC_ADDRESS, virt_to_phys(v->config.apic_page).v);
	vmcs_write(CTRL_TPR_THRESHOLD, 0);
	if (v->config.apic_access_page) {
		v->proc2_controls |= (u32)PROC2_APIC_ACCESS;
		vmcs_write(CTRL_APIC_ACCESS_ADDRESS, virt_to_phys(v->config.apic_access_page).v);
	}
	if (vmx_apicv() >= VMX_APICV_REGISTERS && !v->own_apic_page) {
		v->apic_registers = true;
		v->proc2_controls |= (u32)PROC2_APIC_REGISTERS;
		/* Interrupts of real mode go in software there (capability.c). */
		v->apic_full = vmx_apicv() >= VMX_APICV_FULL && !v->restricted;
	}
	if (v->apic_full)
		setup_full(v);
	vmcs_write(CTRL_PROC_SECONDARY, v->proc2_controls);
}

u64 apic_cr8(struct vmx_vcpu *v)
{
	return READ_ONCE(*tpr(v)) >> TPR_CR8_SHIFT & 0xf;
}

void apic_set_cr8(struct vmx_vcpu *v, u64 cr8)
{
	WRITE_ONCE(*tpr(v), (u32)cr8 << TPR_CR8_SHIFT);
}

/* The entry wants it to be no more than TPR's class (SDM 3C 27.2.1.1). */
void vmx_set_tpr_threshold(struct vmx_vcpu *v, u32 class)
{
	if (likely(v->tpr_threshold == class) || !(v->proc_controls & (u32)PROC_TPR_SHADOW))
		return;
	v->tpr_threshold = (u8) class;
	vmcs_write(CTRL_TPR_THRESHOLD, class);
}

void vmx_set_interrupt_status(struct vmx_vcpu *v, u8 requested, u8 in_service)
{
	ASSERT(v->apic_full);
	vmcs_write(GUEST_INTERRUPT_STATUS, (u64)in_service << 8 | requested);
}

void vmx_set_eoi_exits(struct vmx_vcpu *v, const u32 vectors[8])
{
	ASSERT(v->apic_full);
	for (u32 i = 0; i < ARRAY_SIZE(v->eoi_exits); i++) {
		u64 word = vectors[2 * i] | (u64)vectors[2 * i + 1] << 32;

		if (v->eoi_exits[i] == word)
			continue;
		v->eoi_exits[i] = word;
		vmcs_write((enum vmcs_field)(CTRL_EOI_EXIT_0 + 2 * i), word);
	}
}

/* The two controls exclude each other (SDM 3C 27.2.1.1). */
void vmx_set_x2apic(struct vmx_vcpu *v, bool on)
{
	u32 proc2 = v->proc2_controls & ~(u32)(PROC2_X2APIC | PROC2_APIC_ACCESS);

	if (!v->apic_registers)
		return;
	if (on)
		proc2 |= (u32)PROC2_X2APIC;
	else if (v->config.apic_access_page)
		proc2 |= (u32)PROC2_APIC_ACCESS;
	v->proc2_controls = proc2;
	vmcs_write(CTRL_PROC_SECONDARY, proc2);
	vmcs_write(CTRL_MSR_BITMAP, virt_to_phys(msr_bitmap(on, v->shadow)).v);
}

enum vmx_apicv vmx_apicv(void)
{
	return vmx_boot_controls.apicv;
}

/* What an APIC-access exit tells (SDM 3C table 28-6). */
#define ACCESS_OFFSET(q)   ((q)&0xfff)
#define ACCESS_TYPE(q)	   ((u32)((q) >> 12) & 0xf)
#define ACCESS_READ	   0 /* by an instruction, at a linear address */
#define ACCESS_WRITE	   1
#define ACCESS_FETCH	   2
#define ACCESS_PHYSICAL	   15 /* of page tables, or of PDPTEs that MOV CR loads */
#define INSTRUCTION_LENGTH 15

/*
 * With PAE paging: of PDPTEs, most likely. There is no reading any here, and MOV CR that is run
 * again and again would never end. Else a page table that is none: the emulator ends the VM.
 */
static bool loads_pdptes(struct vmx_vcpu *v, u32 type)
{
	struct cr_state s;

	if (type != ACCESS_PHYSICAL || v->event.valid)
		return false;
	cr_get(v, &s);
	return cr_pae_paging(&s);
}

/* As any device's. Apart from handle_apic_access so that it has less to save and restore. */
static enum exit_verdict __noinline as_a_device(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION);
	u32 type = ACCESS_TYPE(q), access = type == ACCESS_WRITE ? MMU_WRITE : MMU_READ;

	event_collect(v);
	if (loads_pdptes(v, type))
		return exit_gp(v, e);
	return exit_to_device(v, e, GPA(v->config.device_page.v + ACCESS_OFFSET(q)),
			      type == ACCESS_FETCH ? MMU_EXEC : access);
}

/*
 * The CPU tells what it was to do, and the floor above may do it at once. What it does not, and what
 * is no instruction's own access to its data, goes on as any device's; offsets are known of the
 * types above alone.
 */
enum exit_verdict handle_apic_access(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION), length;
	u32 type = ACCESS_TYPE(q), access = type == ACCESS_WRITE ? MMU_WRITE : MMU_READ;
	gpa_t gpa = GPA(v->config.device_page.v + ACCESS_OFFSET(q));
	enum exit_verdict verdict;

	if (likely(type <= ACCESS_WRITE)) {
		length = type == ACCESS_WRITE ? vmcs_read(EXIT_INSTRUCTION_LENGTH) : 0;
		if (exit_offer_mmio(v, e, gpa, access,
				    (u8)(length <= INSTRUCTION_LENGTH ? length : 0), &verdict))
			return verdict;
	}
	return as_a_device(v, e);
}

/* A trap: the guest's MOV to CR8 is done. */
enum exit_verdict handle_tpr_below(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)v;
	return exit_kind(e, VMX_EXIT_TPR);
}

/* Traps, both: the instruction is over, and what it wrote is in the page. */
static enum exit_verdict offer_trap(struct vmx_vcpu *v, struct vmx_exit *e, enum vmx_exit_kind kind)
{
	return exit_offer(v, e, kind) ? exit_kind(e, VMX_EXIT_NONE) : EXIT_RESUME;
}

enum exit_verdict handle_apic_write(struct vmx_vcpu *v, struct vmx_exit *e)
{
	e->apic = ACCESS_OFFSET((u32)vmcs_read(EXIT_QUALIFICATION));
	return offer_trap(v, e, VMX_EXIT_APIC_WRITE);
}

enum exit_verdict handle_apic_eoi(struct vmx_vcpu *v, struct vmx_exit *e)
{
	e->apic = (u8)vmcs_read(EXIT_QUALIFICATION);
	return offer_trap(v, e, VMX_EXIT_APIC_EOI);
}
