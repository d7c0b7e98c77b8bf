/* SPDX-License-Identifier: MIT */
/*
 * Exits of a guest without EPT: page faults, and what changes how its tables are understood. The CPU
 * has paging on at all times, with CR0.WP and EFER.NXE set, in PAE mode outside long mode; what the
 * guest reads of CR0, CR3, CR4 and EFER is its own.
 */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/trace.h"
#include "kernel/base/x86.h"
#include "mmu/shadow.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/features.h"
#include "vmx/regs.h"

/* --- What the guest has and what the CPU has --- */

u64 vcpu_cr3(const struct vmx_vcpu *v)
{
	return v->shadow ? v->guest_cr3 : vmcs_read(GUEST_CR3);
}

void vcpu_set_cr3(struct vmx_vcpu *v, u64 cr3)
{
	if (!v->shadow) {
		vmcs_write(GUEST_CR3, cr3);
		return;
	}
	v->guest_cr3 = cr3;
	shadow_stale(v);
}

void vcpu_get_pdptes(const struct vmx_vcpu *v, u64 pdpte[4])
{
	for (u32 i = 0; i < 4; i++)
		pdpte[i] = v->shadow ? v->pdpte[i] : vmcs_read(GUEST_PDPTE0 + 2 * i);
}

void vcpu_set_pdptes(struct vmx_vcpu *v, const u64 pdpte[4])
{
	for (u32 i = 0; i < 4; i++) {
		if (v->shadow)
			v->pdpte[i] = pdpte[i];
		else
			vmcs_write(GUEST_PDPTE0 + 2 * i, pdpte[i]);
	}
}

u64 shadow_cr0(u64 cr0)
{
	return cr0 | CR0_PE | CR0_PG | CR0_WP;
}

/* Without paging all of memory is the user's as much as the supervisor's. */
u64 shadow_cr4(u64 cr4, bool paging)
{
	return (paging ? cr4 : cr4 & ~(CR4_SMEP | CR4_SMAP)) | CR4_PAE;
}

/* VM entry wants LME to agree with LMA where paging is on (SDM 3C 27.3.1.1). */
static u64 shadow_efer(u64 efer)
{
	return (efer & ~EFER_LME) | EFER_NXE | (efer & EFER_LMA ? EFER_LME : 0);
}

static bool switches_efer(void)
{
	return vmx_boot_controls.entry & ENTRY_LOAD_EFER;
}

/*
 * Where VM entry does not load EFER, it sets LME and LMA by itself and leaves the rest (SDM 3C
 * 27.3.2.1): NXE is set in any case, and of SCE Weir makes no use.
 */
void shadow_load_msrs(struct vmx_vcpu *v)
{
	if (v->shadow && !switches_efer())
		wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~EFER_SCE) | (v->msr.efer & EFER_SCE));
}

/* v->msr.efer is the same already, but where paging is hidden. */
void vcpu_set_efer(struct vmx_vcpu *v, u64 efer)
{
	bool on;

	if (switches_efer()) {
		vmcs_write(GUEST_EFER, v->shadow ? shadow_efer(efer) : efer);
		return;
	}
	on = irq_save();
	shadow_load_msrs(v);
	irq_restore(on);
}

u64 vcpu_cr4_offered(const struct vmx_vcpu *v)
{
	return guest_features.cr4 & ~(v->shadow ? CR4_PCIDE : 0);
}

/* --- The root --- */

void shadow_stale(struct vmx_vcpu *v)
{
	v->root_stale = v->unprepared = true;
}

/* The root's translations are those of another, so far as the CPU knows. */
static void take_root(struct vmx_vcpu *v)
{
	u64 cr3 = mmu_shadow_cr3(v->config.mmu_vcpu);

	vmcs_write(GUEST_CR3, cr3);
	v->shadow_cr3 = cr3;
	vcpu_flush_tlb(v);
}

int shadow_load(struct vmx_vcpu *v)
{
	struct guest_paging p;
	int err;

	vmx_get_paging(v, &p);
	err = mmu_shadow_load(v->config.mmu_vcpu, &p);
	if (err)
		return err;
	take_root(v);
	v->root_stale = false;
	return 0;
}

enum exit_verdict cr3_write(struct vmx_vcpu *v, struct vmx_exit *e, u64 value)
{
	struct cr_state s;
	int err;

	cr_get(v, &s);
	if ((s.efer & EFER_LMA) && (value >> guest_features.maxphyaddr))
		return exit_gp(v, e);
	if (cr_pae_paging(&s)) {
		err = cr_load_pdptes(v, value);
		if (err == ERR_NOMEM)
			return exit_kind(e, VMX_EXIT_NOMEM);
		if (err)
			return exit_gp(v, e);
	}
	v->guest_cr3 = value;
	vcpu_skip(v);
	if (shadow_load(v) == 0)
		return EXIT_RESUME;
	/* The instruction is done: it is the next entry that waits. */
	shadow_stale(v);
	return exit_kind(e, VMX_EXIT_NONE);
}

