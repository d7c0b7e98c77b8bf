/* SPDX-License-Identifier: MIT */
/* The order of locks: stacks of what is held, and the two rules checked against them. */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/lock_order.h"
#include "smp/spinlock.h"
#include "smp/thread.h"

const struct lock_held *lock_stack_conflict(const struct lock_stack *s, enum lock_level level)
{
	const struct lock_held *worst = NULL;

	/* spin_trylock may have put a lower one on top, so the top alone does not tell. */
	for (u32 i = s->base; i < s->count; i++) {
		if (s->held[i].level >= level && (!worst || s->held[i].level > worst->level))
			worst = &s->held[i];
	}
	return worst;
}

void lock_stack_push(struct lock_stack *s, const struct lock_held *h)
{
	BUG_ON(s->count == LOCK_STACK_MAX);
	s->held[s->count++] = *h;
}

bool lock_stack_pop(struct lock_stack *s, const void *lock)
{
	for (u32 i = s->count; i-- > 0;) {
		if (s->held[i].lock != lock)
			continue;
		for (; i + 1 < s->count; i++)
			s->held[i] = s->held[i + 1];
		s->count--;
		return true;
	}
	return false;
}

static bool thread_order_ok(enum lock_level level, struct lock_breach *b)
{
	struct thread *t = thread_current();

	if (in_interrupt() || !t)
		return true;
	b->held = lock_stack_conflict(&t->sleep_locks, level);
	b->why = "does not go up";
	return !b->held;
}

/* The lock held with interrupts off that an interrupt handler, too, may want. */
static const struct lock_held *held_irq_lock(const struct lock_stack *s)
{
	for (u32 i = s->base; i < s->count; i++) {
		if (s->held[i].usage & LOCK_USAGE_IN_INTERRUPT)
			return &s->held[i];
	}
	return NULL;
}

bool lock_order_spin_ok(const struct spinlock *l, struct lock_breach *b)
{
	u8 usage = __atomic_load_n(&l->usage, __ATOMIC_RELAXED);
	struct cpu *cpu = this_cpu();
	bool irqs_on = irq_enabled();

	b->why = "does not go up";
	b->held = lock_stack_conflict(&cpu->spin_locks, l->level);
	if (b->held || !thread_order_ok(l->level, b))
		return false;

	b->why = "was taken with interrupts on, and now by an interrupt";
	if (cpu->interrupt_nest && (usage & LOCK_USAGE_IRQS_ON))
		return false;
	b->why = "is an interrupt's lock, taken with interrupts on";
	if (irqs_on && (usage & LOCK_USAGE_IN_INTERRUPT))
		return false;
	b->why = "may wait for a CPU whose interrupt handler waits for the other";
	if (usage & LOCK_USAGE_IRQS_ON)
		b->held = held_irq_lock(&cpu->spin_locks);
	return !b->held;
}

bool lock_order_sleep_ok(enum lock_level level, struct lock_breach *b)
{
	return thread_order_ok(level, b);
}

#if defined(WEIR_DEBUG) && WEIR_DEBUG
static void __noreturn breach_panic(const char *name, enum lock_level level,
				    const struct lock_breach *b)
{
	if (b->held)
		panic("lock order: %s (level %d) acquired while holding %s (level %d): %s", name,
		      level, b->held->name, b->held->level, b->why);
	panic("lock order: %s (level %d) %s", name, level, b->why);
}

void lock_order_spin_check(struct spinlock *l)
{
	struct lock_breach b;

	if (unlikely(!lock_order_spin_ok(l, &b)))
		breach_panic(l->name, l->level, &b);
}

void lock_order_spin_taken(struct spinlock *l)
{
	struct cpu *cpu = this_cpu();
	u8 usage = __atomic_load_n(&l->usage, __ATOMIC_RELAXED), now = 0;

	if (cpu->interrupt_nest)
		now = LOCK_USAGE_IN_INTERRUPT;
	else if (irq_enabled())
		now = LOCK_USAGE_IRQS_ON;
	/* All rmap words are one lock here, which several CPUs hold at once. */
	if (now & ~usage)
		usage = __atomic_or_fetch(&l->usage, now, __ATOMIC_RELAXED);
	lock_stack_push(&cpu->spin_locks, &(struct lock_held){l, l->name, l->level, usage});
}

void lock_order_spin_dropped(struct spinlock *l)
{
	if (!lock_stack_pop(&this_cpu()->spin_locks, l))
		panic("spin lock %s released by a CPU that does not hold it", l->name);
}

void lock_order_may_sleep(const char *what)
{
	/* Off for the look, that it is at one CPU. */
	bool irqs_on = irq_save();
	struct cpu *cpu = this_cpu();

	if (cpu->spin_locks.count)
		panic("%s may sleep, but spin lock %s is held", what,
		      cpu->spin_locks.held[cpu->spin_locks.count - 1].name);
	if (cpu->interrupt_nest || cpu->preempt_off)
		panic("%s may sleep, but this is interrupt context or preemption is off", what);
	if (cpu->current && !irqs_on)
		panic("%s may sleep, but interrupts are off", what);
	irq_restore(irqs_on);
}

void lock_order_sleep_check(const char *name, enum lock_level level)
{
	struct lock_breach b;

	lock_order_may_sleep(name);
	if (unlikely(!lock_order_sleep_ok(level, &b)))
		breach_panic(name, level, &b);
}

void lock_order_sleep_taken(const void *lock, const char *name, enum lock_level level)
{
	struct thread *t = thread_current();

	if (t)
		lock_stack_push(&t->sleep_locks, &(struct lock_held){lock, name, level, 0});
}

void lock_order_sleep_dropped(const void *lock)
{
	struct thread *t = thread_current();

	/* A lock that was taken before there were threads is not on the stack. */
	if (t)
		lock_stack_pop(&t->sleep_locks, lock);
}

bool lock_order_sleep_held(const void *lock)
{
	const struct thread *t = thread_current();

	for (u32 i = 0; t && i < t->sleep_locks.count; i++) {
		if (t->sleep_locks.held[i].lock == lock)
			return true;
	}
	return !t;
}
#endif
