/* SPDX-License-Identifier: MIT */
/* A vCPU's making and end, and what the floor above reads of it between runs. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/features.h"
#include "vmx/regs.h"

static void init_state(struct vmx_vcpu *v)
{
	const struct guest_features *f = &guest_features;

	v->msr.efer_offered = f->efer;
	v->msr.spec_ctrl_bits = f->spec_ctrl_bits;
	v->msr.has_spec_ctrl = f->spec_ctrl;
	v->msr.has_ibpb = f->ibpb;
	v->msr.has_arch_capabilities = f->arch_capabilities;
	v->msr.arch_capabilities = f->arch_capabilities_value;
	v->msr.microcode = f->microcode;
	v->msr.maxphyaddr = f->maxphyaddr;
	v->msr.tsc_offset = v->config.tsc_offset;
	msr_state_reset(&v->msr);
	v->dr6 = DR6_INITIAL;
	v->masked_exits = 1;
	v->unprepared = true;
	v->restricted = v->shadow || !vmx_unrestricted_guest();
	mitigations_update(v);
	cpuid_forget(v);
	fpu_init_area(v);
}

/* Interrupts off: another vCPU of this CPU may not come between. The VMCS is left in memory. */
static void init_vmcs(struct vmx_vcpu *v)
{
	struct vmx_vcpu *owner = vmx_cpus[cpu_id()].owner;

	*(u32 *)v->vmcs = VMX_BASIC_REVISION(vmx_boot_capability.basic);
	BUG_ON(vmclear(virt_to_phys(v->vmcs)));
	BUG_ON(vmptrld(virt_to_phys(v->vmcs)));
	vmcs_setup(v);
	BUG_ON(vmclear(virt_to_phys(v->vmcs)));
	if (owner)
		BUG_ON(vmptrld(virt_to_phys(owner->vmcs)));
}

static int take_frames(struct vmx_vcpu *v)
{
	v->vmcs = frame_alloc_page(FRAME_ZERO | FRAME_FOR(VCPU));
	v->xsave = frame_alloc_page(FRAME_ZERO | FRAME_FOR(VCPU));
	if (!v->config.apic_page)
		v->config.apic_page = v->own_apic_page = frame_alloc_page(FRAME_ZERO |
									  FRAME_FOR(VCPU));
	return v->vmcs && v->xsave && v->config.apic_page ? pml_create(v) : ERR_NOMEM;
}

static void free_vcpu(struct vmx_vcpu *v)
{
	pml_destroy(v);
	if (v->vmcs)
		frame_free_page(v->vmcs);
	if (v->xsave)
		frame_free_page(v->xsave);
	if (v->own_apic_page)
		frame_free_page(v->own_apic_page);
	kfree(v);
}

static int not_quick(void *owner, struct vmx_exit *e)
{
	(void)owner;
	(void)e;
	return ERR_TOO_HARD;
}

static int not_quick_call(u64 *rax, u32 ss_access)
{
	(void)rax;
	(void)ss_access;
	return ERR_TOO_HARD;
}

int vmx_vcpu_create(const struct vmx_config *config, struct vmx_vcpu **out)
{
	struct vmx_vcpu *v;
	bool on;

	if (!vmx_cpu_ready(cpu_id()))
		return ERR_NOTSUP;
	v = kmalloc(sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	v->config = *config;
	if (!v->config.quick) {
		v->config.quick = not_quick;
		v->config.quick_io = not_quick;
		v->config.quick_mmio = not_quick;
		v->config.quick_call = not_quick_call;
		v->config.device_area_size = 0;
	}
	v->host_cpu = CPU_MAX;
	v->shadow = config->mmu->kind == MMU_SHADOW;
	if (take_frames(v)) {
		free_vcpu(v);
		return ERR_NOMEM;
	}
	init_state(v);
	on = irq_save();
	init_vmcs(v);
	irq_restore(on);
	*out = v;
	return 0;
}

void vmx_vcpu_destroy(struct vmx_vcpu *v)
{
	bool on = irq_save();

	vcpu_disown_cpu(v);
	irq_restore(on);
	free_vcpu(v);
}

struct guest_regs *vmx_regs(struct vmx_vcpu *v)
{
	ASSERT(v->active);
	return vcpu_regs(v);
}

void vmx_get_segment(struct vmx_vcpu *v, enum vmx_segment_id id, struct vmx_segment *out)
{
	(void)v;
	out->selector = (u16)vmcs_read(VMCS_SEGMENT(GUEST_ES_SELECTOR, id));
	out->limit = (u32)vmcs_read(VMCS_SEGMENT(GUEST_ES_LIMIT, id));
	out->access = (u32)vmcs_read(VMCS_SEGMENT(GUEST_ES_ACCESS, id));
	out->base = vmcs_read(VMCS_SEGMENT(GUEST_ES_BASE, id));
}

void vmx_set_segment(struct vmx_vcpu *v, enum vmx_segment_id id, const struct vmx_segment *s)
{
	vmcs_write(VMCS_SEGMENT(GUEST_ES_SELECTOR, id), s->selector);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_LIMIT, id), s->limit);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_ACCESS, id), s->access);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_BASE, id), s->base);
	v->segments_odd = true;
}

