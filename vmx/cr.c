/* SPDX-License-Identifier: MIT */
/* The guest's control registers: their view, and the exits of MOV CR, LMSW and CLTS. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/features.h"
#include "vmx/regs.h"

#define ACCESS_REGISTER(q) ((u32)((q)&0xf))
#define ACCESS_KIND(q)	   ((u32)((q) >> 4) & 3)
#define ACCESS_GPR(q)	   ((u32)((q) >> 8) & 0xf)
#define ACCESS_LMSW(q)	   ((u64)((q) >> 16) & 0xffff)
#define CR8_MAX		   0xfull
#define LMSW_BITS	   (CR0_PE | CR0_MP | CR0_EM | CR0_TS)
#define PDPT_MASK	   0xffffffe0ull

enum cr_access {
	CR_MOV_TO,
	CR_MOV_FROM,
	CR_CLTS,
	CR_LMSW,
};

/* Host-owned bits are read from the shadow, the guest's own from the register. */
static u64 guest_view(enum vmcs_field reg, enum vmcs_field shadow, enum vmcs_field mask)
{
	u64 owned = vmcs_read(mask);

	return (vmcs_read(reg) & ~owned) | (vmcs_read(shadow) & owned);
}

void cr_get(struct vmx_vcpu *v, struct cr_state *out)
{
	out->cr0 = guest_view(GUEST_CR0, CTRL_CR0_SHADOW, CTRL_CR0_MASK);
	out->cr3 = v->paging_hidden ? v->cr3 : vcpu_cr3(v);
	out->cr4 = guest_view(GUEST_CR4, CTRL_CR4_SHADOW, CTRL_CR4_MASK);
	out->efer = v->msr.efer;
	out->cs_long = vmcs_read(GUEST_CS_ACCESS) & ACCESS_LONG;
	out->tss_16 = (vmcs_read(GUEST_TR_ACCESS) & ACCESS_TYPE_MASK) == ACCESS_TYPE_TSS_16_BUSY;
}

/* What VMX operation fixes; PE and PG an unrestricted guest chooses itself. */
static u64 real_cr0(const struct vmx_vcpu *v, u64 cr0)
{
	const struct vmx_capability *c = &vmx_boot_capability;

	if (v->restricted)
		cr0 |= CR0_PE | CR0_PG;
	/* Caches stay on: what a guest sees of CD and NW is the shadow. */
	cr0 &= ~(CR0_CD | CR0_NW);
	if (v->shadow)
		cr0 = shadow_cr0(cr0);
	return (cr0 | (c->cr0_fixed0 & ~(CR0_PE | CR0_PG))) & c->cr0_fixed1;
}

/*
 * MCE stays on whatever the guest thinks: a machine check then is an exit, which Weir answers for;
 * without it the computer would shut down.
 */
static u64 real_cr4(const struct vmx_vcpu *v, u64 cr4, bool paging)
{
	const struct vmx_capability *c = &vmx_boot_capability;

	if (v->shadow)
		cr4 = shadow_cr4(cr4, paging);
	/* The identity map has two levels, and its pages are everybody's. */
	if (v->paging_hidden)
		cr4 = (cr4 & ~(CR4_PAE | CR4_SMEP | CR4_SMAP)) | CR4_PSE;
	return (cr4 | CR4_MCE | c->cr4_fixed0) & c->cr4_fixed1;
}

static void set_long_mode(struct vmx_vcpu *v, u64 efer)
{
	u32 entry = v->entry_controls & ~(u32)ENTRY_IA32E;
	u64 tr = vmcs_read(GUEST_TR_ACCESS);

	if (efer & EFER_LMA) {
		entry |= (u32)ENTRY_IA32E;
		/* IA-32e mode knows only this kind of TSS; the guest loads one before it needs it. */
		vmcs_write(GUEST_TR_ACCESS, (tr & ~(u64)ACCESS_TYPE_MASK) | ACCESS_TYPE_TSS_BUSY);
	}
	vmcs_set_entry_controls(v, entry);
}

/* Where paging is on but for the guest, which has set LME, no entry would take that. */
u64 cr_efer(const struct vmx_vcpu *v)
{
	return v->paging_hidden ? v->msr.efer & ~(EFER_LME | EFER_LMA) : v->msr.efer;
}

