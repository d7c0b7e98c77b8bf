/* SPDX-License-Identifier: MIT */
/* Timers that fire when a test says so. See fake_timer.h. */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "tests/hosted/fake_timer.h"
#include "tests/hosted/hosted.h"

static struct list queue = LIST_INIT(queue); /* by deadline */

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	list_init(&t->link);
	t->fn = fn;
	t->pending = false;
	t->running = false;
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
	struct timer *other;

	list_del(&t->link);
	t->deadline_ns = deadline_ns;
	t->pending = true;
	list_for_each_entry (other, &queue, link) {
		if (other->deadline_ns > deadline_ns)
			break;
	}
	list_insert(&t->link, other->link.prev, &other->link);
}

u64 hosted_timers_next(void)
{
	return list_empty(&queue) ? ~0ull : list_first(&queue, struct timer, link)->deadline_ns;
}

static void fire(struct timer *t)
{
	struct lock_stack *locks = &this_cpu()->spin_locks;
	u32 base = locks->base;
	bool on = irq_save();

	/* As smp/interrupt.c: with an empty hand. */
	locks->base = locks->count;
	this_cpu()->interrupt_nest++;
	list_del(&t->link);
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
		fire(list_first(&queue, struct timer, link));
		fired++;
	}
	hosted_clock_set(until_ns);
	return fired;
}

void hosted_timers_forget(void)
{
	while (!list_empty(&queue))
		list_del(queue.next);
}
