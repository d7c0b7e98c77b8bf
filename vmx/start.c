/* SPDX-License-Identifier: MIT */
/* The states in which a guest begins: as the CPU comes out of reset, or as a loader promises. */
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/regs.h"

#define RFLAGS_FIXED  BIT(1)
#define DR7_INITIAL   0x400
#define RESET_CS      0xf000
#define RESET_CS_BASE 0xffff0000ull
#define RESET_RIP     0xfff0
#define RESET_CR0     (CR0_CD | CR0_NW | CR0_ET)
#define REAL_LIMIT    0xffffu
#define FLAT_LIMIT    0xffffffffu
#define TSS_LIMIT     0x67u
#define FAMILY_MODEL  1 /* CPUID leaf: reset leaves its EAX in EDX */

static void set_segment(enum vmx_segment_id id, u16 selector, u64 base, u32 limit, u32 access)
{
	vmcs_write(VMCS_SEGMENT(GUEST_ES_SELECTOR, id), selector);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_BASE, id), base);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_LIMIT, id), limit);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_ACCESS, id), access);
}

static void set_data_segments(u16 selector, u32 limit, u32 access)
{
	static const enum vmx_segment_id data[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

	for (u32 i = 0; i < ARRAY_SIZE(data); i++)
		set_segment(data[i], selector, 0, limit, access);
}

static void set_tables(u64 gdt_base, u32 gdt_limit, u32 idt_limit)
{
	vmcs_write(GUEST_GDTR_BASE, gdt_base);
	vmcs_write(GUEST_GDTR_LIMIT, gdt_limit);
	vmcs_write(GUEST_IDTR_BASE, 0);
	vmcs_write(GUEST_IDTR_LIMIT, idt_limit);
}

/* What is the same in every mode, and after INIT. */
static void set_common(void)
{
	vmcs_write(GUEST_DR7, DR7_INITIAL);
	vmcs_write(GUEST_DEBUGCTL, 0);
	vmcs_write(GUEST_INTERRUPTIBILITY, 0);
	vmcs_write(GUEST_ACTIVITY, 0);
	vmcs_write(GUEST_PENDING_DEBUG, 0);
}

/* MSRs that INIT leaves alone. */
static void set_power_on(void)
{
	if (vmx_boot_controls.entry & ENTRY_LOAD_PAT)
		vmcs_write(GUEST_PAT, PAT_INITIAL);
	vmcs_write(GUEST_SYSENTER_CS, 0);
	vmcs_write(GUEST_SYSENTER_ESP, 0);
	vmcs_write(GUEST_SYSENTER_EIP, 0);
}

static void set_regs(struct vmx_vcpu *v, const struct vmx_start *s)
{
	v->regs = (struct guest_regs){0};
	v->regs.gpr[RAX] = s->rax;
	v->regs.gpr[RBX] = s->rbx;
	v->regs.gpr[RSI] = s->rsi;
	v->regs_here = false;
	vmcs_write(GUEST_RIP, s->rip);
	vmcs_write(GUEST_RSP, s->rsp);
	vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED);
	write_cr2(0);
}

static void start_reset(struct vmx_vcpu *v, struct cr_state *cr)
{
	struct vmx_start s = {.rip = RESET_RIP};

	cr->cr0 = RESET_CR0;
	set_regs(v, &s);
	v->regs.gpr[RDX] = cpuid(FAMILY_MODEL, 0).eax;
	set_segment(SEG_CS, RESET_CS, RESET_CS_BASE, REAL_LIMIT, ACCESS_REAL_CODE);
	set_data_segments(0, REAL_LIMIT, ACCESS_REAL_DATA);
	set_segment(SEG_LDTR, 0, 0, REAL_LIMIT, ACCESS_LDT);
	set_segment(SEG_TR, 0, 0, REAL_LIMIT, ACCESS_TSS_BUSY);
	set_tables(0, REAL_LIMIT, REAL_LIMIT);
}

static void start_flat(struct vmx_vcpu *v, const struct vmx_start *s, u32 code_access)
{
	set_regs(v, s);
	set_segment(SEG_CS, s->cs, 0, FLAT_LIMIT, code_access);
	set_data_segments(s->ds, FLAT_LIMIT, ACCESS_FLAT_DATA);
	set_segment(SEG_LDTR, 0, 0, 0, (u32)ACCESS_UNUSABLE);
	set_segment(SEG_TR, 0, 0, TSS_LIMIT, ACCESS_TSS_BUSY);
	set_tables(s->gdt_base, s->gdt_limit, 0);
}

void vmx_vcpu_set_start(struct vmx_vcpu *v, const struct vmx_start *s)
{
	struct cr_state cr = {0};

	set_common();
	set_power_on();
	switch (s->mode) {
	case VMX_START_RESET:
		start_reset(v, &cr);
		break;
	case VMX_START_LONG:
		start_flat(v, s, ACCESS_FLAT_CODE64);
		cr.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
		cr.cr3 = s->cr3;
		cr.cr4 = CR4_PAE;
		cr.efer = EFER_LME | EFER_LMA;
		break;
	case VMX_START_PROTECTED:
		start_flat(v, s, ACCESS_FLAT_CODE32);
		cr.cr0 = CR0_PE | CR0_ET;
		break;
	}
	cr3_set(v, cr.cr3);
	cr_set(v, &cr);
}

/* Interrupts off: a switch of vCPUs would load what is being changed. */
static void init_debug_regs(struct vmx_vcpu *v)
{
	debug_regs_save(v);
	for (u32 i = 0; i < ARRAY_SIZE(v->dr); i++)
		v->dr[i] = 0;
	v->dr6 = DR6_INITIAL;
	debug_regs_load(v); /* DR7 has none on: the next MOV DR exits */
}

void vmx_vcpu_init(struct vmx_vcpu *v)
{
	struct cr_state cr = {0}, old;
	bool on = irq_save();

	cr_get(v, &old);
	set_common();
	init_debug_regs(v);
	start_reset(v, &cr);
	cr.cr0 = CR0_ET | (old.cr0 & (CR0_CD | CR0_NW));
	cr3_set(v, 0);
	cr_set(v, &cr);
	v->emulate_once = false;
	v->msr.debugctl = 0;
	event_forget(v);
	vcpu_flush_tlb(v);
	irq_restore(on);
}

/* SDM 3A 9.4.4.1 and table 9-1: the rest is as INIT left it. */
void vmx_vcpu_sipi(struct vmx_vcpu *v, u8 vector)
{
	set_segment(SEG_CS, (u16)(vector << 8), (u64)vector << PAGE_SHIFT, REAL_LIMIT,
		    ACCESS_REAL_CODE);
	vcpu_regs(v)->rip = 0;
}
