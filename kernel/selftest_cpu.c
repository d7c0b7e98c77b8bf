/* SPDX-License-Identifier: MIT */
/*
 * Self-tests of what each CPU was given as it came up: the bits of its control registers that keep
 * Weir from its own errors, and its stacks.
 */
#include "kernel/base/backtrace.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "smp/apic.h"
#include "smp/irq.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define NS_PER_MS    1000000ull
#define PATIENCE_NS  (10000 * NS_PER_MS)
#define FEATURES     7 /* CPUID leaf */
#define EBX_SMEP     BIT(7)
#define EBX_SMAP     BIT(20)
#define ECX_UMIP     BIT(2)
#define VECTOR_COUNT 256
#define IST_COUNT    3

/* What the CPU reads, as SDM 3A has it (figures 6-8 and 8-11); smp/tables.c has its own. */
struct gate {
	u32 offset_low_selector;
	u8 ist; /* the low three bits */
	u8 type;
	u16 offset_middle;
	u64 offset_high;
};
static_assert(sizeof(struct gate) == 16, "64-bit IDT gate");

struct tss_ist {
	u32 before[9];
	u64 ist[7]; /* the first is number 1 */
} __packed;
static_assert(offsetof(struct tss_ist, ist) == 36, "64-bit TSS");

/* What a vector's stub leaves on its stack, from the top down (smp/entry.S). */
struct pushed {
	u64 vector, error_code, rip, cs, rflags, rsp, ss;
};

static void check_hardening(struct selftest_worker *w)
{
	struct selftest *t = w->test;
	struct cpuid_regs r = {0};
	u64 cr4 = read_cr4();

	if (cpuid(0, 0).eax >= FEATURES)
		r = cpuid(FEATURES, 0);
	EXPECT(t, !(cr4 & CR4_SMEP) == !(r.ebx & EBX_SMEP));
	EXPECT(t, !(cr4 & CR4_SMAP) == !(r.ebx & EBX_SMAP));
	EXPECT(t, !(cr4 & CR4_UMIP) == !(r.ecx & ECX_UMIP));
	EXPECT(t, read_cr0() & CR0_WP);
	EXPECT(t, rdmsr(MSR_EFER) & EFER_NXE);
}

static void test_hardening(struct selftest *t)
{
	selftest_on_all(t, 1, check_hardening, NULL);
}

static u32 ist_of(u8 vector)
{
	return ((const struct gate *)cpu_idt_base())[vector].ist & 7;
}

static u64 stack_top(u32 ist)
{
	return ((const struct tss_ist *)cpu_tss_base())->ist[ist - 1];
}

static void check_guard(struct selftest *t, u64 low)
{
	EXPECT(t, backtrace_readable(low, STACK_SIZE));
	EXPECT(t, !backtrace_readable(low - 1, 1));
	EXPECT(t, !backtrace_readable(low - PAGE_SIZE, 1));
	EXPECT(t, !backtrace_readable(low + STACK_SIZE, 1));
}

/* The NMI pushes onto the stack that its gate names, wherever RSP was. */
static void check_nmi(struct selftest *t)
{
	struct pushed *p = (struct pushed *)stack_top(ist_of(VECTOR_NMI)) - 1;
	u64 here = (u64)__builtin_frame_address(0), end = clock_ns() + PATIENCE_NS;

	memset(p, 0xff, sizeof(*p));
	apic_send_nmi(this_cpu()->apic_id);
	while (READ_ONCE(p->ss) == ~0ull && clock_ns() < end)
		cpu_relax();
	EXPECT(t, p->vector == VECTOR_NMI && p->error_code == 0);
	EXPECT(t, p->rsp <= here && here - p->rsp < STACK_SIZE);
}

static void check_ist(struct selftest_worker *w)
{
	static const u8 vectors[IST_COUNT] = {VECTOR_NMI, VECTOR_DF, VECTOR_MC};
	struct selftest *t = w->test;
	u64 top[IST_COUNT];
	u32 with_ist = 0;

	for (u32 v = 0; v < VECTOR_COUNT; v++)
		with_ist += ist_of((u8)v) != 0;
	EXPECT(t, with_ist == IST_COUNT);
	for (u32 i = 0; i < IST_COUNT; i++) {
		if (!EXPECT(t, ist_of(vectors[i])))
			return;
		top[i] = stack_top(ist_of(vectors[i]));
		check_guard(t, top[i] - STACK_SIZE);
		EXPECT(t, cpu_guard_page_owner(top[i] - STACK_SIZE - 1) != NULL);
		for (u32 j = 0; j < i; j++)
			EXPECT(t, top[i] != top[j]);
	}
	check_nmi(t);
}

static void test_ist(struct selftest *t)
{
	selftest_on_all(t, 1, check_ist, NULL);
}

struct idle_look {
	struct timer timer;
	u8 *stack; /* atomic: the idle thread's */
	u64 rsp;
};

/* An interrupt runs on the stack of whoever it interrupts. */
static void look_at_stack(struct timer *timer)
{
	struct idle_look *l = container_of(timer, struct idle_look, timer);
	struct thread *me = thread_current();

	if (strncmp(me->name, "idle", 4))
		return;
	l->rsp = (u64)__builtin_frame_address(0);
	__atomic_store_n(&l->stack, me->stack, __ATOMIC_RELEASE);
}

static void check_idle(struct selftest_worker *w)
{
	struct idle_look l = {.stack = NULL};
	u64 end = clock_ns() + PATIENCE_NS, now;
	struct selftest *t = w->test;

	timer_init(&l.timer, look_at_stack);
	do {
		now = clock_ns();
		timer_arm(&l.timer, now + NS_PER_MS);
		thread_sleep_until(now + 2 * NS_PER_MS);
		timer_cancel(&l.timer);
	} while (!__atomic_load_n(&l.stack, __ATOMIC_ACQUIRE) && now < end);
	if (!EXPECT(t, l.stack))
		return;
	check_guard(t, (u64)l.stack);
	EXPECT(t, l.rsp - (u64)l.stack < STACK_SIZE);
}

static void test_idle_guards(struct selftest *t)
{
	selftest_on_all(t, 1, check_idle, NULL);
}

const struct selftest_case selftest_cpu[] = {
	{"hardening", test_hardening, false},
	{"ist-stacks", test_ist, false},
	{"idle-guards", test_idle_guards, false},
	{NULL, NULL, false},
};
