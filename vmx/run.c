/* SPDX-License-Identifier: MIT */
/*
 * The loop around VM entry. A short exit is finished with interrupts off and the guest entered
 * again; what needs the thread turns them on, and the loop turns them off before the next entry.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/ipi.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#define REASON_ENTRY_FAILED BIT(31)
#define REASON_MASK	    0xffffu
#define MASKED_EXITS_MAX    64

/*
 * The flag comes before the look at in_guest here, and in_guest before the look at the flag in
 * enter_is_allowed: one of the two sees the other. An IPI that arrives between that look and the
 * entry finds interrupts off and makes the guest leave with its first instruction.
 */
void vmx_vcpu_kick(struct vmx_vcpu *v)
{
	__atomic_store_n(&v->kicked, true, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST) && v->cpu != cpu_id())
		ipi_kick(v->cpu);
}

static void set_in_guest(struct vmx_vcpu *v, bool in)
{
	__atomic_store_n(&v->in_guest, in, __ATOMIC_SEQ_CST);
}

static void write_changed_regs(struct vmx_vcpu *v)
{
	if (v->regs.rip != v->vmcs_rip)
		vmcs_write(GUEST_RIP, v->regs.rip);
	if (v->regs.gpr[RSP] != v->vmcs_rsp)
		vmcs_write(GUEST_RSP, v->regs.gpr[RSP]);
	if (v->regs.rflags != v->vmcs_rflags)
		vmcs_write(GUEST_RFLAGS, v->regs.rflags);
}

static void read_regs(struct vmx_vcpu *v)
{
	v->regs.rip = v->vmcs_rip = vmcs_read(GUEST_RIP);
	v->regs.gpr[RSP] = v->vmcs_rsp = vmcs_read(GUEST_RSP);
	v->regs.rflags = v->vmcs_rflags = vmcs_read(GUEST_RFLAGS);
}

/* One entry and the exit after it, interrupts off. false: there was no entry. */
static bool enter(struct vmx_vcpu *v)
{
	struct entry_options options;
	bool refused;

	event_prepare(v);
	if (unlikely(!vpid_current(&v->vpid)))
		vcpu_take_vpid(v);
	write_changed_regs(v);
	mmu_enter(v->config.mmu);
	mitigations_enter(v, &options);
	if (v->launched)
		options.flags |= (u32)ENTRY_RESUME;
	refused = vmx_enter(&v->regs, &v->host_rsp, &options);
	mmu_exit(v->config.mmu);
	set_in_guest(v, false);
	if (unlikely(refused)) {
		vcpu_log_entry_failure(v, true);
		return false;
	}
	v->reason = (u32)vmcs_read(EXIT_REASON);
	if (unlikely(v->reason & REASON_ENTRY_FAILED)) {
		vcpu_log_entry_failure(v, false);
		return false;
	}
	v->launched = true;
	v->reason &= REASON_MASK;
	read_regs(v);
	event_collect(v);
	return true;
}

/* Interrupts off; on true the vCPU counts as in the guest. */
static bool enter_is_allowed(struct vmx_vcpu *v)
{
	set_in_guest(v, true);
	if (likely(!__atomic_load_n(&v->kicked, __ATOMIC_SEQ_CST)))
		return true;
	set_in_guest(v, false);
	__atomic_store_n(&v->kicked, false, __ATOMIC_SEQ_CST);
	return false;
}

/*
 * Two kinds of guest could keep interrupts from the host for ever: look now and then. An event that
 * raises the next exit while it is delivered (a #AC handler with a misaligned stack, a breakpoint
 * on #DB's stack) never comes to where the CPU would take one. And in Bochs (see
 * setup_longest_stay) so does one that exits often with IF clear, the timer starting afresh.
 */
static void let_interrupts_in(struct vmx_vcpu *v)
{
	bool may_starve = v->event.valid || !(v->regs.rflags & RFLAGS_IF);

	if (likely(!may_starve) || ++v->masked_exits < MASKED_EXITS_MAX)
		return;
	v->masked_exits = 0;
	exit_to_thread(v);
}

/* Thread context: what must be there before the next entry. false: not now. */
static bool fill_cache(struct vmx_vcpu *v)
{
	if (mmu_vcpu_topup(v->config.mmu_vcpu))
		return false;
	v->topup = false;
	return true;
}

void vmx_vcpu_run(struct vmx_vcpu *v, struct vmx_exit *e)
{
	enum exit_verdict verdict = EXIT_RESUME;

	ASSERT(irq_enabled());
	e->kind = VMX_EXIT_NONE;
	v->dirty_l1d = true;
	while (verdict == EXIT_RESUME) {
		if (unlikely(v->shutdown)) {
			verdict = handle_shutdown(v, e);
			break;
		}
		if (v->topup) {
			irq_enable();
			if (!fill_cache(v)) {
				verdict = exit_kind(e, VMX_EXIT_NOMEM);
				break;
			}
		}
		let_interrupts_in(v);
		irq_disable();
		if (unlikely(READ_ONCE(this_cpu()->need_resched))) {
			irq_enable();
			thread_yield();
			continue;
		}
		if (!enter_is_allowed(v))
			break;
		verdict = enter(v) ? exit_dispatch(v, e) : exit_kind(e, VMX_EXIT_ERROR);
	}
	irq_enable();
}
