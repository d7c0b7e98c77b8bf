/* SPDX-License-Identifier: MIT */
/* Self-tests of clocks, timers and interrupts between CPUs and from devices. */
#include "kernel/base/acpi.h"
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "smp/ipi.h"
#include "smp/irq.h"
#include "smp/spinlock.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define NS_PER_MS    1000000ull
#define PATIENCE_NS  (20000 * NS_PER_MS)
#define LATE_MAX_NS  (2000 * NS_PER_MS) /* an emulator's CPU may itself be kept waiting */
#define CLOCK_ROUNDS 2000
#define CALL_ROUNDS  10
#define KICK_ROUNDS  100
#define RACE_ROUNDS  200

static struct {
	struct spinlock lock;
	u64 last; /* lock */
} clock_check;

static void clock_worker(struct selftest_worker *w)
{
	for (u32 i = 0; i < CLOCK_ROUNDS; i++) {
		u64 now;

		spin_lock(&clock_check.lock);
		now = clock_ns();
		EXPECT(w->test, now >= clock_check.last);
		clock_check.last = now;
		spin_unlock(&clock_check.lock);
	}
}

static void test_clock(struct selftest *t)
{
	u64 start, wall = clock_boot_wall_seconds();

	spin_init(&clock_check.lock, "selftest clock", LOCK_RMAP);
	clock_check.last = 0;
	selftest_on_all(t, 1, clock_worker, NULL);
	start = clock_ns();
	clock_udelay(1000);
	EXPECT(t, clock_ns() - start >= NS_PER_MS - 1000);
	EXPECT(t, clock_tsc_to_ns(clock_ns_to_tsc(1000 * NS_PER_MS)) > 999 * NS_PER_MS);
	EXPECT(t, clock_tsc_to_ns(clock_ns_to_tsc(~0ull >> 8)) > ~0ull >> 9);
	selftest_note(t, "TSC %lu kHz, booted at %lu", clock_tsc_khz(), wall);
}

#define ORDER_TIMERS 6

static struct ordered {
	struct timer timer;
	u32 position; /* in which it fired, from 1; 0: not */
	u64 fired_ns;
	u32 cpu;
	u64 asked_ns;
} ordered[ORDER_TIMERS];

static u32 fired_count;
static struct thread *order_thread;

static void order_fired(struct timer *timer)
{
	struct ordered *o = container_of(timer, struct ordered, timer);

	o->fired_ns = clock_ns();
	o->cpu = cpu_id();
	o->position = ++fired_count;
	thread_wake(order_thread);
}

/* Deadlines (in ms) out of order; the one marked is taken back. */
static void test_timers(struct selftest *t)
{
	static const u32 ms[ORDER_TIMERS] = {9, 3, 6, 0, 12, 3};
	static const u32 expected[ORDER_TIMERS] = {4, 2, 0, 1, 5, 3};
	u64 base, end, late = 0;

	fired_count = 0;
	order_thread = thread_current();
	memset(ordered, 0, sizeof(ordered));
	base = clock_ns();
	end = base + PATIENCE_NS;
	for (u32 i = 0; i < ORDER_TIMERS; i++) {
		timer_init(&ordered[i].timer, order_fired);
		ordered[i].asked_ns = base + ms[i] * NS_PER_MS;
	}
	irq_disable(); /* or a slow emulator fires one before the next is armed */
	for (u32 i = 0; i < ORDER_TIMERS; i++)
		timer_arm(&ordered[i].timer, ordered[i].asked_ns);
	timer_cancel(&ordered[2].timer);
	irq_enable();
	while (READ_ONCE(fired_count) < ORDER_TIMERS - 1 && clock_ns() < end)
		thread_block_until(end);
	for (u32 i = 0; i < ORDER_TIMERS; i++) {
		timer_cancel(&ordered[i].timer);
		EXPECT(t, ordered[i].position == expected[i]);
		if (!ordered[i].position)
			continue;
		EXPECT(t, ordered[i].fired_ns >= ordered[i].asked_ns);
		EXPECT(t, ordered[i].cpu == cpu_id());
		late = max(late, ordered[i].fired_ns - ordered[i].asked_ns);
	}
	EXPECT(t, late < LATE_MAX_NS);
	selftest_note(t, "at most %lu us late", late / 1000);
}

