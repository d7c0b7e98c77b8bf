/* SPDX-License-Identifier: MIT */
/*
 * The loop around VM entry. A short exit is finished with interrupts off and the guest entered
 * again; what needs the thread turns them on, and the loop turns them off before the next entry.
 *
 * The way from one exit to the next entry is counted in instructions (docs/performance.md). What an
 * entry needs only now and then (an event to deliver, an interrupt window, a new VPID) is looked at
 * when `unprepared` says so: whoever gives an entry such work sets it.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/trace.h"
#include "kernel/base/x86.h"
#include "smp/ipi.h"
#include "vmx/regs.h"
#include "vmx/stay.h"

#define MASKED_EXITS_MAX 64

/*
 * The flag comes before the look at in_guest here, and in_guest before the look at the flag in
 * vmx_vcpu_run: one of the two sees the other. An IPI that arrives between that look and the entry finds
 * interrupts off and makes the guest leave with its first instruction.
 */
void vmx_vcpu_kick(struct vmx_vcpu *v)
{
	u32 cpu;

	__atomic_store_n(&v->kicked, true, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST))
		return;
	/* Once: it may be on its way to another, where it sees the flag before it enters. */
	cpu = __atomic_load_n(&v->cpu, __ATOMIC_RELAXED);
	if (cpu != cpu_id())
		ipi_kick(cpu);
}

void vmx_vcpu_kick_seen(struct vmx_vcpu *v)
{
	/* A full barrier, too. */
	__atomic_store_n(&v->kicked, false, __ATOMIC_SEQ_CST);
}

/*
 * Into the guest and out again: the vCPU, or on to the label. RBP is no register that an asm
 * statement may name; all others are the guest's in between, and nothing is kept but the vCPU.
 */
