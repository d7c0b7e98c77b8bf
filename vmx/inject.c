/* SPDX-License-Identifier: MIT */
/*
 * Events into the guest: what was being delivered when an exit came, what the floor above asks
 * for, and in which order they go. One event goes in at an entry; windows are opened for the rest.
 */
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "vmx/regs.h"

/* Of EPT violations and a full page-modification log alike (SDM 3C table 28-7, 28.2.1). */
#define QUALIFICATION_UNBLOCKED_NMI BIT(12)

static bool blocked(u64 by)
{
	return vmcs_read(GUEST_INTERRUPTIBILITY) & by;
}

/* Apart from event_collect so that it has nothing to save and restore. */
static void __noinline collect_delivery(struct vmx_vcpu *v, u32 info)
{
	v->unprepared = true;
	v->event = event_from_info(info, (u32)vmcs_read(EXIT_VECTORING_ERROR),
				   (u32)vmcs_read(EXIT_INSTRUCTION_LENGTH));
	/* An NMI that comes again may not find itself blocking. */
	if (v->event.type == EVENT_NMI)
		vmcs_write(GUEST_INTERRUPTIBILITY,
			   vmcs_read(GUEST_INTERRUPTIBILITY) & ~BLOCKED_BY_NMI);
}

/*
 * Most exits come from no delivery: one VMREAD says so. And behind STI or MOV SS an entry wants what
 * agree_with_single_step does, where the instruction is to be done again.
 */