void vmx_get_tables(struct vmx_vcpu *v, struct vmx_table *gdt, struct vmx_table *idt)
{
	(void)v;
	*gdt = (struct vmx_table){vmcs_read(GUEST_GDTR_BASE), (u32)vmcs_read(GUEST_GDTR_LIMIT)};
	*idt = (struct vmx_table){vmcs_read(GUEST_IDTR_BASE), (u32)vmcs_read(GUEST_IDTR_LIMIT)};
}

void vmx_set_gdt(struct vmx_vcpu *v, const struct vmx_table *t)
{
	(void)v;
	vmcs_write(GUEST_GDTR_BASE, t->base);
	vmcs_write(GUEST_GDTR_LIMIT, t->limit);
}

void vmx_set_idt(struct vmx_vcpu *v, const struct vmx_table *t)
{
	(void)v;
	vmcs_write(GUEST_IDTR_BASE, t->base);
	vmcs_write(GUEST_IDTR_LIMIT, t->limit);
}

u32 vcpu_cpl(struct vmx_vcpu *v)
{
	(void)v;
	return ACCESS_DPL((u32)vmcs_read(GUEST_SS_ACCESS));
}

void vmx_get_paging(struct vmx_vcpu *v, struct guest_paging *out)
{
	struct cr_state s;

	cr_get(v, &s);
	*out = (struct guest_paging){
		.cr0 = s.cr0,
		.cr3 = s.cr3,
		.cr4 = s.cr4,
		.efer = s.efer,
		.rflags = vcpu_rflags(v),
		.cpl = vcpu_cpl(v),
		.maxphyaddr = guest_features.maxphyaddr,
		.no_1g = !guest_features.pages_1g,
		.v = v->config.mmu_vcpu,
	};
	if (!cr_pae_paging(&s))
		return;
	vcpu_get_pdptes(v, out->pdpte);
}

u32 vmx_cpl(struct vmx_vcpu *v)
{
	return vcpu_cpl(v);
}

u64 *vmx_get_code(struct vmx_vcpu *v, struct fetch_code *out)
{
	u64 access = vmcs_read(GUEST_CS_ACCESS), rip = vmcs_read(GUEST_RIP);
	bool ia32e = v->msr.efer & EFER_LMA;

	ASSERT(!v->regs_here);
	/* What the VMCS has is not the guest's. */
	if (v->shadow)
		return NULL;
	out->paging = vmcs_read(GUEST_CR0) & CR0_PG;
	out->four_levels = ia32e;
	if (out->paging)
		out->cr3 = vmcs_read(GUEST_CR3);
	if (ia32e && (access & ACCESS_LONG)) {
		out->mode = DECODE_64;
		out->linear = rip;
		return v->regs.gpr;
	}
	out->mode = access & ACCESS_BIG ? DECODE_32 : DECODE_16;
	out->linear = (u32)(rip + vmcs_read(GUEST_CS_BASE));
	/* Two levels, where PSE lets entries be large; three are rare. */
	if (out->paging && !ia32e && (vmcs_read(GUEST_CR4) & (CR4_PAE | CR4_PSE)) != CR4_PSE)
		return NULL;
	return v->regs.gpr;
}

u32 vmx_data_base(struct vmx_vcpu *v)
{
	(void)v;
	return (u32)vmcs_read(GUEST_DS_BASE);
}

u64 vmx_guest_tsc(struct vmx_vcpu *v)
{
	return rdtsc() + v->msr.tsc_offset;
}

u64 vmx_tsc_offset(const struct vmx_vcpu *v)
{
	return v->msr.tsc_offset;
}

const char *vcpu_name(void)
{
	return thread_current()->name;
}

u32 vcpu_number(void)
{
	return thread_current()->number;
}

void vmx_complete_io_in(struct vmx_vcpu *v, u32 value)
{
	vcpu_set_io_value(v, v->io_size, value);
	vcpu_skip(v);
}

void vmx_complete_io_out(struct vmx_vcpu *v)
{
	vcpu_skip(v);
}

void vmx_complete_rdmsr(struct vmx_vcpu *v, u64 value)
{
	v->regs.gpr[RAX] = (u32)value;
	v->regs.gpr[RDX] = value >> 32;
	vcpu_skip(v);
}

void vmx_complete_wrmsr(struct vmx_vcpu *v)
{
	vcpu_skip(v);
}

void vmx_complete_hypercall(struct vmx_vcpu *v, u64 rax)
{
	v->regs.gpr[RAX] = rax;
	vcpu_skip(v);
}

void vmx_complete_emulation(struct vmx_vcpu *v)
{
	vcpu_end_shadow(v);
}

void vmx_complete_instruction(struct vmx_vcpu *v, u32 did)
{
	u64 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

	v->emulate_once = false;
	blocking &= ~(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
	if (did & VMX_DID_STI)
		blocking |= BLOCKED_BY_STI;
	if (did & VMX_DID_MOV_SS)
		blocking |= BLOCKED_BY_MOV_SS;
	if (did & VMX_DID_IRET)
		blocking &= ~BLOCKED_BY_NMI;
	vmcs_write(GUEST_INTERRUPTIBILITY, blocking);
	if ((did & VMX_DID_ONE_STEP) && !(vmcs_read(GUEST_DEBUGCTL) & DEBUGCTL_BTF))
		vmcs_write(GUEST_PENDING_DEBUG, vmcs_read(GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

u64 vmx_exit_count(const struct vmx_vcpu *v, u32 reason)
{
	return reason < VMX_EXIT_REASONS ? READ_ONCE(v->exits[reason]) : 0;
}
