/* SPDX-License-Identifier: MIT */
/*
 * Self-tests of vmx/: vCPUs of a page of real-mode code, run by the test's own thread. On a CPU
 * without VMX there is nothing to test, and they say so.
 */
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "smp/thread.h"
#include "smp/timer.h"
#include "vmx/vmx.h"

#define CPUID_1_ECX_VMX BIT(5)
#define RESET_PAGE	0xfffff000ull
#define PAGE_IP		0xf000u /* of the page's first byte */
#define NO_MEMORY	0x8000u
#define INTEL_EBX	0x756e6547u /* "Genu" */
#define KICK_AFTER_NS	20000000ull
#define MARK_A		0x1234abcdu
#define MARK_B		0x5678dcbau
#define FPU_STACK_TOP	0x3800u
#define EXITS_MAX	1000

extern const u8 vmx_guest_page[], vmx_guest_start[], vmx_guest_write[], vmx_guest_read[],
	vmx_guest_loop[], vmx_guest_triple[];

/* One VM with its page; the thread is whichever vCPU of it was attached last. */
struct machine {
	struct selftest *t;
	struct mmu_vm mmu;
	struct gmem *page;
	struct mmu_vcpu mmu_vcpu;
	struct vmx_vcpu *v;
};

static void sched_in(struct thread *thread)
{
	vmx_vcpu_sched_in(thread->sched_data);
}

static void sched_out(struct thread *thread)
{
	vmx_vcpu_sched_out(thread->sched_data);
}

static void attach(struct machine *m)
{
	struct thread *thread = thread_current();
	bool on = irq_save();

	thread->sched_data = m->v;
	thread->sched_in = sched_in;
	thread->sched_out = sched_out;
	vmx_vcpu_sched_in(m->v);
	irq_restore(on);
}

static void detach(struct machine *m)
{
	struct thread *thread = thread_current();
	bool on = irq_save();

	vmx_vcpu_sched_out(m->v);
	thread->sched_in = NULL;
	thread->sched_out = NULL;
	irq_restore(on);
}

static u64 ip_of(const u8 *code)
{
	return PAGE_IP + (u64)(code - vmx_guest_page);
}

static bool make(struct selftest *t, struct machine *m)
{
	struct vmx_start start = {.mode = VMX_START_RESET};
	struct vmx_config config = {.mmu = &m->mmu, .mmu_vcpu = &m->mmu_vcpu, .vcpu_count = 1};

	memset(m, 0, sizeof(*m));
	m->t = t;
	if (!EXPECT(t, mmu_vm_create(&m->mmu, MMU_EPT) == 0))
		return false;
	if (!EXPECT(t, gmem_create(1, &m->page) == 0) ||
	    !EXPECT(t, memslot_create(&m->mmu, 0, gpa_to_gfn(GPA(RESET_PAGE)), 1, m->page, 0, 0) ==
			       0) ||
	    !EXPECT(t, gpa_write(&m->mmu, GPA(RESET_PAGE), vmx_guest_page, PAGE_SIZE) == 0))
		return false;
	mmu_vcpu_init(&m->mmu_vcpu, &m->mmu);
	if (!EXPECT(t, vmx_vcpu_create(&config, &m->v) == 0))
		return false;
	attach(m);
	vmx_vcpu_set_start(m->v, &start);
	detach(m);
	return true;
}

static void unmake(struct machine *m)
{
	if (m->v)
		vmx_vcpu_destroy(m->v);
	if (m->mmu_vcpu.vm)
		mmu_vcpu_destroy(&m->mmu_vcpu);
	if (m->page) {
		memslot_delete(&m->mmu, 0);
		gmem_unref(m->page);
	}
	mmu_vm_destroy(&m->mmu);
}

/* Runs on through what preemption causes. Attached. */
static struct vmx_exit run(struct machine *m)
{
	struct vmx_exit e = {.kind = VMX_EXIT_NONE};

	for (u32 i = 0; i < EXITS_MAX && e.kind == VMX_EXIT_NONE; i++)
		vmx_vcpu_run(m->v, &e);
	return e;
}

static void expect_halt(struct machine *m)
{
	EXPECT(m->t, run(m).kind == VMX_EXIT_HLT);
}

