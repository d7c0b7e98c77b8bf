/* SPDX-License-Identifier: MIT */
/* Threads on the CPU: switching, sleeping and waking, the idle thread. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/base/trace.h"
#include "kernel/base/x86.h"
#include "smp/cpu_private.h"
#include "smp/sched.h"
#include "smp/thread_private.h"

static struct thread idle_threads[CPU_MAX];
static struct thread main_thread;

void thread_switch(u64 *save_rsp, u64 load_rsp);
void thread_entry(void);
void __noreturn thread_first_run(void);

struct thread *thread_current(void)
{
	return THIS_CPU(current);
}

bool thread_guard_page_hit(u64 addr, u64 rsp)
{
	const struct thread *t = thread_current();
	u64 low;

	if (!t)
		return false;
	/* Where main's stack ends only boot/ knows, but what is mapped around RSP is the stack. */
	if (!t->stack)
		return addr + PAGE_SIZE > rsp && addr < rsp + PAGE_SIZE;
	low = (u64)t->stack;
	return addr < low && addr >= low - PAGE_SIZE;
}

/* The first thing after a switch, on the new stack, interrupts off. */
static void finish_switch(void)
{
	struct thread *t = thread_current(), *dead = sched_switched();

	if (dead)
		thread_bury(dead);
	if (t->sched_in)
		t->sched_in(t);
}

static void switch_to(struct thread *prev, struct thread *next)
{
	if (prev->sched_out)
		prev->sched_out(prev);
	TRACE(TRACE_SWITCH, 0, 0, 0, next->name, next->number);
	this_cpu()->current = next;
	thread_switch(&prev->rsp, next->rsp);
	/* Perhaps on another CPU. */
	finish_switch();
}

/* Interrupts off, preemption on, no spin lock. Returns when the caller runs again. */
static void schedule(enum schedule_why why)
{
	struct thread *prev = thread_current(), *next;

	ASSERT(!irq_enabled() && this_cpu()->preempt_off == 0 && !in_interrupt());
	next = sched_next(prev, why);
	if (next != prev)
		switch_to(prev, next);
	sched_start_slice();
}

void thread_yield(void)
{
	bool on = irq_save();

	schedule(SCHEDULE_YIELD);
	irq_restore(on);
}

void thread_yield_to(struct thread *t)
{
	bool on = irq_save();

	sched_want(t);
	schedule(SCHEDULE_YIELD);
	irq_restore(on);
}

bool thread_waits_here(const struct thread *t)
{
	return PEEK(t->state) == THREAD_RUNNABLE && PEEK(t->cpu) == this_cpu();
}

bool thread_waits_elsewhere(const struct thread *t)
{
	return PEEK(t->state) == THREAD_RUNNABLE && PEEK(t->cpu) != this_cpu();
}

void thread_preempt(void)
{
	bool on = irq_save();

	schedule(SCHEDULE_PREEMPT);
	irq_restore(on);
}

void thread_preempt_from_interrupt(void)
{
	schedule(SCHEDULE_PREEMPT);
}

void thread_may_park(void)
{
	struct thread *t = thread_current();
	bool on;

	if (!t->group || !sched_group_throttled(t->group))
		return;
	lock_order_may_sleep("thread_may_park");
	on = irq_save();
	schedule(SCHEDULE_PARK);
	irq_restore(on);
}

void thread_block(void)
{
	lock_order_may_sleep("thread_block");
	irq_disable();
	schedule(SCHEDULE_BLOCK);
	irq_enable();
}

void thread_exit(void)
{
	struct thread *t = thread_current();

	if (t->sleep_locks.count)
		panic("thread %s ends holding %s", t->name, t->sleep_locks.held[0].name);
	BUG_ON(t == &main_thread);
	lock_order_may_sleep("thread_exit");
	irq_disable();
	schedule(SCHEDULE_EXIT);
	panic("thread %s runs after its end", t->name);
}

void thread_kicked(void)
{
	sched_kicked();
}

void thread_wake(struct thread *t)
{
	bool on = irq_save();

	sched_wake(t);
	thread_restore_and_preempt(on);
}

/* thread_entry calls it, on the new thread's stack with interrupts off. */
void thread_first_run(void)
{
	struct thread *t = thread_current();

	finish_switch();
	sched_start_slice();
	irq_enable();
	t->fn(t->arg);
	thread_exit();
}

/* What thread_switch pops: six registers and the way to thread_entry. */
void thread_set_first_frame(struct thread *t)
{
	u64 *sp = (u64 *)(t->stack + STACK_SIZE);

	*--sp = 0; /* keeps thread_entry's frame aligned as after a call */
	*--sp = (u64)thread_entry;
	for (u32 i = 0; i < 6; i++)
		*--sp = 0;
	t->rsp = (u64)sp;
}

void thread_start(struct thread *t)
{
	__atomic_fetch_add(&scheduler_of(t->cpu)->threads, 1, __ATOMIC_RELAXED);
	thread_wake(t);
}

u32 thread_count(u32 cpu)
{
	return __atomic_load_n(&schedulers[cpu].threads, __ATOMIC_RELAXED);
}

u64 thread_run_ns(const struct thread *t)
{
	return runqueue_run_ns(t, clock_ns());
}

u64 thread_wait_max_ns(const struct thread *t)
{
	return __atomic_load_n(&t->wait_max_ns, __ATOMIC_RELAXED);
}

/* STI lets an interrupt in only once HLT has begun, so a wake after the look is not slept over. */
void thread_idle(void)
{
	for (;;) {
		irq_disable();
		if (sched_has_work()) {
			schedule(SCHEDULE_PREEMPT);
			irq_enable();
		} else {
			irq_enable_and_halt();
		}
	}
}

static void idle_fn(void *arg)
{
	(void)arg;
	thread_idle();
}

int thread_prepare_idle(u32 cpu, u64 *top)
{
	struct thread *idle = &idle_threads[cpu];

	if (!idle->stack)
		idle->stack = smp_hooks_get()->stack_alloc(STACK_PAGES);
	if (!idle->stack)
		return ERR_NOMEM;
	snprintf(idle->name, sizeof(idle->name), "idle%u", cpu);
	idle->cpu = cpu_slot(cpu);
	idle->fn = idle_fn;
	wait_queue_init(&idle->exit_wait);
	*top = (u64)idle->stack + STACK_SIZE;
	return 0;
}

static void init_main(struct cpu *cpu)
{
	strlcpy(main_thread.name, "main", sizeof(main_thread.name));
	main_thread.cpu = cpu;
	cpu_set_add(&main_thread.allowed, cpu->id);
	wait_queue_init(&main_thread.exit_wait);
	schedulers[cpu->id].threads = 1;
}

void thread_init_cpu(void)
{
	struct cpu *cpu = this_cpu();
	struct thread *idle = &idle_threads[cpu->id], *current = idle;
	u64 top;

	if (cpu->id == 0) {
		if (thread_prepare_idle(0, &top))
			panic("no memory for the boot CPU's idle thread");
		thread_set_first_frame(idle);
		init_main(cpu);
		current = &main_thread;
	}
	sched_init_cpu(idle, current);
	cpu->current = current;
	if (cpu->id == 0)
		thread_reaper_init();
}
