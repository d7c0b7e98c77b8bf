/* SPDX-License-Identifier: MIT */
#include "tests/unit/kernel/posted_cpu.h"

#include "kernel/base/trace.h"
#include "kernel/dev/lapic_page.h"
#include "smp/irq.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"

#include <cmocka.h>
#include <string.h>

#define SPINS 4

struct guest guests[VCPUS];
u32 cpus, vcpus;
u32 running;
bool lost;
u32 delivered[VCPUS][256];
bool level[VCPUS];
u64 without_exit, while_masked;

static bool taken[CPUS]; /* atomic: one thread runs there */
static irq_handler_t notified;

struct vmx_controls vmx_boot_controls;
struct vmx_cpu vmx_cpus[CPU_MAX];
struct vpid_cpu vpid_cpus[CPU_MAX];
bool trace_is_on;

bool over(void)
{
	return !__atomic_load_n(&running, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&lost, __ATOMIC_SEQ_CST);
}

/* --- the CPU, in root mode --- */

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	assert_int_equal(vector, VECTOR_POSTED);
	notified = fn;
}

/* Interrupts are on. */
static void interrupts_come(void)
{
	if (hosted_notified(cpu_id()))
		notified(NULL);
	if (hosted_kick_pending(cpu_id()))
		hosted_kick_take(cpu_id());
}

static void leave_cpu(struct guest *g)
{
	/* The CPU keeps its state, or it is made to leave (vcpu_disown_cpu). */
	if (cpus > vcpus || random_one_in(&g->random, 2)) {
		vmx_cpus[g->at].owner = NULL;
		g->home = CPUS;
	}
	__atomic_store_n(&taken[g->at], false, __ATOMIC_SEQ_CST);
	hosted_cpu_set(OFF_CPU + g->v->id);
}

static bool take_cpu(u32 cpu)
{
	return !__atomic_exchange_n(&taken[cpu], true, __ATOMIC_SEQ_CST);
}

static void come_to_cpu(struct guest *g)
{
	u32 cpu = g->home < cpus ? g->home : random_below(&g->random, cpus);

	while (!take_cpu(cpu)) {
		hosted_relax();
		cpu = g->home < cpus ? g->home : random_below(&g->random, cpus);
	}
	hosted_cpu_set(cpu);
	/* Idle, or another's thread, may have been there for them. */
	if (random_one_in(&g->random, 2))
		interrupts_come();
	/* vmx_vcpu_sched_in */
	irq_disable();
	vmx_cpus[cpu].owner = &g->vmx;
	g->home = g->at = cpu;
	__atomic_store_n(&g->vmx.cpu, cpu, __ATOMIC_RELAXED);
	posted_look(&g->vmx);
	irq_enable();
}

/* It may be on its way for so long that the vCPU is somewhere else when it arrives. */
static u32 delay; /* atomic */

void __real_ipi_notify(u32 cpu);
void __wrap_ipi_notify(u32 cpu);
void __wrap_ipi_notify(u32 cpu)
{
	hosted_stand(__atomic_fetch_add(&delay, 7, __ATOMIC_RELAXED) % 50);
	__real_ipi_notify(cpu);
}

/* --- the CPU, in the guest --- */

static struct lapic *apic(struct guest *g)
{
	return g->v->lapic;
}

static u8 highest(struct guest *g, u32 set)
{
	for (int i = 255; i >= 0; i--) {
		if (lapic_get(apic(g), set + (u32)i / 32) >> (i % 32) & 1)
			return (u8)i;
	}
	return 0;
}

static void change(struct guest *g, u32 set, u8 vector, bool on)
{
	u32 reg = set + vector / 32, bit = 1u << vector % 32, old = lapic_get(apic(g), reg);

	lapic_put(apic(g), reg, on ? old | bit : old & ~bit);
}

/* 30.6, with its own numbers. 1 and 2, what it came by, are hosted_notified's. */
static void process_posted(struct guest *g)
{
	struct posted_descriptor *d = g->vmx.config.posted;

	/* 3. ON is cleared, and no other bit of that word changed. 4. EOI. */
	__atomic_fetch_and(&d->control, ~POSTED_ON, __ATOMIC_SEQ_CST);
	/* 5. PIR goes into VIRR, and none is lost in between. */
	for (u32 i = 0; i < 8; i++) {
		u32 came = __atomic_exchange_n(&d->requests[i], 0, __ATOMIC_SEQ_CST);

		lapic_put(apic(g), REG_IRR + i, lapic_get(apic(g), REG_IRR + i) | came);
	}
	/* 6. RVI. */
	g->rvi = highest(g, REG_IRR);
	__atomic_fetch_add(&without_exit, 1, __ATOMIC_RELAXED);
}

/* Virtual-interrupt delivery (30.2.2) and a handler that ends it. True: the EOI exits. */
static bool deliver(struct guest *g)
{
	u8 vector = g->rvi;
	bool exits = g->eoi_exits[vector / 32] >> (vector % 32) & 1;

	change(g, REG_IRR, vector, false);
	g->rvi = highest(g, REG_IRR);
	assert_int_equal(exits, vector == LEVEL && level[g->v->id]);
	g->vmx.reason = vector;
	__atomic_fetch_add(&delivered[g->v->id][vector], 1, __ATOMIC_SEQ_CST);
	return exits;
}