/* The program's part: from an entry to its HLT. */
static void run_part(struct machine *m, const u8 *code)
{
	attach(m);
	vmx_regs(m->v)->rip = ip_of(code);
	expect_halt(m);
	detach(m);
}

static void check_reset(struct machine *m)
{
	struct guest_regs *r = vmx_regs(m->v);
	struct vmx_segment cs;
	u32 signature = cpuid(1, 0).eax;

	EXPECT(m->t, r->rip == 0xfff0);
	vmx_get_segment(m->v, SEG_CS, &cs);
	EXPECT(m->t, cs.selector == 0xf000 && cs.base == 0xffff0000ull);
	expect_halt(m);
	EXPECT(m->t, r->gpr[RBX] == INTEL_EBX);
	EXPECT(m->t, r->gpr[RBP] == signature);
}

static void check_ports(struct machine *m)
{
	struct guest_regs *r = vmx_regs(m->v);
	struct vmx_exit e = run(m);

	EXPECT(m->t, e.kind == VMX_EXIT_IO && !e.io.in && !e.io.string && e.io.size == 4);
	EXPECT(m->t, e.io.port == 0x1234 && e.io.value == 0xcafe5678);
	vmx_complete_io_out(m->v);
	e = run(m);
	EXPECT(m->t, e.kind == VMX_EXIT_IO && e.io.in && e.io.size == 1);
	vmx_complete_io_in(m->v, 0x12345642);
	expect_halt(m);
	EXPECT(m->t, r->gpr[RAX] == 0xffffff42);
}

static void check_device_and_hypercall(struct machine *m)
{
	struct guest_regs *r = vmx_regs(m->v);
	struct vmx_exit e = run(m);

	EXPECT(m->t, e.kind == VMX_EXIT_MMIO && e.mmio.gpa.v == NO_MEMORY);
	EXPECT(m->t, e.mmio.access == MMU_READ);
	/* In an emulator's place: the instruction has five bytes. */
	r->gpr[RSI] = 0x1badb002;
	r->rip += 5;
	vmx_complete_emulation(m->v);
	expect_halt(m);
	EXPECT(m->t, r->gpr[RSI] == 0x1badb002);
	EXPECT(m->t, run(m).kind == VMX_EXIT_HYPERCALL);
	vmx_complete_hypercall(m->v, (u64)-1000);
	expect_halt(m);
	EXPECT(m->t, r->gpr[RAX] == (u64)-1000);
}

static bool have_vmx(struct selftest *t)
{
	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_VMX)) {
		selftest_note(t, "not run: this CPU has no VMX");
		return false;
	}
	return EXPECT(t, vmx_probe() == 0) && EXPECT(t, vmx_start() == 0) &&
	       EXPECT(t, vmx_cpu_ready(cpu_id()));
}

static void test_reset(struct selftest *t)
{
	struct machine m;

	if (!have_vmx(t))
		return;
	if (make(t, &m)) {
		attach(&m);
		check_reset(&m);
		check_ports(&m);
		check_device_and_hypercall(&m);
		detach(&m);
		EXPECT(t, vmx_exit_count(m.v, 10) == 1 && vmx_exit_count(m.v, 12) == 4);
		EXPECT(t, vmx_exit_count(m.v, 30) == 2 && vmx_exit_count(m.v, 18) == 1);
	}
	unmake(&m);
}

static void expect_mark(struct machine *m, u32 mark, u32 fpu_top)
{
	const u64 *r = vmx_regs(m->v)->gpr;

	EXPECT(m->t, r[RBX] == mark); /* XMM0 */
	EXPECT(m->t, r[RBP] == mark); /* KERNEL_GS_BASE */
	EXPECT(m->t, r[RSI] == mark); /* DR0 */
	EXPECT(m->t, (r[RAX] & FPU_STACK_TOP) == fpu_top);
}

