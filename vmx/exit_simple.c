/* SPDX-License-Identifier: MIT */
/* Exit handlers of a few lines each. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/irq.h"
#include "vmx/features.h"
#include "vmx/posted.h"
#include "vmx/regs.h"
#include "vmx/xcr0.h"

#define REASON_EXTERNAL_INTERRUPT 1
#define CPUID_XSAVE		  0xdu
#define EAX_D1_XGETBV1		  BIT(2)
#define XCR_IN_USE		  1 /* no register: XCR0, but for what is in its initial state */

#define IO_SIZE(q) (((q)&7) + 1)
#define IO_IN	   BIT(3)
#define IO_STRING  BIT(4)
#define IO_PORT(q) ((u16)((q) >> 16))

/*
 * The interrupt waits in the LAPIC: it is taken as soon as interrupts are on; but where the CPU has
 * acknowledged it, as posted interrupts want it, here. The preemption timer is there for interrupts
 * that an emulator kept back, see vmcs_setup.c.
 */
enum exit_verdict handle_external(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	if (unlikely(v->posts) && v->reason == REASON_EXTERNAL_INTERRUPT) {
		interrupt_acknowledged((u8)vmcs_read(EXIT_INTERRUPTION_INFO));
		/*
		 * Should a hypervisor below lose a notification, nothing waits for longer than
		 * until now.
		 */
		posted_look(v);
	}
	exit_let_in(v);
	return EXIT_RESUME;
}

enum exit_verdict handle_shutdown(struct vmx_vcpu *v, struct vmx_exit *e)
{
	const struct guest_regs *r = vcpu_regs(v);

	if (exit_crash(v))
		log_warn("vm %s: triple fault at %#llx:%#llx, cr0 %#llx, cr2 %#llx, cr3 %#llx",
			 vcpu_name(), (unsigned long long)vmcs_read(GUEST_CS_SELECTOR),
			 (unsigned long long)r->rip, (unsigned long long)vmcs_read(GUEST_CR0),
			 (unsigned long long)r->cr2, (unsigned long long)vcpu_cr3(v));
	return exit_kind(e, VMX_EXIT_SHUTDOWN);
}

/* Opened for the floor above, or for an interrupt that this floor kept. */
enum exit_verdict handle_window(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if (v->interrupt_window_asked && !v->deferred.valid)
		return exit_kind(e, VMX_EXIT_INTERRUPT_WINDOW);
	return EXIT_RESUME;
}

/*
 * The NMI that waited goes in at the next entry. But behind STI, where a CPU may exit so all the same
 * (SDM 3C 26.2), it does not, and the exit would come again before any instruction.
 */
enum exit_verdict handle_nmi_window(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	if (vmcs_read(GUEST_INTERRUPTIBILITY) & BLOCKED_BY_STI)
		v->nmi_window_behind_sti = true;
	return EXIT_RESUME;
}

/* IA-32e mode has none (SDM 3A 8.7); a 32-bit guest that uses one is not served. */
enum exit_verdict handle_task_switch(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if (exit_crash(v))
		log_error("vm %s: the guest switches tasks by hardware at rip %#llx (to selector "
			  "%#llx), which Weir does not do",
			  vcpu_name(), (unsigned long long)vcpu_regs(v)->rip,
			  (unsigned long long)(vmcs_read(EXIT_QUALIFICATION) & 0xffff));
	return exit_kind(e, VMX_EXIT_ERROR);
}

enum exit_verdict handle_hlt(struct vmx_vcpu *v, struct vmx_exit *e)
{
	vcpu_skip(v);
	if (unlikely(event_wakes(v)))
		return EXIT_RESUME;
	return exit_kind(e, VMX_EXIT_HLT);
}

/* It waits, perhaps for a vCPU that does not run: the CPU is better given to others for a while. */
enum exit_verdict handle_pause(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if ((v->proc_controls & PROC_PAUSE) && !pause_loop_is_long(&v->pauses, rdtsc()))
		return exit_done(v);
	vcpu_skip(v);
	return exit_kind(e, VMX_EXIT_PAUSE);
}

/* INVD and WBINVD: guest memory is coherent with everything that a guest can reach. */
enum exit_verdict handle_nop(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	return exit_done(v);
}

enum exit_verdict handle_vmcall(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u32 ss_access = (u32)vmcs_read(GUEST_SS_ACCESS);

	if (likely(v->config.quick_call(&v->regs.gpr[RAX], ss_access) == 0))
		return exit_done_alone(v);
	e->hypercall = v->regs.gpr[RAX];
	return exit_kind(e, VMX_EXIT_HYPERCALL);
}

static enum exit_verdict __noinline return_io(struct vmx_vcpu *v, struct vmx_exit *e, int err)
{
	v->io_size = e->io.size;
	return err == VMX_LOOK ? exit_look(v, e) : EXIT_RETURN;
}

/* Nothing but where v and e are is kept across the call: there is less to save and restore. */
enum exit_verdict handle_io(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u32 q = (u32)vmcs_read(EXIT_QUALIFICATION);
	int err;

	e->kind = VMX_EXIT_IO;
	e->io.port = IO_PORT(q);
	e->io.size = (u8)IO_SIZE(q);
	e->io.in = q & IO_IN;
	e->io.string = q & IO_STRING;
	e->io.value = (u32)v->regs.gpr[RAX] & io_bits[IO_SIZE(q)];
	err = v->config.quick_io(v->config.owner, e);
	if (unlikely(err))
		return return_io(v, e, err);
	if (likely(e->io.in))
		vcpu_set_io_value(v, e->io.size, e->io.value);
	return exit_done_alone(v);
}

/* Interrupts off: XCR0 is the vCPU's while it has the CPU. */
static int set_xcr(struct vmx_vcpu *v, u32 n, u64 value)
{
	if (n || !xcr0_valid(value, guest_features.xcr0))
		return ERR_FAULT;
	v->xcr0 = value;
	cpuid_forget(v);
	xsetbv(0, value);
	return 0;
}

/* SDM 2D, XSETBV. The CPU has looked at CPL and CR4.OSXSAVE. */
enum exit_verdict handle_xsetbv(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u64 value = (u32)v->regs.gpr[RAX] | v->regs.gpr[RDX] << 32;

	if (!guest_features.xcr0)
		return exit_undefined(v, e);
	if (vcpu_cpl(v) || set_xcr(v, (u32)v->regs.gpr[RCX], value))
		return exit_gp(v, e);
	return exit_done(v);
}

int vmx_set_xcr(struct vmx_vcpu *v, u32 n, u64 value)
{
	bool on;
	int err;

	if (!guest_features.xcr0 || !(vmcs_read(GUEST_CR4) & CR4_OSXSAVE))
		return ERR_INVAL;
	on = irq_save();
	err = set_xcr(v, n, value);
	irq_restore(on);
	return err;
}

/* XCR0, or which of its components are not in their initial state (SDM 2D, XGETBV). */
int vmx_get_xcr(struct vmx_vcpu *v, u32 n, u64 *value)
{
	struct cpuid_regs r;
	bool on;

	if (!guest_features.xcr0 || !(vmcs_read(GUEST_CR4) & CR4_OSXSAVE))
		return ERR_INVAL;
	*value = v->xcr0;
	if (n == 0)
		return 0;
	vmx_cpuid(v, CPUID_XSAVE, 1, &r);
	if (n != XCR_IN_USE || !(r.eax & EAX_D1_XGETBV1))
		return ERR_FAULT;
	on = irq_save();
	*value = xgetbv(XCR_IN_USE);
	irq_restore(on);
	return 0;
}
