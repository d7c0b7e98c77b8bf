/* SPDX-License-Identifier: MIT */
/*
 * Threads: own stack with a guard page, pinned to one CPU, round-robin on its run queue,
 * preempted by the LAPIC timer when more than one is runnable. An idle CPU halts.
 */
#ifndef SMP_THREAD_H
#define SMP_THREAD_H

#include "kernel/base/list.h"
#include "smp/cpu.h"
#include "smp/wait.h"

enum thread_state { THREAD_NEW, THREAD_RUNNABLE, THREAD_RUNNING, THREAD_BLOCKED, THREAD_DEAD };

#define THREAD_NAME_MAX	 24
#define THREAD_ANY_CPU	 (~0u) /* the CPU with the fewest threads */
#define THREAD_LOCKS_MAX 16

struct thread {
	u64 rsp; /* saved stack pointer; switch.S knows the offset */
	char name[THREAD_NAME_MAX];
	struct cpu *cpu;
	/* run queue lock */
	enum thread_state state;
	struct list run_link;
	bool wake_pending;
	/* set before it first runs */
	void (*fn)(void *arg);
	void *arg;
	u8 *stack; /* lowest byte; the guard page is below */
	/*
	 * Called on this thread's CPU with interrupts off whenever it is switched out and in, for a
	 * higher floor to keep machine state (VMCS, XSAVE) with the thread. May be NULL.
	 */
	void (*sched_out)(struct thread *t);
	void (*sched_in)(struct thread *t);
	void *sched_data;
	/* own */
	u64 run_ns; /* time on the CPU, updated at each switch */
	u64 switched_in_ns;
	u8 held_levels[THREAD_LOCKS_MAX]; /* debug: sleeping locks held */
	u32 held_count;
	struct wait_queue exit_wait;
	bool exited;
};

/* The scheduler and the current CPU's idle thread. Once per CPU, before interrupts are on. */
void thread_init_cpu(void);

/*
 * Makes a thread and starts it. Thread context. ERR_NOMEM. cpu: an id or THREAD_ANY_CPU.
 * thread_join waits for its end and frees it; every thread is joined or detached.
 */
int thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg, u32 cpu);
void thread_join(struct thread *t);
void thread_detach(struct thread *t); /* freed by itself at its end */
void __noreturn thread_exit(void);

struct thread *thread_current(void);
void thread_yield(void);

/* Sleeps until thread_wake. A wake that comes first is remembered, never lost. Thread context. */
void thread_block(void);
bool thread_block_until(u64 deadline_ns); /* false: the deadline passed */
/* Any context. Harmless on a running thread. The thread must not have been freed. */
void thread_wake(struct thread *t);
void thread_sleep_until(u64 deadline_ns);

/* From the interrupt exit path: switches if need_resched and preemption is on. */
void thread_preempt_from_interrupt(void);

#endif
