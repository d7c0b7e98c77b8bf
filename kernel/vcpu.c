/* SPDX-License-Identifier: MIT */
#include "kernel/vcpu.h"
#include "kernel/apic_page.h"
#include "kernel/hypercall.h"
#include "kernel/rma.h"
#include "kernel/vm_memory.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/dev/lapic.h"
#include "kernel/dev/platform.h"
#include "kernel/guest/memory.h"

#define UNKNOWN_MSRS_TOLD 32
#define EMULATED_AT_ONCE  64 /* instructions before others are looked at */

void vcpu_request(struct vcpu *v, u64 bits)
{
	struct vmx_vcpu *vmx;

	__atomic_or_fetch(&v->requests, bits, __ATOMIC_SEQ_CST);
	vmx = __atomic_load_n(&v->vmx, __ATOMIC_ACQUIRE);
	if (vmx)
		vmx_vcpu_kick(vmx);
	/* The thread itself too: an interrupt may come between its last look and its sleep. */
	if (v->thread)
		thread_wake(v->thread);
}

bool vcpu_notify(struct vcpu *v)
{
	struct vmx_vcpu *vmx = __atomic_load_n(&v->vmx, __ATOMIC_ACQUIRE);

	if (vmx && vmx_vcpu_notify(vmx))
		return true;
	vcpu_request(v, VCPU_REQ_KICK);
	return false;
}

u64 vcpu_guest_tsc(struct vcpu *v)
{
	struct vmx_vcpu *vmx = __atomic_load_n(&v->vmx, __ATOMIC_ACQUIRE);

	/* The guest may have written its TSC since. */
	return vmx ? vmx_guest_tsc(vmx) : rdtsc() + v->vm->tsc_offset;
}

u64 vcpu_guest_tsc_to_ns(struct vcpu *v, u64 guest_tsc)
{
	/* Both of one moment: a switch of threads between them would make the answer too early. */
	bool on = irq_save();
	u64 now_ns = clock_ns(), now_tsc = vcpu_guest_tsc(v);

	irq_restore(on);
	if (guest_tsc <= now_tsc)
		return now_ns;
	return now_ns + clock_tsc_to_ns(guest_tsc - now_tsc);
}

static bool must_stop(struct vcpu *v)
{
	return __atomic_load_n(&v->vm->end, __ATOMIC_ACQUIRE) != VM_END_NONE;
}

/* What woke us is looked at afresh by the loop; only the device work is remembered in bits. */
static void take_requests(struct vcpu *v)
{
	u64 bits = __atomic_exchange_n(&v->requests, 0, __ATOMIC_SEQ_CST);

	if (bits & (VCPU_REQ_TIMER | VCPU_REQ_POLL))
		platform_vcpu_poll(v);
	if (bits & VCPU_REQ_LIFE)
		vcpu_attend(v);
}

static bool crash_is_told(const struct vcpu *v)
{
	return v->crashed &&
	       (!v->vm->config.restart_on_crash || restart_tells_crash(v->vm->restart));
}

bool vcpu_crash(struct vcpu *v)
{
	if (vm_request_end(v->vm, VM_END_CRASH, 0))
		v->crashed = true;
	return crash_is_told(v);
}

static bool crash(void *owner)
{
	return vcpu_crash(owner);
}

/* What waits in the local APIC, for the CPU to know of. Once more when nothing does any longer. */
static void __noinline tell_apic(struct vcpu *v)
{
	struct platform_apic_state apic;

	if (platform_apic_load(v, &apic)) {
		vmx_set_interrupt_status(v->vmx, apic.requested, apic.in_service);
		vmx_set_eoi_exits(v->vmx, apic.level);
	}
	vmx_set_tpr_threshold(v->vmx, platform_tpr_threshold(v));
	v->apic_waits = lapic_waits(v->lapic);
}

