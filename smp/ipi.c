/* SPDX-License-Identifier: MIT */
/* Calls on other CPUs, kicks, and the NMI that ends them. */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/ipi.h"
#include "smp/ipi_private.h"
#include "smp/irq.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define ANSWER_PATIENCE_NS 60000000000ull
/* Between two looks; more is none of the other's doing: the machine stood still. */
#define BETWEEN_LOOKS_NS 1000000000ull
#define NOBODY		 (~0u)
#ifndef STOP_POLLS
#define STOP_POLLS 10000000
#endif

/* Only ever waited for with interrupts on: who waits must answer the calls of others. */
static struct spinlock call_lock = SPINLOCK_INIT("IPI call", LOCK_IPI);

/* call_lock; read by those that are called between their flag's rise and fall */
static struct {
	void (*fn)(void *);
	void *arg;
} call;

/* atomic: set by the caller, cleared by the CPU when it is done */
static struct {
	u32 flag;
} __aligned(64) called[CPU_MAX];

static u32 stopper = NOBODY;  /* atomic: the CPU that panics */
static bool stopped[CPU_MAX]; /* atomic: it has halted for that */

static void call_interrupt(void *arg)
{
	u32 *flag = &called[cpu_id()].flag;

	(void)arg;
	if (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		return;
	call.fn(call.arg);
	__atomic_store_n(flag, 0, __ATOMIC_RELEASE);
}

static void kick_interrupt(void *arg)
{
	(void)arg;
	thread_kicked();
}

static void wait_for(u32 id)
{
	u64 last = clock_ns(), waited = 0;

	while (__atomic_load_n(&called[id].flag, __ATOMIC_ACQUIRE)) {
		u64 now = clock_ns();

		waited += min(now - last, BETWEEN_LOOKS_NS);
		last = now;
		if (waited > ANSWER_PATIENCE_NS)
			panic("CPU %u does not answer a call from CPU %u", id, cpu_id());
		cpu_relax();
	}
}

/* Preemption off. */
static void call_others(const struct cpu_set *cpus, void (*fn)(void *), void *arg)
{
	u32 me = cpu_id(), n = cpu_count();

	if (n == 1)
		return;
	ASSERT(irq_enabled() && !in_interrupt());
	spin_lock(&call_lock);
	call.fn = fn;
	call.arg = arg;
	for (u32 id = 0; id < n; id++) {
		if (id == me || !cpu_set_has(cpus, id))
			continue;
		__atomic_store_n(&called[id].flag, 1, __ATOMIC_RELEASE);
		apic_send_ipi(cpu_get(id)->apic_id, VECTOR_IPI_CALL);
	}
	for (u32 id = 0; id < n; id++) {
		if (id != me && cpu_set_has(cpus, id))
			wait_for(id);
	}
	spin_unlock(&call_lock);
}

void ipi_call(const struct cpu_set *cpus, void (*fn)(void *), void *arg)
{
	bool on;

	/* Who waits for a lock of ours with interrupts off would never answer. */
	lock_order_may_sleep("ipi_call");
	preempt_disable();
	call_others(cpus, fn, arg);
	if (cpu_set_has(cpus, cpu_id())) {
		on = irq_save();
		fn(arg);
		irq_restore(on);
	}
	preempt_enable();
}

void ipi_call_all(void (*fn)(void *), void *arg)
{
	struct cpu_set all = {{0}};

	for (u32 id = 0; id < cpu_count(); id++)
		cpu_set_add(&all, id);
	ipi_call(&all, fn, arg);
}

void ipi_kick(u32 cpu)
{
	apic_send_ipi(cpu_get(cpu)->apic_id, VECTOR_KICK);
}

void ipi_notify(u32 cpu)
{
	apic_send_ipi(cpu_get(cpu)->apic_id, VECTOR_POSTED);
}

bool ipi_stopping(void)
{
	u32 who = __atomic_load_n(&stopper, __ATOMIC_ACQUIRE);

	if (who == NOBODY || who == cpu_id())
		return false;
	__atomic_store_n(&stopped[cpu_id()], true, __ATOMIC_RELEASE);
	return true;
}

static void count_stopped(struct panic_others *others)
{
	*others = (struct panic_others){.silent = NOBODY};
	for (u32 id = 0; id < cpu_count(); id++) {
		if (id == cpu_id())
			continue;
		others->count++;
		if (__atomic_load_n(&stopped[id], __ATOMIC_ACQUIRE))
			others->halted++;
		else if (others->silent == NOBODY)
			others->silent = id;
	}
}

void ipi_stop_others(struct panic_others *others)
{
	u32 me = cpu_id(), expected = NOBODY, n = cpu_count();

	count_stopped(others);
	if (!apic_ready() || n == 1)
		return;
	if (!__atomic_compare_exchange_n(&stopper, &expected, me, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return;
	for (u32 id = 0; id < n; id++) {
		if (id != me)
			apic_send_nmi(cpu_get(id)->apic_id);
	}
	/* Bounded: one that does not stop must not keep the panic from being told. */
	for (u32 id = 0, polls = 0; id < n; id++) {
		while (id != me && polls < STOP_POLLS &&
		       !__atomic_load_n(&stopped[id], __ATOMIC_ACQUIRE)) {
			cpu_relax();
			polls++;
		}
	}
	count_stopped(others);
}

void ipi_init(void)
{
	irq_set_handler(VECTOR_IPI_CALL, call_interrupt, NULL);
	irq_set_handler(VECTOR_KICK, kick_interrupt, NULL);
}
