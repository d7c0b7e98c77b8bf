/* SPDX-License-Identifier: MIT */
/* Threads on the CPU: switching, sleeping and waking, time slices, the idle thread. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/base/trace.h"
#include "kernel/base/x86.h"
#include "smp/cpu_private.h"
#include "smp/ipi.h"
#include "smp/runqueue.h"
#include "smp/thread_private.h"
#include "smp/timer.h"

/*
 * A thread never leaves its CPU, so the queue's lock need not be held across a switch: only this
 * CPU takes threads from its queue, and interrupts are off.
 */
struct scheduler {
	struct runqueue rq;
	struct thread idle;
	struct timer slice;
	struct thread *previous; /* who was switched out, for who is switched in */
	u32 threads;		 /* atomic */
} __aligned(64);

static struct scheduler schedulers[CPU_MAX];
static struct thread main_thread;

void thread_switch(u64 *save_rsp, u64 load_rsp);
void thread_entry(void);
void __noreturn thread_first_run(void);

static struct scheduler *scheduler_of(const struct cpu *cpu)
{
	return &schedulers[cpu->id];
}

struct thread *thread_current(void)
{
	return THIS_CPU(current);
}

bool thread_guard_page_hit(u64 addr, u64 rsp)
{
	const struct thread *t = this_cpu()->current;
	u64 low;

	if (!t)
		return false;
	/* Where main's stack ends only boot/ knows, but what is mapped around RSP is the stack. */
	if (!t->stack)
		return addr + PAGE_SIZE > rsp && addr < rsp + PAGE_SIZE;
	low = (u64)t->stack;
	return addr < low && addr >= low - PAGE_SIZE;
}

/* Interrupts off. The slice runs only while someone waits for its end. */
static void start_slice(struct scheduler *s)
{
	if (READ_ONCE(s->rq.queued) && s->rq.idle != this_cpu()->current)
		timer_arm(&s->slice, clock_ns() + THREAD_SLICE_NS);
}

static void slice_ended(struct timer *timer)
{
	struct scheduler *s = container_of(timer, struct scheduler, slice);

	if (READ_ONCE(s->rq.queued))
		WRITE_ONCE(this_cpu()->need_resched, true);
}

/* The first thing after a switch, on the new stack, interrupts off. */
static void finish_switch(void)
{
	struct scheduler *s = scheduler_of(this_cpu());
	struct thread *t = this_cpu()->current;

	if (s->previous->state == THREAD_DEAD) {
		__atomic_fetch_sub(&s->threads, 1, __ATOMIC_RELAXED);
		thread_bury(s->previous);
	}
	s->previous = NULL;
	if (t->sched_in)
		t->sched_in(t);
}

static void switch_to(struct scheduler *s, struct thread *prev, struct thread *next)
{
	u64 now = clock_ns();

	if (prev->sched_out)
		prev->sched_out(prev);
	prev->run_ns += now - prev->switched_in_ns;
	next->switched_in_ns = now;
	TRACE(TRACE_SWITCH, 0, 0, 0, next->name);
	s->previous = prev;
	this_cpu()->current = next;
	thread_switch(&prev->rsp, next->rsp);
	finish_switch();
}

enum schedule_why {
	SCHEDULE_YIELD,
	SCHEDULE_BLOCK,
	SCHEDULE_EXIT,
};

/* Interrupts off, preemption on, no spin lock. Returns when the caller runs again. */
static void schedule(enum schedule_why why)
{
	struct cpu *cpu = this_cpu();
	struct scheduler *s = scheduler_of(cpu);
	struct thread *prev = cpu->current, *next = prev;

	ASSERT(!irq_enabled() && cpu->preempt_off == 0 && cpu->interrupt_nest == 0);
	spin_lock(&s->rq.lock);
	WRITE_ONCE(cpu->need_resched, false);
	if (why == SCHEDULE_EXIT)
		prev->state = THREAD_DEAD;
	if (why != SCHEDULE_BLOCK || runqueue_block(&s->rq, prev))
		next = runqueue_next(&s->rq, prev);
	spin_unlock(&s->rq.lock);
	if (next != prev)
		switch_to(s, prev, next);
	start_slice(s);
}

void thread_yield(void)
{
	bool on = irq_save();

	schedule(SCHEDULE_YIELD);
	irq_restore(on);
}

void thread_preempt(void)
{
	thread_yield();
}

void thread_preempt_from_interrupt(void)
{
	schedule(SCHEDULE_YIELD);
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

/* On the CPU itself, interrupts off: someone was put into an empty queue. */
void thread_kicked(void)
{
	struct cpu *cpu = this_cpu();
	struct scheduler *s = scheduler_of(cpu);

	if (!READ_ONCE(s->rq.queued))
		return;
	if (cpu->current == s->rq.idle)
		WRITE_ONCE(cpu->need_resched, true);
	else
		start_slice(s);
}

void thread_wake(struct thread *t)
{
	struct cpu *cpu = t->cpu;
	struct scheduler *s = scheduler_of(cpu);
	bool tell, on = irq_save();

	spin_lock(&s->rq.lock);
	tell = runqueue_wake(&s->rq, t);
	spin_unlock(&s->rq.lock);
	/* From here on t may have run, ended and been freed. */
	if (tell && cpu == this_cpu())
		thread_kicked();
	else if (tell)
		ipi_kick(cpu->id);
	irq_restore(on);
}

/* thread_entry calls it, on the new thread's stack with interrupts off. */
void thread_first_run(void)
{
	struct thread *t = thread_current();

	finish_switch();
	start_slice(scheduler_of(t->cpu));
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
	u64 run = READ_ONCE(t->run_ns);

	if (READ_ONCE(t->state) == THREAD_RUNNING)
		run += clock_ns() - READ_ONCE(t->switched_in_ns);
	return run;
}

/* STI lets an interrupt in only once HLT has begun, so a wake after the look is not slept over. */
void thread_idle(void)
{
	struct scheduler *s = scheduler_of(this_cpu());

	for (;;) {
		irq_disable();
		if (READ_ONCE(s->rq.queued)) {
			schedule(SCHEDULE_YIELD);
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
	struct thread *idle = &schedulers[cpu].idle;

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

void thread_init_cpu(void)
{
	struct cpu *cpu = this_cpu();
	struct scheduler *s = scheduler_of(cpu);
	struct thread *current = &s->idle;
	u64 top;

	runqueue_init(&s->rq, &s->idle);
	timer_init(&s->slice, slice_ended);
	if (cpu->id == 0) {
		if (thread_prepare_idle(0, &top))
			panic("no memory for the boot CPU's idle thread");
		thread_set_first_frame(&s->idle);
		s->idle.state = THREAD_RUNNABLE;
		current = &main_thread;
		strlcpy(current->name, "main", sizeof(current->name));
		current->cpu = cpu;
		wait_queue_init(&current->exit_wait);
		s->threads = 1;
	}
	current->state = THREAD_RUNNING;
	current->switched_in_ns = clock_ns();
	cpu->current = current;
	if (cpu->id == 0)
		thread_reaper_init();
}
