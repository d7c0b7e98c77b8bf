/* SPDX-License-Identifier: MIT */
/*
 * Threads: own stack with a guard page, on the run queue of one CPU at a time (smp/runqueue.h), from
 * where they go to others of those they are allowed when these have less to do (smp/balance.c). The
 * LAPIC timer ends a time slice when more than one wants the CPU. An idle CPU halts.
 */
#ifndef SMP_THREAD_H
#define SMP_THREAD_H

#include "kernel/base/list.h"
#include "smp/cpu_set.h"
#include "smp/sched_group.h"
#include "smp/vtree.h"
#include "smp/wait.h"

enum thread_state {
	THREAD_NEW,
	THREAD_RUNNABLE,
	THREAD_RUNNING,
	THREAD_BLOCKED,
	THREAD_MOVING, /* runnable, on its way to the queue of another CPU */
	THREAD_PARKED, /* runnable, but for the cap of its group */
	THREAD_DEAD
};

#define THREAD_NAME_MAX 32
#define THREAD_ANY_CPU	(~0u)

struct thread {
	u64 rsp; /* saved stack pointer; switch.S knows the offset */
	char name[THREAD_NAME_MAX];
	/* atomic: whose run queue's lock guards what follows; changes under that lock */
	struct cpu *cpu;
	enum thread_state state; /* atomic */
	bool wake_pending;
	bool rested;		 /* it slept or was parked, or is new, until it is in a queue */
	u64 vruntime;		 /* ns at WEIGHT_DEFAULT; see runqueue.h */
	struct vnode queue_node; /* RUNNABLE */
	u32 queued_weight;	 /* what the queue counts it for; likewise */
	u64 woken_ns;		 /* when it became runnable; 0 once it has run */
	u64 wait_max_ns;	 /* atomic: the longest from there to the CPU */
	u64 run_ns;		 /* atomic: time on the CPU, up to: */
	u64 charged_ns;		 /* atomic */
	u64 since_ns;		 /* atomic: charged_ns - run_ns while it runs */
	u64 shared_ns;		 /* sched_group_shared then */
	bool resident;		 /* sched_leave is due before it runs elsewhere */
	struct list move_link;	 /* MOVING, until that is done; PARKED; and where to: */
	u32 target;
	s64 ahead; /* of the clock of the queue it was taken from */
	/* atomic: its stack is in use, or its registers are not saved yet: no other CPU takes it */
	bool on_cpu;
	/* set at creation */
	struct cpu_set allowed;
	struct sched_group *group; /* or NULL, and then: */
	u32 weight;
	u32 number; /* for the trace: which of those of its name, from 1; 0: it is alone */
	s32 lifted; /* atomic: what it counts for besides; below 0 it is lowered first, for a moment */
	/* cpu's queue; see thread_hurry. Of a group's threads only */
	s32 hurried;	/* atomic: how many wait for it; below 0 for a moment, likewise */
	u64 hurry_ns;	/* what it may put off for them, in time of its own */
	s64 hurry_most; /* the same in virtual time, at the least part that it has had since */
	s64 put_off;	/* virtual time that it owes besides what vruntime says */
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
	u32 makes_memory;	       /* > 0: it may have the last frames (mem/frame.h) */
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

struct thread_options {
	struct cpu_set allowed;	   /* CPUs that it may run on; one that is online at least */
	struct sched_group *group; /* or NULL, and then: */
	u32 weight;		   /* WEIGHT_MIN to WEIGHT_MAX */
	u32 number;		   /* likewise */
};

/*
 * Makes a thread and starts it. Thread context. ERR_NOMEM; ERR_RANGE: no CPU that is online.
 * thread_join waits for its end and frees it; every thread is joined or detached.
 */
int thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
		       const struct thread_options *options);
/* The same at WEIGHT_DEFAULT; cpu: the id of the only one that it runs on, or THREAD_ANY_CPU. */
int thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg, u32 cpu);
void thread_join(struct thread *t);
void thread_detach(struct thread *t); /* freed by itself at its end */
void __noreturn thread_exit(void);

struct thread *thread_current(void);
/*
 * The caller holds nothing that anyone waits for: if its group has used up its cap, it waits here for
 * the next period. Who has a cap comes by here often. Thread context, interrupts on.
 */