static void inject_pending(struct vcpu *v)
{
	bool waits;
	int vector;

	if (vmx_nmi_allowed(v->vmx) && platform_nmi_take(v))
		vmx_inject_nmi(v->vmx);
	waits = platform_injection_pending(v);
	if (waits && vmx_interrupt_allowed(v->vmx)) {
		vector = platform_interrupt_ack(v);
		if (vector >= 0)
			vmx_inject_interrupt(v->vmx, (u8)vector);
		waits = platform_injection_pending(v);
	}
	vmx_request_interrupt_window(v->vmx, waits);
	if (unlikely(lapic_waits(v->lapic) || v->apic_waits))
		tell_apic(v);
}

bool vcpu_is_wanted(struct vcpu *v)
{
	if (must_stop(v) || platform_start_up_pending(v) ||
	    __atomic_load_n(&v->requests, __ATOMIC_SEQ_CST))
		return true;
	return platform_interrupt_pending(v) && vmx_interrupt_allowed(v->vmx);
}

/*
 * A halted guest costs nothing: the thread sleeps until a request. A request that is no wake-up
 * for the guest (a masked interrupt, a device's poll) is served and the sleep goes on. Who ceded
 * wakes by H_PROD, too, and who halted by KVM_HC_KICK_CPU.
 */
static void run_halted(struct vcpu *v, bool ceded)
{
	v->halted = true;
	lapic_timer_sleep(v->lapic);
	for (;;) {
		vmx_vcpu_kick_seen(v->vmx);
		take_requests(v);
		if (must_stop(v) || platform_start_up_pending(v))
			break;
		if (ceded ? hypercall_take_prod(v) : hypercall_take_kick(v))
			break;
		if (platform_interrupt_pending(v) && vmx_interrupt_allowed(v->vmx))
			break;
		if (!vmx_nmi_blocked(v->vmx) && vmx_nmi_allowed(v->vmx) && platform_nmi_take(v)) {
			vmx_inject_nmi(v->vmx);
			break;
		}
		if (!vcpu_is_wanted(v))
			thread_block();
	}
	lapic_timer_woken(v->lapic);
	v->halted = false;
}

/* The timer's interrupt, which the next entry delivers, has come before its time. */
static void __noinline wait_for_time(struct vcpu *v)
{
	u64 end = lapic_timer_take_early(v->lapic) - vmx_tsc_offset(v->vmx);
	s64 longest = (s64)clock_ns_to_tsc(LAPIC_AHEAD_MAX_NS);

	/* More than the longest it cannot be; whatever it is, it ends. */
	if ((s64)(end - rdtsc()) > longest)
		return;
	while ((s64)(end - rdtsc()) > VMX_NOT_BEFORE_MAX)
		cpu_relax();
	vmx_vcpu_not_before(v->vmx, end);
}

/*
 * No frame was to be had. What others do not use is taken, or they may give some back; the VM's
 * contents are never dropped.
 */
void vcpu_wait_for_memory(struct vcpu *v)
{
	bool found;

	vm_wants_memory(v->vm, &v->memory_wait);
	found = reclaim_help(&v->vm->reclaim, v->vm->config.page_order);
	if (!found)
		thread_block_until(clock_ns() + vm_waits_in_vain(v->vm, &v->memory_wait));
	vm_wanted_memory(v->vm, &v->memory_wait, found);
	/* An emulation waits here in the middle of an instruction, as often as it takes. */
	take_requests(v);
}

static void emulate(struct vcpu *v, u32 port_size)
{
	if (vcpu_emulate(v, port_size) == ERR_NOMEM)
		vcpu_wait_for_memory(v);
}

static void emulate_write(struct vcpu *v, const struct vmx_table_write *w)
{
	v->mmio_gfn = gpa_to_gfn(w->gpa);
	if (vcpu_emulate_write(v, w) == ERR_NOMEM)
		vcpu_wait_for_memory(v);
}

/* Until the CPU can go on by itself, or something else is to be done. */
static void emulate_state(struct vcpu *v)
{
	for (u32 i = 0; i < EMULATED_AT_ONCE && vmx_must_emulate(v->vmx); i++) {
		int err = vcpu_emulate_state(v);

		if (err == ERR_NOMEM)
			vcpu_wait_for_memory(v);
		else if (err == VCPU_HALTED && !vmx_event_waits(v->vmx))
			run_halted(v, false);
		if (err || vcpu_is_wanted(v))
			break;
	}
}