/*
 * With EPT and without unrestricted guest a guest without paging runs over tables that map each
 * address to itself, and its MOVs to and from CR3 exit. With shadow paging it has such tables anyway.
 */
static void hide_paging(struct vmx_vcpu *v, bool hide)
{
	u32 exits = (u32)(PROC_CR3_LOAD | PROC_CR3_STORE);

	if (v->paging_hidden == hide || v->shadow)
		return;
	if (hide)
		v->cr3 = vmcs_read(GUEST_CR3);
	v->paging_hidden = hide;
	vmcs_write(GUEST_CR3, hide ? v->config.identity_map.v : v->cr3);
	vmcs_set_proc_controls(v, hide ? v->proc_controls | exits
				       : v->proc_controls & (vmx_boot_controls.proc | ~exits));
}

void cr3_set(struct vmx_vcpu *v, u64 value)
{
	if (v->paging_hidden)
		v->cr3 = value;
	else
		vcpu_set_cr3(v, value);
}

void cr_set(struct vmx_vcpu *v, const struct cr_state *s)
{
	/* Off: a switch of the vCPU changes its controls, too (debug_regs.c). */
	bool on = irq_save();

	if (v->restricted) {
		hide_paging(v, !(s->cr0 & CR0_PG));
		v->segments_odd = true;
	}
	vmcs_write(GUEST_CR0, real_cr0(v, s->cr0));
	vmcs_write(CTRL_CR0_SHADOW, s->cr0);
	if ((s->cr4 ^ vmcs_read(GUEST_CR4)) & CR4_OSXSAVE)
		cpuid_forget(v);
	vmcs_write(GUEST_CR4, real_cr4(v, s->cr4, s->cr0 & CR0_PG));
	vmcs_write(CTRL_CR4_SHADOW, s->cr4);
	v->msr.cr0_pg = s->cr0 & CR0_PG;
	/* The VMCS says what the CPU does, whoever has written EFER since. */
	if (!(s->efer & EFER_LMA) != !(v->entry_controls & (u32)ENTRY_IA32E))
		set_long_mode(v, s->efer);
	v->msr.efer = s->efer;
	vcpu_set_efer(v, cr_efer(v));
	if (v->shadow)
		shadow_stale(v);
	irq_restore(on);
}

int cr_load_pdptes(struct vmx_vcpu *v, u64 cr3)
{
	u64 pdpte[4];
	int err = gpa_read(v->config.mmu, GPA(cr3 & PDPT_MASK), pdpte, sizeof(pdpte));

	if (err == ERR_NOMEM)
		return err;
	if (err || !cr_pdptes_valid(pdpte, guest_features.maxphyaddr))
		return ERR_FAULT;
	vcpu_set_pdptes(v, pdpte);
	return 0;
}

/* 0, ERR_FAULT or ERR_NOMEM, and then nothing is changed. */
static int change(struct vmx_vcpu *v, int err, const struct cr_state *from,
		  const struct cr_state *to)
{
	if (!err && cr_loads_pdptes(from, to))
		err = cr_load_pdptes(v, to->cr3);
	if (err)
		return err;
	cr_set(v, to);
	if (cr_flushes(from, to))
		vcpu_flush_tlb(v);
	return 0;
}

static int change_cr0(struct vmx_vcpu *v, u64 value)
{
	struct cr_state from, to;

	cr_get(v, &from);
	return change(v, cr0_write(&from, value, &to), &from, &to);
}

static int change_cr4(struct vmx_vcpu *v, u64 value)
{
	struct cr_state from, to;

	cr_get(v, &from);
	return change(v, cr4_write(&from, vcpu_cr4_offered(v), value, &to), &from, &to);
}

/* While paging is off no PDPTEs are loaded: they are when it comes on. */
static int change_cr3(struct vmx_vcpu *v, u64 value)
{
	struct cr_state s;
	int err = 0;

	cr_get(v, &s);
	if ((s.efer & EFER_LMA) && (value >> guest_features.maxphyaddr))
		return ERR_FAULT;
	if (cr_pae_paging(&s))
		err = cr_load_pdptes(v, value);
	if (!err)
		cr3_set(v, value);
	return err;
}