void thread_may_park(void);
void thread_yield(void); /* lets another run, if one wants to */
/*
 * The same, and that is t if it waits for this CPU: before its turn, but not by more than a slice's
 * worth of its time, which it has used up then like any other. One that waits for another CPU, and has
 * for long, comes to this one if it may; at once, unless that CPU holds something of it still. t is
 * not freed meanwhile.
 */
void thread_yield_to(struct thread *t);
/*
 * The calling thread counts for less than WEIGHT_SLOW in its group, and others wait for its CPU: it may
 * be without one for long, and is not to begin what others may have to wait for. Any context.
 */
bool thread_is_slow(void);
/* It waits for this CPU, or for another, or did a moment ago. Thread context. */
bool thread_waits_here(const struct thread *t);
bool thread_waits_elsewhere(const struct thread *t);
void thread_preempt(void); /* a resched is due, preemption and interrupts are on */

/* Sleeps until thread_wake. A wake that comes first is remembered, never lost. Thread context. */
void thread_block(void);
bool thread_block_until(u64 deadline_ns); /* false: the deadline passed */
/* Any context. Harmless on a running thread. The thread must not have been freed. */
void thread_wake(struct thread *t);
void thread_sleep_until(u64 deadline_ns);

/*
 * t, a thread of Weir's own, counts for so much more, until it is lowered by as much: somebody waits for
 * what it does. It comes forward in its queue at once. Any context, under any lock below LOCK_RUNQUEUE;
 * t has not been freed. A thread of a group has its part of the group's weight, whoever waits for it.
 */
void thread_lift(struct thread *t, u32 by);
void thread_lower(struct thread *t, u32 by);
/*
 * Lends t what the calling thread counts for, which is going to sleep until t has done something; of a
 * group's weight no more than its part if all its threads ran, so that many that lend in turn lend no more
 * than the weight. How much; thread_lower takes it back.
 */
u32 thread_lend(struct thread *t);

/* How much of what a thread owes it may put off. */
enum hurry {
	HURRY_A_WHILE,	  /* SCHED_HURRY_NS: a guest may bring it about, as often as it likes */
	HURRY_UNTIL_DONE, /* all: the operator waits for it */
};

/*
 * t, a thread of a group, is waited for by others, until thread_hurry_no_more is called as often. It counts
 * for no more than its part, and pays for all that it runs, but what it owes already, and comes to owe, it
 * puts off: it waits for no more than a slice of each other thread here, and no cap parks it. Afterwards it
 * is where it would be had it not been hurried, so over time nobody has more by it. Only while it is in
 * Weir, or on its way there out of the guest. Any context, under any lock below LOCK_RUNQUEUE; t has not
 * been freed. Weir's own threads are lifted instead: nothing is done for them.
 */
void thread_hurry(struct thread *t, enum hurry how);
void thread_hurry_no_more(struct thread *t);

struct stat_group;
extern struct stat_group sched_stat_group; /* see sched.h */

/* Time on the CPU so far, in ns. Any context; approximate for a thread of another CPU. */
u64 thread_run_ns(const struct thread *t);

/* The longest that it waited between a wake-up and the CPU, in ns (smp/runqueue.h). Any context. */
u64 thread_wait_max_ns(const struct thread *t);

/*
 * For threads that have nothing to do while no vCPU runs, the threads of groups (smp/sched_rest.c). Such
 * a one takes a number of thread_group_turns at a time of its own, and asks later whether none of them
 * runs, or has run since then. true: as soon as one runs again `ends` is called, once for all who asked,
 * with interrupts off and no lock held, and may wake threads; it is also called where the answer was
 * false. Thread context; LOCK_RUNQUEUE. thread_rest_init: once, before both.
 */
void thread_rest_init(void (*ends)(void));
u64 thread_group_turns(void);
bool thread_groups_rest(u64 turns);

/* Threads that are at a CPU now, asleep or not, its idle thread not counted. */
u32 thread_count(u32 cpu);

/* From the interrupt exit path: switches if need_resched and preemption is on. */
void thread_preempt_from_interrupt(void);

/* smp/ only. */
void thread_kicked(void); /* the kick arrived: look at the queue */
/* Did an access to addr, with this stack pointer, run off the current thread's stack? */
bool thread_guard_page_hit(u64 addr, u64 rsp);
int thread_prepare_idle(u32 cpu, u64 *top); /* stack a CPU comes up on, its idle thread's */
void __noreturn thread_idle(void);	    /* the idle thread's loop */

#endif