enum reason {
	EXTERNAL = 1,
	CPUID = 10,
	HLT = 12,
	EOI = 45,
};

static enum reason stay(struct guest *g)
{
	u32 steps = random_below(&g->random, 8);
	bool masked;

	/* Where each has a CPU, or it would keep one from others. */
	if (!g->spins && cpus > vcpus && random_one_in(&g->random, 4))
		g->spins = 1 + random_below(&g->random, SPINS);
	masked = !g->spins && random_one_in(&g->random, 3);
	for (;; steps -= !!steps) {
		hosted_point();
		if (hosted_notified(cpu_id()))
			process_posted(g);
		if (hosted_kick_pending(cpu_id()))
			return EXTERNAL;
		if (masked && g->rvi)
			__atomic_fetch_add(&while_masked, 1, __ATOMIC_RELAXED);
		if (!masked && g->rvi) {
			g->spins = 0;
			if (deliver(g))
				return EOI;
		}
		if (g->spins == 1 && !over())
			hosted_relax();
		else if (!steps)
			break;
	}
	if (g->spins) {
		g->spins--;
		return CPUID;
	}
	return random_one_in(&g->random, 3) ? HLT : CPUID;
}

/*
 * Of ENTER_GUEST; entry.S is the real one. It finds the interrupts off, and the CPU takes what
 * waits.
 */
void enter_guest(struct vmx_vcpu *v);
void enter_guest(struct vmx_vcpu *v)
{
	struct guest *g = container_of(v, struct guest, vmx);
	u32 reason;

	/* Its VMCS is loaded here, and the CPU knows what the page holds. */
	assert_ptr_equal(vmx_cpus[cpu_id()].owner, v);
	assert_false(irq_enabled());
	reason = stay(g);
	vmcs_write(EXIT_REASON, reason);
}

__asm__(".text\n\t"
	".globl vmx_enter\n"
	"vmx_enter:\n\t"
	"pushq %rbp\n\t"
	"movq %rsp, %rbp\n\t"
	"pushq %rdi\n\t"
	"andq $-16, %rsp\n\t"
	"call enter_guest\n\t"
	"movq -8(%rbp), %rdi\n\t"
	"leave\n\t"
	"clc\n\t"
	"ret\n\t");

/* --- vmx/, beside run.c --- */

enum exit_verdict exit_kind(struct vmx_exit *e, enum vmx_exit_kind kind)
{
	e->kind = kind;
	return EXIT_RETURN;
}

/* Interrupts, and so other threads. */
void exit_let_in(struct vmx_vcpu *v)
{
	struct guest *g = container_of(v, struct guest, vmx);

	irq_enable();
	interrupts_come();
	if (random_one_in(&g->random, 4)) {
		leave_cpu(g);
		hosted_relax();
		come_to_cpu(g);
	}
}

static enum exit_verdict external(struct vmx_vcpu *v, struct vmx_exit *e)
{
	/* Acknowledged with the exit, and handled. */
	if (hosted_kick_pending(cpu_id()))
		hosted_kick_take(cpu_id());
	exit_let_in(v);
	return EXIT_RESUME;
}

/* With a read of a register that the CPU leaves to the model, now and then. */
static enum exit_verdict at_once(struct vmx_vcpu *v, struct vmx_exit *e)
{
	struct guest *g = container_of(v, struct guest, vmx);
	u64 value;

	if (random_one_in(&g->random, 2)) {
		hosted_stand(random_below(&g->random, 60));
		assert_true(lapic_mmio(apic(g), GPA(PLATFORM_LAPIC_BASE + (REG_APR << 4)), 4, false,
				       &value));
	}
	if (random_one_in(&g->random, 3))
		exit_let_in(v);
	return EXIT_RESUME;
}

static enum exit_verdict ended(struct vmx_vcpu *v, struct vmx_exit *e)
{
	struct guest *g = container_of(v, struct guest, vmx);

	lapic_ended(apic(g), LEVEL);
	return EXIT_RESUME;
}

static enum exit_verdict halted(struct vmx_vcpu *v, struct vmx_exit *e)
{
	return exit_kind(e, VMX_EXIT_HLT);
}

const exit_handler_t exit_handlers[VMX_EXIT_REASONS] = {
	[EXTERNAL] = external,
	[CPUID] = at_once,
	[HLT] = halted,
	[EOI] = ended,
};
const bool exit_at_instruction[VMX_EXIT_REASONS] = {[CPUID] = true};

