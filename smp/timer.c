/* SPDX-License-Identifier: MIT */
/*
 * Timers: each CPU fires its own queue from its LAPIC's alarm. t->cpu says under which queue's
 * lock the timer's state is; it changes only under that lock and the one for moving.
 */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/cpu.h"
#include "smp/irq.h"
#include "smp/timer_queue.h"

#define RETRY_NS 20000ull

static struct timer_queue queues[CPU_MAX];
static struct spinlock move_lock = SPINLOCK_INIT("timer move", LOCK_TIMER_MOVE);

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	*t = (struct timer){.fn = fn, .cpu = cpu_id()};
}

/* Interrupts off. Locks the queue whose lock guards t. */
static struct timer_queue *lock_queue_of(struct timer *t)
{
	for (;;) {
		u32 cpu = READ_ONCE(t->cpu);
		struct timer_queue *q = &queues[cpu];

		spin_lock(&q->lock);
		if (t->cpu == cpu)
			return q;
		spin_unlock(&q->lock);
	}
}

/* Interrupts off. Where t belongs to another CPU's queue: makes it this one's, not queued. */
static void move_here(struct timer *t)
{
	struct timer_queue *q;

	/* One at a time, or two CPUs can take it from each other for ever. */
	spin_lock(&move_lock);
	q = lock_queue_of(t);
	timer_queue_remove(q, t);
	WRITE_ONCE(t->cpu, cpu_id());
	spin_unlock(&q->lock);
	spin_lock(&queues[cpu_id()].lock);
	spin_unlock(&move_lock);
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
	bool on = irq_save();
	struct timer_queue *q = &queues[cpu_id()];

	spin_lock(&q->lock);
	if (t->cpu != cpu_id()) {
		spin_unlock(&q->lock);
		move_here(t);
	}
	timer_queue_remove(q, t);
	t->deadline_ns = deadline_ns;
	if (!t->cancels && timer_queue_insert(q, t))
		apic_timer_set(deadline_ns);
	spin_unlock(&q->lock);
	irq_restore(on);
}

void timer_cancel(struct timer *t)
{
	bool on = irq_save();
	struct timer_queue *q = lock_queue_of(t);

	/* Its alarm may come for nothing; that is cheaper than setting it anew here. */
	timer_queue_remove(q, t);
	t->cancels++;
	spin_unlock(&q->lock);
	irq_restore(on);
	while (__atomic_load_n(&t->running, __ATOMIC_ACQUIRE))
		cpu_relax();
	on = irq_save();
	/* Armed in vain meanwhile, it may have moved. */
	q = lock_queue_of(t);
	t->cancels--;
	spin_unlock(&q->lock);
	irq_restore(on);
}

/*
 * The next timer to fire, marked running, or NULL with the alarm set for when to look again. A timer that
 * moved here while its function still runs on another CPU has to wait for that; it is not waited
 * for here, since that function may in turn wait for this queue.
 */
static struct timer *take_due(struct timer_queue *q)
{
	u64 now = clock_ns(), alarm;
	struct timer *t;

	spin_lock(&q->lock);
	t = timer_queue_pop(q, now);
	alarm = timer_queue_next(q);
	if (t && __atomic_load_n(&t->running, __ATOMIC_ACQUIRE)) {
		timer_queue_insert(q, t);
		t = NULL;
		alarm = now + RETRY_NS;
	}
	if (t)
		t->running = true;
	else if (alarm != TIMER_NEVER)
		apic_timer_set(alarm);
	spin_unlock(&q->lock);
	return t;
}

/* VECTOR_TIMER */
static void timer_interrupt(void *arg)
{
	struct timer_queue *q = &queues[cpu_id()];
	struct timer *t;

	(void)arg;
	while ((t = take_due(q))) {
		t->fn(t);
		/* From here on its owner may free it. */
		__atomic_store_n(&t->running, false, __ATOMIC_RELEASE);
	}
}

void timer_init_cpu(void)
{
	timer_queue_init(&queues[cpu_id()]);
	if (cpu_id() == 0)
		irq_set_handler(VECTOR_TIMER, timer_interrupt, NULL);
	apic_timer_init_cpu();
}
