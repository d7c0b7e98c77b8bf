/* SPDX-License-Identifier: MIT */
/*
 * Self-tests of vmx/: vCPUs of a page of real-mode code, run by the test's own thread. On a CPU
 * without VMX there is nothing to test, and they say so.
 */
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_vmx.h"
#include "mem/frame.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define PAGE_IP		 0xf000u /* of the page's first byte */
#define NO_MEMORY	 0x8000u
#define INTEL_EBX	 0x756e6547u /* "Genu" */
#define KICK_AFTER_NS	 20000000ull
#define GIVE_BACK_ROUNDS 4
#define MARK_A		 0x1234abcdu
#define MARK_B		 0x5678dcbau
#define FPU_STACK_TOP	 0x3800u

static const struct vmx_start reset = {.mode = VMX_START_RESET};

static u64 ip_of(const u8 *code)
{
	return PAGE_IP + (u64)(code - vmx_guest_page);
}

/* The program's part: from an entry to its HLT. The registers it leaves. */
static struct guest_regs run_part(struct machine *m, const u8 *code, u64 rdi)
{
	struct guest_regs left;

	machine_attach(m);
	vmx_regs(m->v)->rip = ip_of(code);
	vmx_regs(m->v)->gpr[RDI] = rdi;
	machine_expect_halt(m);
	left = *vmx_regs(m->v);
	machine_detach(m);
	return left;
}

static void check_reset(struct machine *m)
{
	struct guest_regs *r = vmx_regs(m->v);
	struct vmx_segment cs;
	u32 signature = cpuid(1, 0).eax;

	EXPECT(m->t, r->rip == 0xfff0);
	vmx_get_segment(m->v, SEG_CS, &cs);
	EXPECT(m->t, cs.selector == 0xf000 && cs.base == 0xffff0000ull);
	machine_expect_halt(m);
	EXPECT(m->t, r->gpr[RBX] == INTEL_EBX);
	EXPECT(m->t, r->gpr[RBP] == signature);
}

static void check_ports(struct machine *m)
{
	struct guest_regs *r = vmx_regs(m->v);
	struct vmx_exit e = machine_run(m);

	EXPECT(m->t, e.kind == VMX_EXIT_IO && !e.io.in && !e.io.string && e.io.size == 4);
	EXPECT(m->t, e.io.port == 0x1234 && e.io.value == 0xcafe5678);
	vmx_complete_io_out(m->v);
	e = machine_run(m);
	EXPECT(m->t, e.kind == VMX_EXIT_IO && e.io.in && e.io.size == 1);
	vmx_complete_io_in(m->v, 0x12345642);
	machine_expect_halt(m);
	EXPECT(m->t, r->gpr[RAX] == 0xffffff42);
}

static void check_device_and_hypercall(struct machine *m)
{
	struct guest_regs *r = vmx_regs(m->v);
	struct vmx_exit e = machine_run(m);

	EXPECT(m->t, e.kind == VMX_EXIT_MMIO && e.mmio.gpa.v == NO_MEMORY);
	EXPECT(m->t, e.mmio.access == MMU_READ);
	/* In an emulator's place: the instruction has five bytes. */
	r = vmx_regs(m->v);
	r->gpr[RSI] = 0x1badb002;
	r->rip += 5;
	vmx_complete_emulation(m->v);
	machine_expect_halt(m);
	EXPECT(m->t, r->gpr[RSI] == 0x1badb002);
	EXPECT(m->t, machine_run(m).kind == VMX_EXIT_HYPERCALL);
	vmx_complete_hypercall(m->v, (u64)-1000);
	machine_expect_halt(m);
	EXPECT(m->t, r->gpr[RAX] == (u64)-1000);
}

static void test_reset(struct selftest *t)
{
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	if (machine_make(t, &m, &reset, false)) {
		machine_attach(&m);
		check_reset(&m);
		check_ports(&m);
		check_device_and_hypercall(&m);
		machine_detach(&m);
		EXPECT(t, vmx_exit_count(m.v, 10) == 1 && vmx_exit_count(m.v, 12) == 4);
		EXPECT(t, vmx_exit_count(m.v, 30) == 2 && vmx_exit_count(m.v, 18) == 1);
	}
	machine_unmake(&m);
}

