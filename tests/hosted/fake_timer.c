/* SPDX-License-Identifier: MIT */
/* Timers that fire when a test says so. See fake_timer.h. */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "tests/hosted/fake_timer.h"
#include "tests/hosted/hosted.h"

#define ARMED_MAX 1024u

static struct timer *armed[ARMED_MAX]; /* by deadline */
static u32 armed_count;

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	t->fn = fn;
	t->pending = false;
	t->running = false;
}

static void forget(const struct timer *t)
{
	u32 kept = 0;

	for (u32 i = 0; i < armed_count; i++) {
		if (armed[i] != t)
			armed[kept++] = armed[i];
	}
	armed_count = kept;
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
	u32 at;

	forget(t);
	BUG_ON(armed_count == ARMED_MAX);
	t->deadline_ns = deadline_ns;
	t->pending = true;
	for (at = armed_count++; at && armed[at - 1]->deadline_ns > deadline_ns; at--)
		armed[at] = armed[at - 1];
	armed[at] = t;
}

u64 hosted_timers_next(void)
{
	return armed_count ? armed[0]->deadline_ns : ~0ull;
}

static void fire(struct timer *t)
{
	struct lock_stack *locks = &this_cpu()->spin_locks;
	u32 base = locks->base;
	bool on = irq_save();

	/* As smp/interrupt.c: with an empty hand. */
	locks->base = locks->count;
	this_cpu()->interrupt_nest++;
	forget(t);
	t->pending = false;
	t->running = true;
	t->fn(t);
	t->running = false;
	BUG_ON(locks->count != locks->base);
	this_cpu()->interrupt_nest--;
	locks->base = base;
	irq_restore(on);
}

/*
 * Waits on the target, so holding a lock that the function takes would deadlock there. What was
 * armed fires now, as if another CPU had just taken it: one that arms itself again stays behind.
 */
void timer_cancel(struct timer *t)
{
	BUG_ON(t->running);
	BUG_ON(hosted_locks_held());
	if (t->pending)
		fire(t);
}

u32 hosted_timers_run(u64 until_ns)
{
	u32 fired = 0;

	while (hosted_timers_next() <= until_ns) {
		if (hosted_timers_next() > clock_ns())
			hosted_clock_set(hosted_timers_next());
		fire(armed[0]);
		fired++;
	}
	hosted_clock_set(until_ns);
	return fired;
}

void hosted_timers_forget(void)
{
	armed_count = 0;
}