#define NEVER(type, name, ...)    \
	type name(__VA_ARGS__)    \
	{                         \
		fail_msg(#name);  \
		__builtin_trap(); \
	}

NEVER(enum exit_verdict, exit_odd, struct vmx_vcpu *v, struct vmx_exit *e)
NEVER(enum exit_verdict, handle_shutdown, struct vmx_vcpu *v, struct vmx_exit *e)
NEVER(int, shadow_load, struct vmx_vcpu *v)
NEVER(bool, restricted_prepare, struct vmx_vcpu *v, struct vmx_exit *e)
NEVER(void, mmu_enter_flush, struct mmu_vm *vm)
NEVER(void, vcpu_log_entry_failure, struct vmx_vcpu *v, bool refused)
NEVER(const char *, vcpu_name, void)
NEVER(u32, vcpu_number, void)
NEVER(void, thread_may_park, void)
NEVER(void, thread_preempt, void)
NOTHING(event_collect, struct vmx_vcpu *v)
NOTHING(event_prepare, struct vmx_vcpu *v)
NOTHING(event_take_back, struct vmx_vcpu *v)
NOTHING(mitigations_flush_l1d, struct vmx_vcpu *v)
NOTHING(pml_before_entry, struct vmx_vcpu *v)
NOTHING(pml_empty, struct vmx_vcpu *v)
NOTHING(pml_left, struct vmx_vcpu *v)
NOTHING(regs_push, struct vmx_vcpu *v)
NOTHING(restricted_enter, struct vmx_vcpu *v)
NOTHING(restricted_leave, struct vmx_vcpu *v)
NOTHING(trace_put, enum trace_kind kind, u32 what, u64 a, u64 b, const char *who, u32 number)
NOTHING(vcpu_take_vpid, struct vmx_vcpu *v)

/* --- the VM's loop, as kernel/vcpu.c has it --- */

void __wrap_vcpu_request(struct vcpu *v, u64 bits);
void __wrap_vcpu_request(struct vcpu *v, u64 bits)
{
	struct guest *g = &guests[v->id];

	__atomic_or_fetch(&v->requests, bits, __ATOMIC_SEQ_CST);
	vmx_vcpu_kick(&g->vmx);
	__atomic_store_n(&g->woken, true, __ATOMIC_SEQ_CST);
}

bool __wrap_vcpu_notify(struct vcpu *v);
bool __wrap_vcpu_notify(struct vcpu *v)
{
	/* Until it is told all other senders rely on this one, which may not lose its CPU. */
	assert_false(irq_enabled());
	if (vmx_vcpu_notify(&guests[v->id].vmx))
		return true;
	__wrap_vcpu_request(v, VCPU_REQ_KICK);
	return false;
}

/* run_halted */
static void sleep_halted(struct guest *g)
{
	while (!over()) {
		vmx_vcpu_kick_seen(&g->vmx);
		__atomic_exchange_n(&g->v->requests, 0, __ATOMIC_SEQ_CST);
		if (platform_interrupt_pending(g->v))
			break;
		if (__atomic_load_n(&g->v->requests, __ATOMIC_SEQ_CST))
			continue;
		leave_cpu(g);
		while (!__atomic_exchange_n(&g->woken, false, __ATOMIC_SEQ_CST) && !over())
			hosted_relax();
		come_to_cpu(g);
	}
}

/* inject_pending */
static void tell(struct guest *g)
{
	struct platform_apic_state s;

	if (!lapic_waits(apic(g)) || !platform_apic_load(g->v, &s))
		return;
	g->rvi = s.requested;
	g->svi = s.in_service;
	memcpy(g->eoi_exits, s.level, sizeof(g->eoi_exits));
}

void vcpu_thread(void *guest)
{
	struct guest *g = guest;
	struct vmx_exit e;

	hosted_cpu_set(OFF_CPU + g->v->id);
	come_to_cpu(g);
	while (!over()) {
		__atomic_exchange_n(&g->v->requests, 0, __ATOMIC_SEQ_CST);
		tell(g);
		if (random_one_in(&g->random, 3))
			interrupts_come();
		vmx_vcpu_run(&g->vmx, &e);
		if (e.kind == VMX_EXIT_HLT)
			sleep_halted(g);
	}
	leave_cpu(g);
}

/* --- before a run --- */

void posted_cpus_reset(struct vm *vm, u64 seed)
{
	memset(delivered, 0, sizeof(delivered));
	memset(taken, 0, sizeof(taken));
	memset(vmx_cpus, 0, sizeof(vmx_cpus));
	memset(level, 0, sizeof(level));
	for (u32 cpu = 0; cpu < CPUS; cpu++) {
		(void)hosted_notified(cpu);
		hosted_kick_take(cpu);
	}
	delay = 0;
	lost = false;
	for (u32 i = 0; i < VCPUS; i++) {
		struct guest *g = &guests[i];

		memset(g, 0, sizeof(*g));
		g->v = vm->vcpus[i];
		g->random = seed * VCPUS + i + 1;
		g->home = CPUS;
		g->vmx.config.mmu = &vm->mmu;
		g->vmx.config.posted = platform_posted(g->v);
		g->vmx.masked_exits = 5;
		posted_setup(&g->vmx);
		assert_true(is_aligned((u64)g->vmx.config.posted, PAGE_SIZE));
	}
	if (!notified)
		posted_init();
}