static struct {
	struct timer timer;
	u32 fired, inside; /* atomic */
	struct selftest *test;
} raced;

static void race_fired(struct timer *timer)
{
	(void)timer;
	EXPECT(raced.test, __atomic_fetch_add(&raced.inside, 1, __ATOMIC_SEQ_CST) == 0);
	__atomic_fetch_add(&raced.fired, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&raced.inside, 1, __ATOMIC_SEQ_CST);
}

/* All CPUs arm and cancel one timer: it moves between queues and never runs twice at once. */
static void race_worker(struct selftest_worker *w)
{
	for (u32 i = 0; i < RACE_ROUNDS; i++) {
		timer_arm(&raced.timer, clock_ns() + (i + w->index) % 4 * 10000);
		if (i % 3 == 0)
			thread_yield();
		if (i % 5 == 0)
			timer_cancel(&raced.timer);
	}
}

static void test_timer_race(struct selftest *t)
{
	u32 fired;

	raced.fired = raced.inside = 0;
	raced.test = t;
	timer_init(&raced.timer, race_fired);
	selftest_on_all(t, 2, race_worker, NULL);
	timer_cancel(&raced.timer);
	fired = __atomic_load_n(&raced.fired, __ATOMIC_SEQ_CST);
	thread_sleep_until(clock_ns() + 2 * NS_PER_MS);
	EXPECT(t, fired == __atomic_load_n(&raced.fired, __ATOMIC_SEQ_CST));
	selftest_note(t, "fired %u times", fired);
}

static struct {
	u32 count[CPU_MAX]; /* atomic */
	struct selftest *test;
} calls;

static void called(void *arg)
{
	EXPECT(calls.test, !irq_enabled());
	__atomic_fetch_add(&calls.count[cpu_id()], *(u32 *)arg, __ATOMIC_SEQ_CST);
}

static void call_worker(struct selftest_worker *w)
{
	struct cpu_set neighbour = {{0}};
	u32 one = 1;

	cpu_set_add(&neighbour, (w->cpu + 1) % cpu_count());
	for (u32 i = 0; i < CALL_ROUNDS; i++) {
		ipi_call_all(called, &one);
		ipi_call(&neighbour, called, &one);
	}
}

static void test_ipi_call(struct selftest *t)
{
	u32 workers = selftest_workers(2);

	memset(&calls, 0, sizeof(calls));
	calls.test = t;
	selftest_on_all(t, 2, call_worker, NULL);
	/* Everyone called everyone, and two have this CPU as their neighbour. */
	for (u32 id = 0; id < cpu_count(); id++)
		EXPECT(t, calls.count[id] == (workers + 2) * CALL_ROUNDS);
	selftest_note(t, "%u calls", workers * 2 * CALL_ROUNDS);
}

static void call_everyone(struct selftest *t)
{
	u32 one = 1;

	memset(&calls, 0, sizeof(calls));
	calls.test = t;
	ipi_call_all(called, &one);
	for (u32 id = 0; id < cpu_count(); id++)
		EXPECT(t, calls.count[id] == 1);
}

static void test_kick(struct selftest *t)
{
	u64 before = irq_count(VECTOR_KICK), end = clock_ns() + PATIENCE_NS;
	u32 kicks = 0;

	for (u32 id = 1; id < cpu_count(); id++) {
		for (u32 i = 0; i < KICK_ROUNDS; i++) {
			u64 seen = irq_count(VECTOR_KICK);

			ipi_kick(id);
			kicks++;
			while (irq_count(VECTOR_KICK) == seen && clock_ns() < end)
				cpu_relax();
		}
	}
	EXPECT(t, irq_count(VECTOR_KICK) >= before + kicks);
	selftest_note(t, "%u kicks", kicks);
}

