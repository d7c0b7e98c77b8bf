/* SPDX-License-Identifier: MIT */
/* Exceptions that exit, and NMIs of the host's. */
#include "kernel/base/log.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

/*
 * An exit that IRET's fault caused has left NMIs unblocked too early (SDM 3C 28.2.3): they go back
 * to blocked, unless a delivery was under way or the fault is #DF.
 */
static void restore_nmi_blocking(struct vmx_vcpu *v, u32 info, const struct event *e)
{
	if ((info & EVENT_INFO_UNBLOCKED_NMI) && !v->event.valid && e->vector != EXCEPTION_DF)
		vmcs_write(GUEST_INTERRUPTIBILITY,
			   vmcs_read(GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
}

enum exit_verdict handle_exception(struct vmx_vcpu *v, struct vmx_exit *exit)
{
	u32 info = (u32)vmcs_read(EXIT_INTERRUPTION_INFO);
	struct event e = event_from_info(info, (u32)vmcs_read(EXIT_INTERRUPTION_ERROR),
					 (u32)vmcs_read(EXIT_INSTRUCTION_LENGTH));

	/* Its handler runs now; the IRET at its end lets the next NMI in. */
	if (e.type == EVENT_NMI) {
		__asm__ volatile("int $2" ::: "memory");
		return EXIT_RESUME;
	}
	if (e.type == EVENT_EXCEPTION && e.vector == EXCEPTION_MC) {
		__asm__ volatile("int $18" ::: "memory");
		return EXIT_RESUME;
	}
	restore_nmi_blocking(v, info, &e);
	if (v->shadow && e.type == EVENT_EXCEPTION && e.vector == EXCEPTION_PF)
		return handle_shadow_fault(v, exit, e.error_code);
	if (unlikely(v->restricted) && restricted_is_privileged(v, &e))
		return exit_kind(exit, VMX_EXIT_EMULATE);
	/* INT1 changes no debug register. */
	if (e.type == EVENT_EXCEPTION && e.vector == EXCEPTION_DB)
		debug_regs_raise(v, vmcs_read(EXIT_QUALIFICATION));
	/* The guest gets what it raised. */
	event_queue(v, &e);
	return EXIT_RESUME;
}
