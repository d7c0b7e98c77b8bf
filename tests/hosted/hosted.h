/* SPDX-License-Identifier: MIT */
/*
 * The fake machine under the hosted tests: physical memory as one block of this process, a log,
 * panics that a test may expect, allocations that fail on order, threads, and the machine's
 * instructions (include/kernel/base/x86.h). Everything is per thread where the real thing is per
 * CPU. Locks, wait queues, RCU and SRCU above it are those of smp/.
 */
#ifndef TESTS_HOSTED_HOSTED_H
#define TESTS_HOSTED_HOSTED_H

#include "kernel/base/addr.h"

/*
 * Physical memory from hpa 0 to size (bytes), all zero, aligned to 2 MiB; host pages are taken
 * when touched. Calling it again throws the old memory away.
 */
void hosted_arena_init(u64 size);

/*
 * Runs fn(arg) and returns whether it panicked; the panic's text is then hosted_panic_text().
 * The stack above is cut off as by longjmp: locks stay held, memory stays allocated.
 * A panic that nobody expects prints its text and aborts.
 */
bool hosted_catch_panic(void (*fn)(void *arg), void *arg);
const char *hosted_panic_text(void);

/*
 * Allocation number n from now on (1 is the next) fails, once; 0: none fails. The allocators in
 * mem/ ask hosted_should_fail() at each allocation. hosted_fail_happened says whether it was
 * reached: for (n = 1;; n++) { hosted_fail_after(n); scenario; if (!hosted_fail_happened()) break; }
 */
void hosted_fail_after(u32 n);
/* One allocation in n fails, as the seed has it, until told otherwise; 0: none does. */
void hosted_fail_often(u32 n, u64 seed);
bool hosted_fail_happened(void);
bool hosted_should_fail(void);

/*
 * What this thread is as a CPU: ids are given out as threads ask, or set here. Threads that read
 * under RCU at the same time need an id each.
 */
void hosted_cpu_set(u32 id);

/*
 * Locks this thread holds, SRCU readers among them; and a fresh start for a thread that a caught
 * panic left holding some: preemption and interrupts on.
 */
u32 hosted_locks_held(void);
void hosted_locks_forget(void);

/* In how many seconds from its start the program is ended (WEIR_DEADLINE). */
u64 hosted_deadline(void);

/*
 * Waits for what another thread does. Where that has not come when the program is about to be ended
 * it ends itself, and says which line waited for what.
 */
#define hosted_wait_until(condition) \
	do {                         \
	} while (!(condition) && hosted_wait_a_moment(__FILE__, __LINE__, #condition))
bool hosted_wait_a_moment(const char *file, u32 line, const char *condition);

/* From now on clock_ns() answers this; or real time again. */
void hosted_clock_set(u64 ns);
void hosted_clock_free(void);

/* How often ipi_kick was called; whether a CPU was kicked and has not taken it since. */
u32 hosted_ipi_kicks(void);
bool hosted_kick_pending(u32 cpu);
void hosted_kick_take(u32 cpu);

/* Whether ipi_notify's interrupt has come to this CPU; it is taken. */
bool hosted_notified(u32 cpu);

/* The last line logged by any thread, and how many lines of each level there were. */
const char *hosted_log_last(void);
u32 hosted_log_count(int level);
void hosted_log_reset(void);

#endif
