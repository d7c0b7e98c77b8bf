/* SPDX-License-Identifier: MIT */
/* Exits of the second-level translation (SDM 3C 29.3.3). */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/trace.h"
#include "vmx/controls.h"
#include "vmx/regs.h"

#define VIOLATION_READ		BIT(0)
#define VIOLATION_WRITE		BIT(1)
#define VIOLATION_FETCH		BIT(2)
#define VIOLATION_LINEAR	BIT(7) /* EXIT_GUEST_LINEAR holds the address */
#define VIOLATION_FINAL		BIT(8) /* of its translation, not of a page table's entry */
#define VIOLATION_UNBLOCKED_NMI BIT(12)

/* Error code of #PF (SDM 3A 4.7). */
#define PF_PRESENT 1u
#define PF_WRITE   2u
#define PF_USER	   4u

/* The CPU and mmu/ number them alike. */
static_assert(MMU_READ == VIOLATION_READ && MMU_WRITE == VIOLATION_WRITE &&
		      MMU_EXEC == VIOLATION_FETCH,
	      "SDM 3C table 28-7");

static u32 access_of(u64 qualification)
{
	return (u32)qualification & (MMU_READ | MMU_WRITE | MMU_EXEC);
}

/*
 * No memory there. While an event is being delivered it is the guest's IDT, GDT, TSS or stack that
 * lies in a device: no instruction is there to be run in its place.
 */
enum exit_verdict exit_to_device(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa, u32 access)
{
	if (v->event.valid) {
		if (exit_crash(v))
			log_error("vm %s: the guest takes vector %u through gpa %#llx, where there "
				  "is no RAM",
				  vcpu_name(), v->event.vector, (unsigned long long)gpa.v);
		return exit_kind(e, VMX_EXIT_ERROR);
	}
	e->mmio.gpa = gpa;
	e->mmio.access = access;
	return exit_kind(e, VMX_EXIT_MMIO);
}

/*
 * Without a linear address it is MOV CR that loads the PDPTEs of PAE paging (SDM 3C table 28-7). A
 * machine finds all ones where nothing is, and their reserved bits are #GP, as in cr_load_pdptes.
 * With other paging there is no such load, whatever the bit says.
 */
static enum exit_verdict __noinline no_memory(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa,
					      u64 qualification)
{
	struct cr_state s;

	if (!v->event.valid && !(qualification & VIOLATION_LINEAR)) {
		cr_get(v, &s);
		if (cr_pae_paging(&s))
			return exit_gp(v, e);
	}
	return exit_to_device(v, e, gpa, access_of(qualification));
}

/*
 * A write to a page that the guest itself protected is its page fault. The CPU's own write of an A
 * or D bit into a protected page table is told in the same way. What delivers an event is the CPU,
 * not the user's program; the fault and the event combine, so that a guest without a stack to write
 * to ends in a triple fault.
 */
static enum exit_verdict refuse_write(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa,
				      u64 qualification)
{
	u32 error_code = PF_PRESENT | PF_WRITE;

	if (!(qualification & VIOLATION_LINEAR)) {
		if (exit_crash(v))
			log_error("vm %s: a write to gpa %#llx, which the guest protected, comes "
				  "from no linear address: there is no fault to give it",
				  vcpu_name(), (unsigned long long)gpa.v);
		return exit_kind(e, VMX_EXIT_ERROR);
	}
	if (!v->event.valid && vcpu_cpl(v) == 3)
		error_code |= PF_USER;
	vmx_inject_page_fault(v, GVA(vmcs_read(EXIT_GUEST_LINEAR)), error_code);
	return EXIT_RESUME;
}

/* As mmu_fault_slow, of a page that is packed, say: it may be that nothing of it is needed. */
static int fault_stored(struct vmx_vcpu *v, gpa_t gpa, u32 access, u64 qualification)
{
	u64 own = VIOLATION_LINEAR | VIOLATION_FINAL;
	int err = 0;

	exit_to_thread(v);
	if ((qualification & (own | VIOLATION_UNBLOCKED_NMI)) != own || !vcpu_overwrite(v, gpa))
		err = mmu_fault_slow(v->config.mmu_vcpu, gpa, access);
	TRACE(TRACE_FAULT, access, gpa.v, (u64)(s64)err, vcpu_name(), vcpu_number());
	return err;
}