void event_collect(struct vmx_vcpu *v)
{
	u32 info = (u32)vmcs_read(EXIT_VECTORING_INFO);

	if (unlikely(blocked(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		v->unprepared = true;
	if (unlikely(info & EVENT_INFO_VALID))
		collect_delivery(v, info);
}

/* What event_prepare gave to the CPU, where the entry did not come about. */
void event_take_back(struct vmx_vcpu *v)
{
	u32 info = (u32)vmcs_read(ENTRY_INTERRUPTION_INFO);

	if (!(info & EVENT_INFO_VALID))
		return;
	v->event = event_from_info(info, (u32)vmcs_read(ENTRY_EXCEPTION_ERROR),
				   (u32)vmcs_read(ENTRY_INSTRUCTION_LENGTH));
	vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
}

/* An exception goes first; the interrupt that it overtakes waits for its window. */
static void put_aside(struct vmx_vcpu *v)
{
	if (v->event.type == EVENT_NMI)
		v->nmi_pending = true;
	else
		v->deferred = v->event;
	v->event.valid = false;
}

void event_queue(struct vmx_vcpu *v, const struct event *e)
{
	static const struct event double_fault = {
		.valid = true,
		.has_error = true,
		.vector = EXCEPTION_DF,
		.type = EVENT_EXCEPTION,
	};

	v->unprepared = true;
	if (v->event.valid && (v->event.type == EVENT_INTERRUPT || v->event.type == EVENT_NMI))
		put_aside(v);
	if (!v->event.valid) {
		v->event = *e;
		return;
	}
	switch (event_combine(&v->event, e)) {
	case EVENT_SECOND:
		v->event = *e;
		break;
	case EVENT_DOUBLE_FAULT:
		v->event = double_fault;
		break;
	case EVENT_SHUTDOWN:
		v->event.valid = false;
		v->shutdown = true;
		break;
	}
}

void vmx_inject_exception(struct vmx_vcpu *v, u8 vector, bool has_error, u32 error_code)
{
	struct event e = {
		.valid = true,
		.has_error = has_error,
		.vector = vector,
		.type = EVENT_EXCEPTION,
		.error_code = error_code,
	};

	if (event_sets_rf(&e))
		vcpu_regs(v)->rflags |= RFLAGS_RF;
	event_queue(v, &e);
}

void vmx_inject_page_fault(struct vmx_vcpu *v, gva_t gva, u32 error_code)
{
	write_cr2(gva.v);
	vcpu_regs(v)->cr2 = gva.v;
	vmx_inject_exception(v, EXCEPTION_PF, true, error_code);
}

/* A trap after the instruction just done comes before interrupts (SDM 3A table 6-2). */
static bool single_step_due(const struct vmx_vcpu *v)
{
	return unlikely(vcpu_rflags(v) & RFLAGS_TF) &&
	       (vmcs_read(GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS);
}

static bool interrupt_may_go(struct vmx_vcpu *v)
{
	return !v->event.valid && (vcpu_rflags(v) & RFLAGS_IF) && !single_step_due(v) &&
	       !blocked(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
}

static bool nmi_may_go(struct vmx_vcpu *v)
{
	return !v->event.valid && !single_step_due(v) &&
	       !blocked(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS | BLOCKED_BY_NMI);
}

bool vmx_interrupt_allowed(struct vmx_vcpu *v)
{
	return !v->deferred.valid && interrupt_may_go(v);
}

void vmx_inject_interrupt(struct vmx_vcpu *v, u8 vector)
{
	struct event e = {.valid = true, .vector = vector, .type = EVENT_INTERRUPT};

	v->unprepared = true;
	if (interrupt_may_go(v))
		v->event = e;
	else
		v->deferred = e;
}

void vmx_request_interrupt_window(struct vmx_vcpu *v, bool on)
{
	if (v->interrupt_window_asked == on)
		return;
	v->interrupt_window_asked = on;
	v->unprepared = true;
}

bool vmx_nmi_allowed(struct vmx_vcpu *v)
{
	return !v->nmi_pending;
}

void vmx_inject_nmi(struct vmx_vcpu *v)
{
	v->nmi_pending = true;
	v->unprepared = true;
}

bool vmx_nmi_blocked(struct vmx_vcpu *v)
{
	(void)v;
	return blocked(BLOCKED_BY_NMI);
}

void event_forget(struct vmx_vcpu *v)
{
	v->event.valid = false;
	v->deferred.valid = false;
	v->nmi_pending = false;
	v->shutdown = false;
	v->unprepared = true;
}

bool event_wakes(struct vmx_vcpu *v)
{
	return single_step_due(v) || (v->nmi_pending && nmi_may_go(v)) ||
	       (v->deferred.valid && interrupt_may_go(v));
}

/* It had unblocked NMIs. While an event is delivered the bit is not defined (SDM 3C 28.2.3). */
void event_iret_faulted(struct vmx_vcpu *v, u64 qualification)
{
	if ((qualification & QUALIFICATION_UNBLOCKED_NMI) && !v->event.valid)
		vmcs_write(GUEST_INTERRUPTIBILITY,
			   vmcs_read(GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
}

bool vmx_event_waits(struct vmx_vcpu *v)
{
	return event_wakes(v);
}

void event_choose(struct vmx_vcpu *v)
{
	if (v->nmi_pending && nmi_may_go(v)) {
		v->nmi_pending = false;
		v->event = (struct event){
			.valid = true,
			.vector = VECTOR_OF_NMI,
			.type = EVENT_NMI,
		};
	}
	if (v->deferred.valid && interrupt_may_go(v)) {
		v->event = v->deferred;
		v->deferred.valid = false;
	}
}

static void set_windows(struct vmx_vcpu *v)
{
	u32 proc = v->proc_controls & ~(u32)(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);

	if (v->interrupt_window_asked || v->deferred.valid)
		proc |= (u32)PROC_INTERRUPT_WINDOW;
	/*
	 * On a CPU that takes the NMI window for open behind STI, where none goes, it waits for the
	 * interrupt window: not everywhere, since CLI keeps that shut.
	 */
	if (v->nmi_pending && v->nmi_window_behind_sti && blocked(BLOCKED_BY_STI) &&
	    !blocked(BLOCKED_BY_NMI))
		proc |= (u32)PROC_INTERRUPT_WINDOW;
	else if (v->nmi_pending)
		proc |= (u32)PROC_NMI_WINDOW;
	vmcs_set_proc_controls(v, proc);
}

/*
 * With a shadow or a single step the VM entry wants the pending debug exceptions to agree with
 * RFLAGS.TF (SDM 3C 27.3.1.5).
 */
static void agree_with_single_step(void)
{
	if (blocked(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS) &&
	    !(vmcs_read(GUEST_DEBUGCTL) & DEBUGCTL_BTF))
		vmcs_write(GUEST_PENDING_DEBUG, vmcs_read(GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

void event_prepare(struct vmx_vcpu *v)
{
	struct event *e = &v->event;

	if (unlikely(v->nmi_pending || v->deferred.valid))
		event_choose(v);
	set_windows(v);
	if (unlikely(vcpu_rflags(v) & RFLAGS_TF))
		agree_with_single_step();
	/* What has to wait may be able to go before its window opens. */
	v->unprepared = v->nmi_pending || v->deferred.valid;
	if (!e->valid)
		return;
	/* The exit that follows clears the field's valid bit. */
	vmcs_write(ENTRY_INTERRUPTION_INFO, event_to_info(e, vmcs_read(GUEST_CR0) & CR0_PE));
	if (e->has_error)
		vmcs_write(ENTRY_EXCEPTION_ERROR, e->error_code);
	if (e->type >= EVENT_SOFT_INTERRUPT)
		vmcs_write(ENTRY_INSTRUCTION_LENGTH, e->length);
	/* It is the CPU's now; an exit in the middle of its delivery gives it back. */
	e->valid = false;
}