static void handle_io(struct vcpu *v, const struct vmx_exit *e)
{
	u64 value;

	if (e->io.string) {
		/* What is found there instead, changed meanwhile, has written to no table. */
		v->mmio_gfn = GFN(~0ull);
		emulate(v, e->io.size);
	} else if (e->io.in) {
		bus_read(&v->vm->bus, v, SPACE_PIO, e->io.port, e->io.size, &value);
		vmx_complete_io_in(v->vmx, (u32)value);
	} else {
		bus_write(&v->vm->bus, v, SPACE_PIO, e->io.port, e->io.size, e->io.value);
		vmx_complete_io_out(v->vmx);
	}
}

/* A guest must not push out of the log's ring what a panic would want to print. */
static int unknown_msr(struct vcpu *v, const char *what, u32 index)
{
	u32 *told = &v->vm->restart->lines_told;

	if (__atomic_load_n(told, __ATOMIC_RELAXED) < UNKNOWN_MSRS_TOLD) {
		__atomic_fetch_add(told, 1, __ATOMIC_RELAXED);
		log_debug("vm %s: %s 0x%x is unknown: #GP", v->vm->name, what, index);
	}
	return ERR_FAULT;
}

int vcpu_read_msr(struct vcpu *v, u32 index, u64 *value)
{
	if (platform_owns_msr(index))
		return platform_rdmsr(v, index, value);
	if (paravirt_owns_msr(index))
		return paravirt_rdmsr(v, index, value);
	return unknown_msr(v, "RDMSR", index);
}

static void handle_rdmsr(struct vcpu *v, u32 index)
{
	u64 value = 0;

	if (vcpu_read_msr(v, index, &value))
		vmx_inject_gp(v->vmx);
	else
		vmx_complete_rdmsr(v->vmx, value);
}

int vcpu_write_msr(struct vcpu *v, u32 index, u64 value)
{
	bool moves;
	int err = 0;

	moves = apic_base_moves(v, index, value);
	if (moves && apic_page_is_there(v->vm))
		err = apic_page_retire(v->vm);
	if (err)
		; /* no memory for it */
	else if (platform_owns_msr(index))
		err = platform_wrmsr(v, index, value);
	else if (paravirt_owns_msr(index))
		err = paravirt_wrmsr(v, index, value);
	else
		err = unknown_msr(v, "WRMSR", index);
	if (moves && !err)
		vmx_set_x2apic(v->vmx, platform_is_x2apic(v));
	return err;
}

static void handle_wrmsr(struct vcpu *v, u32 index, u64 value)
{
	int err = vcpu_write_msr(v, index, value);

	if (err == ERR_NOMEM)
		vcpu_wait_for_memory(v); /* the guest does it again */
	else if (err)
		vmx_inject_gp(v->vmx);
	else
		vmx_complete_wrmsr(v->vmx);
}

static void handle_hypercall(struct vcpu *v, u64 rax)
{
	switch (hypercall(v, rax)) {
	case HYPERCALL_GO_ON:
		break;
	case HYPERCALL_HALT:
		run_halted(v, true);
		break;
	case HYPERCALL_WAIT_MEMORY:
		vcpu_wait_for_memory(v);
		break;
	}
}

void vcpu_yield_to(struct vcpu *v, struct vcpu *other)
{
	v->yields = true;
	thread_yield_to(other->thread);
	v->yields = false;
}

/* The next in turn, after whom this one let go first last, that waits so. NULL: none does. */
static struct vcpu *who_waits(const struct vcpu *v, bool (*waits)(const struct thread *t))
{
	const struct vm *vm = v->vm;

	for (u32 i = 1; i <= vm->vcpu_count; i++) {
		struct vcpu *other = vm->vcpus[(v->yielded_to + i) % vm->vcpu_count];

		if (other != v && waits(other->thread))
			return other;
	}
	return NULL;
}

/*
 * A loop of PAUSEs waits for another vCPU of the VM, perhaps for one that was preempted: those come
 * first that wait for this CPU, then those that wait for another for long.
 */