static void expect_mark(struct machine *m, u32 mark, u32 fpu_top)
{
	struct guest_regs left = run_part(m, vmx_guest_read, 0);
	const u64 *r = left.gpr;

	EXPECT(m->t, r[RBX] == mark); /* XMM0 */
	EXPECT(m->t, r[RBP] == mark); /* KERNEL_GS_BASE */
	EXPECT(m->t, r[RSI] == mark); /* DR0 */
	EXPECT(m->t, r[RCX] == mark); /* CR2 */
	EXPECT(m->t, (r[RAX] & FPU_STACK_TOP) == fpu_top);
}

/* Two vCPUs share a CPU: neither sees the other's registers, and each keeps its own. */
static void test_isolation(struct selftest *t)
{
	struct machine a, b;
	bool made;

	if (!selftest_have_vmx(t))
		return;
	made = machine_make(t, &a, &reset, false);
	if (!machine_make(t, &b, &reset, false))
		made = false;
	if (made) {
		run_part(&a, vmx_guest_write, MARK_A);
		expect_mark(&b, 0, 0);
		run_part(&b, vmx_guest_write, MARK_B);
		expect_mark(&a, MARK_A, FPU_STACK_TOP);
		expect_mark(&b, MARK_B, FPU_STACK_TOP);
	}
	machine_unmake(&b);
	machine_unmake(&a);
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

	if (!selftest_have_vmx(t))
		return;
	if (machine_make(t, &m, &reset, false)) {
		machine_attach(&m);
		kick_looping_guest(&m, RFLAGS_IF);
		kick_looping_guest(&m, 0);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

/* Nothing can be delivered: the CPU gives up, and Weir says where. */
static void test_triple_fault(struct selftest *t)
{
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	if (machine_make(t, &m, &reset, false)) {
		machine_attach(&m);
		vmx_regs(m.v)->rip = ip_of(vmx_guest_triple);
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_SHUTDOWN);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

/* Faults on faults that Weir injects end the same way (SDM 3A table 6-5). */
static void test_injected_triple_fault(struct selftest *t)
{
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	if (machine_make(t, &m, &reset, false)) {
		machine_attach(&m);
		vmx_inject_gp(m.v);
		vmx_inject_gp(m.v); /* #DF */
		vmx_inject_page_fault(m.v, GVA(0x1234), 0);
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_SHUTDOWN);
		EXPECT(t, vmx_regs(m.v)->cr2 == 0x1234);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

/* An entry that a kick prevents has taken no event with it: the #DF is still there to combine. */
static void test_kick_keeps_event(struct selftest *t)
{
	struct machine m;
	struct vmx_exit e;

	if (!selftest_have_vmx(t))
		return;
	if (machine_make(t, &m, &reset, false)) {
		machine_attach(&m);
		vmx_inject_gp(m.v);
		vmx_inject_gp(m.v); /* #DF */
		vmx_vcpu_kick(m.v);
		vmx_vcpu_run(m.v, &e);
		EXPECT(t, e.kind == VMX_EXIT_NONE);
		vmx_inject_gp(m.v);
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_SHUTDOWN);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

/* What a vCPU and its VM took they give back. */
static void test_gives_back(struct selftest *t)
{
	struct frame_stats before = {0}, after;
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	for (u32 i = 0; i < GIVE_BACK_ROUNDS; i++) {
		if (machine_make(t, &m, &reset, true)) {
			machine_attach(&m);
			machine_expect_halt(&m);
			machine_detach(&m);
		}
		machine_unmake(&m);
		/* The first round may leave a frame with the slab allocator. */
		frame_get_stats(i ? &after : &before);
	}
	EXPECT(t, after.free == before.free);
}

const struct selftest_case selftest_vmx[] = {
	{.name = "vmx_reset", .fn = test_reset},
	{.name = "vmx_isolation", .fn = test_isolation},
	{.name = "vmx_kick", .fn = test_kick},
	{.name = "vmx_kick_keeps_event", .fn = test_kick_keeps_event},
	{.name = "vmx_gives_back", .fn = test_gives_back},
	{.name = "vmx_triple_fault", .fn = test_triple_fault},
	{.name = "vmx_injected_triple_fault", .fn = test_injected_triple_fault},
	{.name = NULL},
};