static enum exit_verdict __noinline handle_memory(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION);
	u32 access = access_of(q);
	int err;

	if (unlikely(q & VIOLATION_UNBLOCKED_NMI))
		event_iret_faulted(v, q);
	err = mmu_fault(v->config.mmu_vcpu, gpa, access);
	if (err == ERR_TOO_HARD) {
		exit_to_thread(v);
		err = mmu_fault_slow(v->config.mmu_vcpu, gpa, access);
	}
	TRACE(TRACE_FAULT, access, gpa.v, (u64)(s64)err, vcpu_name(), vcpu_number());
	if (likely(!err))
		return EXIT_RESUME;
	if (err == ERR_STORED)
		err = fault_stored(v, gpa, access, q);
	switch (err) {
	case 0:
	case ERR_AGAIN:
		return EXIT_RESUME;
	case ERR_NOSLOT:
		return no_memory(v, e, gpa, q);
	case ERR_PERM:
		return refuse_write(v, e, gpa, q);
	case ERR_NOMEM:
		return exit_kind(e, VMX_EXIT_NOMEM);
	case ERR_IO:
	case ERR_CORRUPT: /* the page is lost, and the VM's owner has been told */
		return exit_kind(e, VMX_EXIT_ERROR);
	default:
		if (exit_crash(v))
			log_error("vm %s: EPT violation at gpa %#llx: %s", vcpu_name(),
				  (unsigned long long)gpa.v, error_name(err));
		return exit_kind(e, VMX_EXIT_ERROR);
	}
}

static inline int offer(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa, u32 access, u8 length)
{
	e->kind = VMX_EXIT_MMIO;
	e->mmio.gpa = gpa;
	e->mmio.access = access;
	e->mmio.length = length;
	return v->config.quick_mmio(v->config.owner, e);
}

static enum exit_verdict look_after_mmio(struct vmx_vcpu *v, struct vmx_exit *e)
{
	vcpu_skip_fault(v, e->mmio.length);
	return exit_kind(e, VMX_EXIT_NONE);
}

bool exit_offer_mmio(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa, u32 access, u8 length,
		     enum exit_verdict *verdict)
{
	int err = offer(v, e, gpa, access, length);

	if (unlikely(err && err != VMX_LOOK))
		return false;
	*verdict = EXIT_RESUME;
	if (unlikely(err))
		*verdict = look_after_mmio(v, e);
	else
		vcpu_skip_fault(v, e->mmio.length);
	return true;
}

/*
 * Where there is no RAM: the floor above may be able to do the access at once, where it is an
 * instruction's own to its data. What is to be the APIC-access page is mapped first.
 */
static enum exit_verdict __noinline handle_device_area(struct vmx_vcpu *v, struct vmx_exit *e,
						       gpa_t gpa)
{
	bool apic_page = (gpa.v & PAGE_MASK) == v->config.device_page.v;
	u64 q = vmcs_read(EXIT_QUALIFICATION), own = VIOLATION_LINEAR | VIOLATION_FINAL;
	int err;

	if (v->event.valid || (q & (own | VIOLATION_FETCH | VIOLATION_UNBLOCKED_NMI)) != own ||
	    (apic_page && READ_ONCE(v->config.mmu->private_slots)))
		return handle_memory(v, e, gpa);
	err = offer(v, e, gpa, access_of(q), 0);
	/* Read anew where it is rare, not kept across the call: this way is counted. */
	if (unlikely(err))
		return err == VMX_LOOK ? look_after_mmio(v, e)
				       : handle_memory(v, e, GPA(vmcs_read(EXIT_GUEST_PHYSICAL)));
	vcpu_skip_fault(v, e->mmio.length);
	return EXIT_RESUME;
}

enum exit_verdict handle_ept_violation(struct vmx_vcpu *v, struct vmx_exit *e)
{
	gpa_t gpa = GPA(vmcs_read(EXIT_GUEST_PHYSICAL));

	if (gpa.v - v->config.device_area.v < v->config.device_area_size)
		return handle_device_area(v, e, gpa);
	return handle_memory(v, e, gpa);
}

/* An entry that Weir wrote makes no sense to the CPU. */
enum exit_verdict handle_ept_misconfiguration(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if (exit_crash(v))
		log_error(
			"vm %s: EPT misconfiguration at gpa %#llx: an error of Weir's, the VM ends",
			vcpu_name(), (unsigned long long)vmcs_read(EXIT_GUEST_PHYSICAL));
	return exit_kind(e, VMX_EXIT_ERROR);
}