#define ENTER_GUEST(v, refused)                                                              \
	__asm__ goto volatile("pushq %%rbp\n\t"                                              \
			      "call vmx_enter\n\t"                                           \
			      "popq %%rbp\n\t"                                               \
			      "jc %l[" #refused "]"                                          \
			      : "+D"(v)                                                      \
			      :                                                              \
			      : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", \
				"r12", "r13", "r14", "r15", "cc", "memory"                   \
			      : refused)

/* What others set, looked at where it is: a load and a test fewer than READ_ONCE costs. */
#define IS_SET(flag)                                                          \
	({                                                                    \
		bool set_;                                                    \
		static_assert(sizeof(flag) == 1, "a byte is compared");       \
		__asm__ volatile("cmpb $0, %1" : "=@ccne"(set_) : "m"(flag)); \
		set_;                                                         \
	})
#define IS_NOT_0(word)                                                        \
	({                                                                    \
		bool set_;                                                    \
		static_assert(sizeof(word) == 4, "four bytes are compared");  \
		__asm__ volatile("cmpl $0, %1" : "=@ccne"(set_) : "m"(word)); \
		set_;                                                         \
	})

/* Kicked before it could enter. */
static void __noinline turn_back(struct vmx_vcpu *v, struct vmx_exit *e)
{
	stay_end(v);
	if (unlikely(v->in_vm86))
		restricted_leave(v);
	event_take_back(v);
	e->kind = VMX_EXIT_NONE;
}

static void __noinline trace_exit(const struct vmx_vcpu *v)
{
	u64 detail;

	switch (v->reason) {
	case VMX_REASON_EPT_VIOLATION:
		detail = vmcs_read(EXIT_GUEST_PHYSICAL);
		break;
	case VMX_REASON_RDMSR:
	case VMX_REASON_WRMSR:
		detail = (u32)v->regs.gpr[RCX];
		break;
	default:
		detail = vmcs_read(EXIT_QUALIFICATION);
	}
	trace_put(TRACE_EXIT, v->reason, vmcs_read(GUEST_RIP), detail, vcpu_name(), vcpu_number());
}

/* What happened, as the exit's reason says. */
static inline enum exit_verdict handle_exit(struct vmx_vcpu *v, struct vmx_exit *e)
{
	u64 reason = vmcs_read(EXIT_REASON);

	v->reason = (u32)reason;
	if (unlikely(reason >= VMX_EXIT_REASONS))
		return exit_odd(v, e);
	v->exits[reason]++;
	if (unlikely(IS_SET(trace_is_on)))
		trace_exit(v);
	if (!exit_at_instruction[reason])
		event_collect(v);
	return exit_handlers[reason](v, e);
}

/*
 * Two kinds of guest could keep interrupts from the host for ever: look now and then. An event that
 * raises the next exit while it is delivered (a #AC handler with a misaligned stack, a breakpoint
 * on #DB's stack) never comes to where the CPU would take one. And in Bochs (see
 * errata_longest_stay) so does one that exits often with IF clear, the timer starting afresh.
 */
static inline void let_interrupts_in(struct vmx_vcpu *v)
{
	if (likely(--v->masked_exits))
		return;
	v->masked_exits = MASKED_EXITS_MAX;
	exit_let_in(v);
}

/* In thread context: the caller comes again, and looks first at what it may have been kicked for. */
static bool __noinline load_root(struct vmx_vcpu *v, struct vmx_exit *e)
{
	int err;

	irq_enable();
	err = shadow_load(v);
	irq_disable();
	exit_kind(e, !err ? VMX_EXIT_NONE : err == ERR_NOMEM ? VMX_EXIT_NOMEM : VMX_EXIT_ERROR);
	return false;
}

void vmx_vcpu_not_before(struct vmx_vcpu *v, u64 tsc)
{
	v->not_before = tsc;
	v->unprepared = true;
}

static void __noinline wait_to_enter(struct vmx_vcpu *v)
{
	u64 end = v->not_before;

	v->not_before = 0;
	while (end - rdtsc() <= VMX_NOT_BEFORE_MAX)
		cpu_relax();
}

/* The work that `unprepared` announces. Interrupts off. false: there is no entry, e says why. */
static bool prepare(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if (unlikely(v->shutdown)) {
		handle_shutdown(v, e);
		return false;
	}
	if (unlikely(v->root_stale))
		return load_root(v, e);
	if (unlikely(v->restricted) && !restricted_prepare(v, e))
		return false;
	event_prepare(v);
	if (unlikely(!vpid_current(&v->vpid)))
		vcpu_take_vpid(v);
	if (v->regs_here)
		regs_push(v);
	if (v->dirty_l1d)
		mitigations_flush_l1d(v);
	if (unlikely(v->pml.on))
		pml_before_entry(v);
	if (unlikely(v->restricted))
		restricted_enter(v);
	if (unlikely(v->not_before))
		wait_to_enter(v);
	return true;
}

/* Others are to have the CPU, before the next instruction. Called and left with interrupts off. */
static void __noinline let_others_run(struct vmx_vcpu *v)
{
	v->between = true;
	irq_enable();
	thread_preempt();
	thread_may_park();
	irq_disable();
	v->between = false;
}

void vmx_vcpu_run(struct vmx_vcpu *v, struct vmx_exit *e)
{
	struct mmu_vm *mmu;

	ASSERT(irq_enabled());
	v->dirty_l1d = v->flush_l1d;
	v->unprepared = true;
	do {
		let_interrupts_in(v);
		irq_disable();
		while (unlikely(THIS_CPU_IS_SET(need_resched)))
			let_others_run(v);
		if (unlikely(v->unprepared) && !prepare(v, e))
			break;
		mmu = v->config.mmu;
		stay_begin(v, mmu);
		if (unlikely(IS_SET(v->kicked))) {
			turn_back(v, e);
			break;
		}
		/* Whether it is to stop it looks at when there is other work, too. */
		if (unlikely(IS_NOT_0(mmu->logged_slots)))
			pml_before_entry(v);
		ENTER_GUEST(v, refused);
		stay_end(v);
		if (unlikely(v->in_vm86))
			restricted_leave(v);
	} while (handle_exit(v, e) == EXIT_RESUME);
out:
	/* As it does after every return. */
	vmx_vcpu_kick_seen(v);
	irq_enable();
	return;
refused:
	stay_end(v);
	vcpu_log_entry_failure(v, true);
	exit_kind(e, VMX_EXIT_ERROR);
	goto out;
}