/* The PIT's line is the one ISA interrupt that needs no device: channel 0, one shot. */
#define PIT_CHANNEL_0  0x40
#define PIT_COMMAND    0x43
#define PIT_MODE_0_CH0 0x30
#define PIT_SHORT      1193 /* 1 ms */

static u32 pit_fired; /* atomic */

static void pit_interrupt(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&pit_fired, 1, __ATOMIC_SEQ_CST);
}

static void test_isa(struct selftest *t)
{
	static bool registered;
	u64 end = clock_ns() + PATIENCE_NS;
	u32 before;

	if (!registered)
		registered = EXPECT(t, irq_register_isa(0, pit_interrupt, NULL) == 0);
	before = __atomic_load_n(&pit_fired, __ATOMIC_SEQ_CST);
	outb(PIT_COMMAND, PIT_MODE_0_CH0);
	outb(PIT_CHANNEL_0, PIT_SHORT & 0xff);
	outb(PIT_CHANNEL_0, PIT_SHORT >> 8);
	while (__atomic_load_n(&pit_fired, __ATOMIC_SEQ_CST) == before && clock_ns() < end)
		cpu_relax();
	EXPECT(t, __atomic_load_n(&pit_fired, __ATOMIC_SEQ_CST) == before + 1);
}

#define NOBODYS_APIC_ID 0xe7

/* A CPU that the MADT lists and that never answers is left out, and nothing else changes. */
static void test_dead_cpu(struct selftest *t)
{
	struct acpi_cpu *dead = &acpi_info.cpus[acpi_info.cpu_count];
	u32 before = cpu_count();

	/* Not where max_cpus= left some out on purpose, for those would come up now. */
	if (acpi_info.cpu_count != before || before == CPU_MAX) {
		selftest_skip(t, "not all CPUs are up");
		return;
	}
	*dead = (struct acpi_cpu){.apic_id = NOBODYS_APIC_ID};
	acpi_info.cpu_count++;
	cpu_start_others(0);
	acpi_info.cpu_count--;
	EXPECT(t, cpu_count() == before);
	call_everyone(t);
}

#define MSR_HYPERVISOR_RESERVED 0x40000000 /* SDM 4 2.1: no CPU will implement it */
#define MSR_VM_HSAVE_PA		0xc0010117
#define NOT_CANONICAL		0x0001000000000000ull

/*
 * Emulators let bad MSRs pass here and there: the accesses must all come back, and at least one
 * of them with the fault.
 */
static void test_msr(struct selftest *t)
{
	u64 efer = 0, value = 0;
	u32 faults = 0;

	EXPECT(t, rdmsr_safe(MSR_EFER, &efer) == 0 && efer == rdmsr(MSR_EFER));
	EXPECT(t, wrmsr_safe(MSR_EFER, efer) == 0);
	faults += rdmsr_safe(MSR_HYPERVISOR_RESERVED, &value) == ERR_FAULT;
	faults += wrmsr_safe(MSR_FS_BASE, NOT_CANONICAL) == ERR_FAULT;
	faults += wrmsr_safe(MSR_VM_HSAVE_PA, 1) == ERR_FAULT;
	wrmsr(MSR_FS_BASE, 0);
	EXPECT(t, faults > 0);
	selftest_note(t, "%u of 3 faulted", faults);
}

const struct selftest_case selftest_time[] = {
	{"clock", test_clock, false},
	{"timers", test_timers, false},
	{"timer-race", test_timer_race, false},
	{"ipi-call", test_ipi_call, false},
	{"kick", test_kick, false},
	{"isa-interrupt", test_isa, false},
	{"dead-cpu", test_dead_cpu, false},
	{"msr", test_msr, false},
	{NULL, NULL, false},
};