/* Two vCPUs share a CPU: neither sees the other's registers, and each keeps its own. */
static void test_isolation(struct selftest *t)
{
	struct machine a, b;
	bool made;

	if (!have_vmx(t))
		return;
	made = make(t, &a);
	if (!make(t, &b))
		made = false;
	if (made) {
		vmx_regs(a.v)->gpr[RDI] = MARK_A;
		vmx_regs(b.v)->gpr[RDI] = MARK_B;
		run_part(&a, vmx_guest_write);
		run_part(&b, vmx_guest_read);
		expect_mark(&b, 0, 0);
		run_part(&b, vmx_guest_write);
		run_part(&a, vmx_guest_read);
		expect_mark(&a, MARK_A, FPU_STACK_TOP);
		run_part(&b, vmx_guest_read);
		expect_mark(&b, MARK_B, FPU_STACK_TOP);
	}
	unmake(&b);
	unmake(&a);
}

struct kicker {
	struct timer timer;
	struct vmx_vcpu *v;
};

static void kick(struct timer *timer)
{
	vmx_vcpu_kick(container_of(timer, struct kicker, timer)->v);
}

static void kick_from_elsewhere(void *arg)
{
	thread_sleep_until(clock_ns() + KICK_AFTER_NS);
	vmx_vcpu_kick(arg);
}

/* Attached. The guest loops for ever, and comes back because it is kicked. */
static void kick_looping_guest(struct machine *m, u64 rflags_if)
{
	struct guest_regs *r = vmx_regs(m->v);
	struct kicker k = {.v = m->v};
	struct thread *other;
	struct vmx_exit e;

	r->rip = ip_of(vmx_guest_loop);
	r->rflags = (r->rflags & ~RFLAGS_IF) | rflags_if;
	r->gpr[RBX] = 0;
	/* Before the entry: it does not come about. */
	vmx_vcpu_kick(m->v);
	vmx_vcpu_run(m->v, &e);
	EXPECT(m->t, e.kind == VMX_EXIT_NONE && r->gpr[RBX] == 0);
	timer_init(&k.timer, kick);
	timer_arm(&k.timer, clock_ns() + KICK_AFTER_NS);
	vmx_vcpu_run(m->v, &e);
	EXPECT(m->t, e.kind == VMX_EXIT_NONE && r->gpr[RBX] > 1);
	timer_cancel(&k.timer);
	if (cpu_count() < 2 ||
	    !EXPECT(m->t, thread_create(&other, "kicker", kick_from_elsewhere, m->v, 1) == 0))
		return;
	vmx_vcpu_run(m->v, &e);
	EXPECT(m->t, e.kind == VMX_EXIT_NONE);
	thread_join(other);
}

/* By a timer of its CPU and by another CPU, with the guest's interrupts on and off. */
static void test_kick(struct selftest *t)
{
	struct machine m;

	if (!have_vmx(t))
		return;
	if (make(t, &m)) {
		attach(&m);
		kick_looping_guest(&m, RFLAGS_IF);
		kick_looping_guest(&m, 0);
		detach(&m);
	}
	unmake(&m);
}

/* Nothing can be delivered: the CPU gives up, and Weir says where. */
static void test_triple_fault(struct selftest *t)
{
	struct machine m;

	if (!have_vmx(t))
		return;
	if (make(t, &m)) {
		attach(&m);
		vmx_regs(m.v)->rip = ip_of(vmx_guest_triple);
		EXPECT(t, run(&m).kind == VMX_EXIT_SHUTDOWN);
		detach(&m);
	}
	unmake(&m);
}

/* Faults on faults that Weir injects end the same way (SDM 3A table 6-5). */
static void test_injected_triple_fault(struct selftest *t)
{
	struct machine m;

	if (!have_vmx(t))
		return;
	if (make(t, &m)) {
		attach(&m);
		vmx_inject_gp(m.v);
		vmx_inject_gp(m.v); /* #DF */
		vmx_inject_page_fault(m.v, GVA(0x1234), 0);
		EXPECT(t, run(&m).kind == VMX_EXIT_SHUTDOWN);
		EXPECT(t, vmx_regs(m.v)->cr2 == 0x1234);
		detach(&m);
	}
	unmake(&m);
}

const struct selftest_case selftest_vmx[] = {
	{.name = "vmx_reset", .fn = test_reset},
	{.name = "vmx_isolation", .fn = test_isolation},
	{.name = "vmx_kick", .fn = test_kick},
	{.name = "vmx_triple_fault", .fn = test_triple_fault},
	{.name = "vmx_injected_triple_fault", .fn = test_injected_triple_fault},
	{.name = NULL},
};