/* Who calls looks at what the TPR lets through before the next entry. */
static int change_cr8(struct vmx_vcpu *v, u64 value)
{
	if (value > CR8_MAX)
		return ERR_FAULT;
	apic_set_cr8(v, value);
	return 0;
}

u64 vmx_read_cr(struct vmx_vcpu *v, u32 n)
{
	struct cr_state s;

	cr_get(v, &s);
	switch (n) {
	case 0:
		return s.cr0;
	case 2:
		return vcpu_regs(v)->cr2;
	case 3:
		return s.cr3;
	case 4:
		return s.cr4;
	default:
		return apic_cr8(v);
	}
}

int vmx_write_cr(struct vmx_vcpu *v, u32 n, u64 value)
{
	switch (n) {
	case 0:
		return change_cr0(v, value);
	case 2:
		write_cr2(value);
		vcpu_regs(v)->cr2 = value;
		return 0;
	case 3:
		vcpu_flush_tlb(v);
		return change_cr3(v, value);
	case 4:
		return change_cr4(v, value);
	default:
		return change_cr8(v, value);
	}
}

/* Ends the instruction, or queues the fault. */
static enum exit_verdict end(struct vmx_vcpu *v, struct vmx_exit *e, int err)
{
	if (err == ERR_NOMEM)
		return exit_kind(e, VMX_EXIT_NOMEM);
	if (err)
		return exit_gp(v, e);
	return exit_done(v);
}

static enum exit_verdict write_cr8_value(struct vmx_vcpu *v, struct vmx_exit *e, u64 value)
{
	if (change_cr8(v, value))
		return exit_gp(v, e);
	vcpu_skip(v);
	return exit_kind(e, VMX_EXIT_TPR);
}

/* By the chosen controls nothing else exits. */
static enum exit_verdict odd_access(struct vmx_vcpu *v, struct vmx_exit *e, u64 qualification)
{
	if (exit_crash(v))
		log_error("vm %s: control-register exit %#llx must not happen", vcpu_name(),
			  (unsigned long long)qualification);
	return exit_kind(e, VMX_EXIT_ERROR);
}

static enum exit_verdict mov_to(struct vmx_vcpu *v, struct vmx_exit *e, u64 qualification)
{
	u64 value = vcpu_regs(v)->gpr[ACCESS_GPR(qualification)];

	if (!vcpu_in_64bit(v))
		value = (u32)value;
	switch (ACCESS_REGISTER(qualification)) {
	case 0:
		return end(v, e, change_cr0(v, value));
	case 4:
		return end(v, e, change_cr4(v, value));
	case 3:
		return v->shadow ? cr3_write(v, e, value) : end(v, e, change_cr3(v, value));
	case 8:
		return write_cr8_value(v, e, value);
	default:
		return odd_access(v, e, qualification);
	}
}

/* LMSW sets PE but never clears it (SDM 2A, LMSW). */
static enum exit_verdict lmsw(struct vmx_vcpu *v, struct vmx_exit *e, u64 qualification)
{
	u64 source = ACCESS_LMSW(qualification) & LMSW_BITS;
	struct cr_state s;

	cr_get(v, &s);
	return end(v, e, change_cr0(v, (s.cr0 & ~(LMSW_BITS & ~CR0_PE)) | source));
}

static enum exit_verdict clts(struct vmx_vcpu *v, struct vmx_exit *e)
{
	struct cr_state s;

	cr_get(v, &s);
	return end(v, e, change_cr0(v, s.cr0 & ~CR0_TS));
}

enum exit_verdict handle_cr_access(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION);

	/* PDPTEs are read from guest memory, which may have to be got first. */
	exit_to_thread(v);
	switch ((enum cr_access)ACCESS_KIND(q)) {
	case CR_MOV_TO:
		return mov_to(v, e, q);
	case CR_CLTS:
		return clts(v, e);
	case CR_LMSW:
		return lmsw(v, e, q);
	case CR_MOV_FROM:
		break;
	}
	if (ACCESS_REGISTER(q) != 8 && ACCESS_REGISTER(q) != 3)
		return odd_access(v, e, q);
	vcpu_regs(v)->gpr[ACCESS_GPR(q)] = vmx_read_cr(v, ACCESS_REGISTER(q));
	return exit_done(v);
}