static void yield_in_loop(struct vcpu *v)
{
	struct vcpu *other = who_waits(v, thread_waits_here);

	if (!other)
		other = who_waits(v, thread_waits_elsewhere);
	if (!other) {
		thread_yield();
		return;
	}
	v->yielded_to = other->id;
	vcpu_yield_to(v, other);
}

/* What was reckoned by the old one. A clock page that has no RAM any more is the guest's error. */
void vcpu_tsc_moved(struct vcpu *v)
{
	platform_tsc_moved(v);
	while (paravirt_tsc_moved(v) == ERR_NOMEM && !must_stop(v))
		vcpu_wait_for_memory(v);
}

static void handle_exit(struct vcpu *v, const struct vmx_exit *e)
{
	switch (e->kind) {
	case VMX_EXIT_NONE:
	case VMX_EXIT_INTERRUPT_WINDOW:
	case VMX_EXIT_TPR:
	case VMX_EXIT_APIC_WRITE:
	case VMX_EXIT_APIC_EOI:
		break;
	case VMX_EXIT_IO:
		handle_io(v, e);
		break;
	case VMX_EXIT_MMIO:
		v->mmio_gfn = gpa_to_gfn(e->mmio.gpa);
		emulate(v, 0);
		break;
	case VMX_EXIT_TABLE:
		emulate_write(v, &e->table);
		break;
	case VMX_EXIT_EMULATE:
		emulate_state(v);
		break;
	case VMX_EXIT_RDMSR:
		handle_rdmsr(v, e->msr.index);
		break;
	case VMX_EXIT_WRMSR:
		handle_wrmsr(v, e->msr.index, e->msr.value);
		break;
	case VMX_EXIT_HLT:
		run_halted(v, false);
		break;
	case VMX_EXIT_HYPERCALL:
		handle_hypercall(v, e->hypercall);
		break;
	case VMX_EXIT_PAUSE:
		yield_in_loop(v);
		break;
	case VMX_EXIT_TSC:
		vcpu_tsc_moved(v);
		break;
	case VMX_EXIT_NOMEM:
		vcpu_wait_for_memory(v);
		break;
	case VMX_EXIT_SHUTDOWN:
	case VMX_EXIT_ERROR:
		vcpu_crash(v);
		break;
	}
}

/* Before the first entry. False: the VM ends, or this vCPU ends it, since it cannot run. */
static bool may_run(struct vcpu *v)
{
	while (!must_stop(v)) {
		int err;

		take_requests(v);
		err = vcpu_rma_set_up(v);
		if (!err)
			return true;
		if (err == ERR_NOMEM)
			vcpu_wait_for_memory(v);
		else if (err != ERR_AGAIN)
			vcpu_crash(v);
	}
	return false;
}

/* Asleep: what wakes it is looked at by the loop. */
static void wait_for_sipi(struct vcpu *v)
{
	while (v->waits_for_sipi && !must_stop(v)) {
		take_requests(v);
		vcpu_start_up(v);
		if (v->waits_for_sipi && !__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST))
			thread_block();
	}
}

/*
 * Before the guest looks at how late it has become. False: there is no memory for its clock's page, and
 * it was waited for. A page that has no RAM any more is the guest's error.
 */
static bool tell_pause(struct vcpu *v)
{
	if (paravirt_was_paused(v) == ERR_NOMEM) {
		vcpu_wait_for_memory(v);
		return false;
	}
	v->was_paused = false;
	return true;
}

static void run_loop(struct vcpu *v)
{
	struct vmx_exit e;

	while (!must_stop(v)) {
		if (__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST))
			take_requests(v);
		if (unlikely(platform_start_up_pending(v)))
			vcpu_start_up(v);
		if (unlikely(v->waits_for_sipi)) {
			wait_for_sipi(v);
			continue;
		}
		if (unlikely(v->was_paused) && !tell_pause(v))
			continue;
		inject_pending(v);
		steal_time_tell(v);
		if (unlikely(lapic_timer_is_early(v->lapic)))
			wait_for_time(v);
		lapic_pv_eoi_offer(v->lapic);
		vmx_vcpu_run(v->vmx, &e);
		lapic_pv_eoi_settle(v->lapic);
		handle_exit(v, &e);
	}
}