/*
 * With shadow paging alone, if the CPU lets it: what it knows of the address is what Weir's tables
 * say.
 */
enum exit_verdict handle_invlpg(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	/* Who has the shadow tables locked may have them so for long. */
	exit_to_thread(v);
	vmx_drop_page(v, GVA(vmcs_read(EXIT_QUALIFICATION)));
	return exit_done(v);
}

/* --- Page faults --- */

/* The CPU's own error code says what was tried (SDM 3A 4.7). */
static u32 access_of(u32 error_code, u32 cpl)
{
	u32 access = MMU_READ;

	if (error_code & PAGE_FAULT_WR)
		access = MMU_WRITE;
	else if (error_code & PAGE_FAULT_ID)
		access = MMU_EXEC;
	/* Of its own accord: a descriptor, the TSS, the stack that it changes to. */
	if (cpl == 3 && !(error_code & PAGE_FAULT_US))
		access |= WALK_IMPLICIT_SUPERVISOR;
	return access;
}

static enum exit_verdict no_table(struct vmx_vcpu *v, struct vmx_exit *e, u64 gva)
{
	if (exit_crash(v))
		log_error("vm %s: the guest's page tables for address %#llx (cr3 %#llx) are not in "
			  "RAM",
			  vcpu_name(), (unsigned long long)gva, (unsigned long long)v->guest_cr3);
	return exit_kind(e, VMX_EXIT_ERROR);
}

/*
 * A write to one of the guest's tables. Where no instruction is to be run in its place, for an event
 * is being delivered there, the page is no table any more. What the CPU wrote of its own accord the
 * instruction itself may not write.
 */
static enum exit_verdict emulate(struct vmx_vcpu *v, struct vmx_exit *e, gva_t gva, gpa_t gpa,
				 u32 access, const struct guest_paging *p)
{
	if (v->event.valid) {
		if (mmu_shadow_let_write(v->config.mmu_vcpu, gpa_to_gfn(gpa),
					 guest_regs_digest(vcpu_regs(v))) != ERR_NOTSUP)
			return EXIT_RESUME;
		if (exit_crash(v))
			log_error("vm %s: an event is delivered to a page (gpa %#llx) that is a "
				  "table on the way to itself, or that SMAP keeps the guest from: "
				  "the VM ends",
				  vcpu_name(), (unsigned long long)gpa.v);
		return exit_kind(e, VMX_EXIT_ERROR);
	}
	if (access & WALK_IMPLICIT_SUPERVISOR) {
		e->mmio.gpa = gpa;
		e->mmio.access = MMU_WRITE;
		return exit_kind(e, VMX_EXIT_MMIO);
	}
	e->table = (struct vmx_table_write){gva, gpa, *p};
	return exit_kind(e, VMX_EXIT_TABLE);
}

enum exit_verdict handle_shadow_fault(struct vmx_vcpu *v, struct vmx_exit *e, u32 error_code)
{
	u64 gva = vmcs_read(EXIT_QUALIFICATION);
	struct shadow_answer answer = {0};
	struct guest_paging p;
	u32 access;
	int err;

	/* The walk may have to wait for pages. */
	exit_to_thread(v);
	vmx_get_paging(v, &p);
	access = access_of(error_code, p.cpl);
	err = mmu_shadow_fault(v->config.mmu_vcpu, &p, GVA(gva), access, &answer);
	if (mmu_shadow_cr3(v->config.mmu_vcpu) != v->shadow_cr3)
		take_root(v);
	TRACE(TRACE_FAULT, access, answer.gpa.v, (u64)(s64)err, vcpu_name(), vcpu_number());
	switch (err) {
	case 0:
		mmu_shadow_got_on(v->config.mmu_vcpu, vcpu_regs(v));
		return EXIT_RESUME;
	case SHADOW_EMULATE:
		return emulate(v, e, GVA(gva), answer.gpa, access, &p);
	case ERR_FAULT:
		vmx_inject_page_fault(v, GVA(gva), answer.error_code);
		return EXIT_RESUME;
	case ERR_NOSLOT:
		return exit_to_device(v, e, answer.gpa, access & (MMU_READ | MMU_WRITE | MMU_EXEC));
	case ERR_PERM:
		vmx_inject_page_fault(v, GVA(gva),
				      (u32)(PAGE_FAULT_P | PAGE_FAULT_WR) |
					      (error_code & (u32)PAGE_FAULT_US));
		return EXIT_RESUME;
	case ERR_NOMEM:
		return exit_kind(e, VMX_EXIT_NOMEM);
	case ERR_NOENT:
		return no_table(v, e, gva);
	case ERR_IO:
	case ERR_CORRUPT: /* the page is lost, and the VM's owner has been told */
		return exit_kind(e, VMX_EXIT_ERROR);
	default:
		if (exit_crash(v))
			log_error("vm %s: page fault at %#llx: %s", vcpu_name(),
				  (unsigned long long)gva, error_name(err));
		return exit_kind(e, VMX_EXIT_ERROR);
	}
}
