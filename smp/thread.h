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

enum thread_state {
	THREAD_NEW,
	THREAD_RUNNABLE,
	THREAD_RUNNING,
	THREAD_BLOCKED,
	THREAD_DEAD
};

#define THREAD_NAME_MAX 24
#define THREAD_ANY_CPU	(~0u) /* the CPU with the fewest threads */
#define THREAD_SLICE_NS 10000000ull

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
	u8 *stack; /* lowest byte; the guard page is below. NULL: the boot stack */
	/*
	 * Called on this thread's CPU with interrupts off whenever it is switched out and in, for a
	 * higher floor to keep machine state (VMCS, XSAVE) with the thread. No lock may be taken in
	 * them that interrupts do not take too. May be NULL; set by the thread itself.
	 */
	void (*sched_out)(struct thread *t);
	void (*sched_in)(struct thread *t);
	/*
	 * What sched_out leaves in the CPU: called there, with interrupts off and in whatever context,
	 * while the thread runs nowhere and before it runs elsewhere. NULL: nothing.
	 */
	void (*sched_leave)(struct thread *t);
	void *sched_data;
	/* own */
	u64 run_ns; /* time on the CPU, updated at each switch */
	u64 switched_in_ns;
	struct lock_stack sleep_locks; /* debug: sleeping locks held */
	/* exit_wait.lock */
	struct wait_queue exit_wait;
	bool exited; /* off its stack for good */
	bool detached;
	struct list zombie_link; /* reaper's lock */
};

/*
 * The scheduler and the current CPU's idle thread. Once per CPU, before interrupts are on. On the
 * boot CPU what runs now becomes the thread "main"; elsewhere it becomes the idle thread.
 */
void thread_init_cpu(void);

/*
 * Makes a thread and starts it. Thread context. ERR_NOMEM. cpu: an id or THREAD_ANY_CPU; ERR_RANGE.
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

/* Time on the CPU so far, in ns. Any context; approximate for a thread of another CPU. */
u64 thread_run_ns(const struct thread *t);

/* Threads that live on a CPU, its idle thread not counted. */
u32 thread_count(u32 cpu);

/* From the interrupt exit path: switches if need_resched and preemption is on. */
void thread_preempt_from_interrupt(void);

/* smp/ only. */
void thread_preempt(void); /* a resched is due, preemption and interrupts are on */
void thread_kicked(void);  /* the kick arrived: look at the queue */
/* Did an access to addr, with this stack pointer, run off the current thread's stack? */
bool thread_guard_page_hit(u64 addr, u64 rsp);
int thread_prepare_idle(u32 cpu, u64 *top); /* stack a CPU comes up on, its idle thread's */
void __noreturn thread_idle(void);	    /* the idle thread's loop */

#endif