static void sched_in(struct thread *t)
{
	struct vcpu *v = t->sched_data;

	vmx_vcpu_sched_in(v->vmx);
	steal_time_in(v);
}

static void sched_out(struct thread *t)
{
	struct vcpu *v = t->sched_data;

	vmx_vcpu_sched_out(v->vmx);
	steal_time_out(v, t, v->yields || vmx_is_between_instructions(v->vmx));
}

static void sched_leave(struct thread *t)
{
	vmx_vcpu_sched_leave(((struct vcpu *)t->sched_data)->vmx);
}

/* From here on the thread and the vCPU's machine state come and go together. */
static void attach(struct vcpu *v)
{
	struct thread *t = thread_current();
	bool on = irq_save();

	t->sched_data = v;
	t->sched_in = sched_in;
	t->sched_out = sched_out;
	t->sched_leave = sched_leave;
	vmx_vcpu_sched_in(v->vmx);
	irq_restore(on);
}

static void detach(struct vcpu *v)
{
	struct thread *t = thread_current();
	bool on = irq_save();

	vmx_vcpu_sched_out(v->vmx);
	vmx_vcpu_sched_leave(v->vmx);
	t->sched_in = NULL;
	t->sched_out = NULL;
	t->sched_leave = NULL;
	irq_restore(on);
}

void vcpu_main(struct vcpu *v, const struct vmx_start *start)
{
	struct vmx_config config = {
		.mmu = &v->vm->mmu,
		.mmu_vcpu = &v->mmu,
		.vcpu_id = v->id,
		.vcpu_count = v->vm->vcpu_count,
		.tsc_offset = v->vm->tsc_offset,
		.quick = vcpu_quick,
		.quick_io = vcpu_quick_io,
		.quick_mmio = vcpu_quick_mmio,
		.quick_call = hypercall_quick,
		.crash = crash,
		.owner = v,
		.device_area = GPA(PLATFORM_AREA_BASE),
		.device_area_size = PLATFORM_AREA_SIZE,
		.device_page = GPA(PLATFORM_LAPIC_BASE),
		.apic_page = platform_apic_page(v),
		.apic_access_page = v->vm->apic_page.pinned ? pfn_to_virt(v->vm->apic_page.pfn)
							    : NULL,
		.posted = platform_posted(v),
		.real_mode_tss = GPA(GUEST_REAL_MODE_TSS),
		.identity_map = GPA(GUEST_IDENTITY_MAP),
	};
	const struct vmx_start reset = {.mode = VMX_START_RESET};
	struct vmx_vcpu *vmx;
	int err;

	mmu_vcpu_init(&v->mmu, &v->vm->mmu);
	err = vmx_vcpu_create(&config, &vmx);
	if (err) {
		if (vcpu_crash(v))
			log_error("vm %s: vCPU %u cannot be made: %s: give the VM less memory or "
				  "end others",
				  v->vm->name, v->id, error_name(err));
	} else {
		__atomic_store_n(&v->vmx, vmx, __ATOMIC_RELEASE);
		attach(v);
		vmx_vcpu_set_start(v->vmx, start ? start : &reset);
		v->waits_for_sipi = !start;
		/* The others run only when vCPU 0 lets them, which has been here then. */
		if (!start || may_run(v)) {
			run_loop(v);
			if (crash_is_told(v)) {
				log_info("vm %s: vCPU %u", v->vm->name, v->id);
				vmx_vcpu_dump(v->vmx);
			}
		}
		/* It may have run, or had its INIT, as long as it has a local APIC. */
		paravirt_forget(v);
	}
	/* With its local APIC goes what sched_in looks at. */
	if (!err)
		detach(v);
	vm_vcpu_stopped(v);
	if (!err) {
		v->vmx = NULL;
		vmx_vcpu_destroy(vmx);
	}
	mmu_vcpu_destroy(&v->mmu);
}
