/* SPDX-License-Identifier: MIT */
/* smp/thread.h for the jobs of schedule.h: enough for the real smp/wait.c and what is over it. */
#include "smp/thread.h"
#include "tests/hosted/schedule.h"

struct thread *thread_current(void)
{
	return hosted_thread_self();
}

void thread_block(void)
{
	hosted_thread_block(~0ull);
}

bool thread_block_until(u64 deadline_ns)
{
	return hosted_thread_block(deadline_ns);
}

void thread_wake(struct thread *t)
{
	hosted_thread_wake(t);
}

void thread_yield(void)
{
	hosted_relax();
}
