/* SPDX-License-Identifier: MIT */
/* Ticket spin locks: who comes draws a number, who leaves calls the next. */
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "smp/lock_order.h"
#include "smp/spinlock.h"

void spin_init(struct spinlock *l, const char *name, enum lock_level level)
{
	*l = (struct spinlock)SPINLOCK_INIT(name, level);
}

static void taken(struct spinlock *l)
{
	__atomic_store_n(&l->holder, cpu_id() + 1, __ATOMIC_RELAXED);
	lock_order_spin_taken(l);
}

static inline void lock(struct spinlock *l)
{
	u32 ticket;

	preempt_disable();
	lock_order_spin_check(l);
	ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
	while (unlikely(__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != ticket))
		cpu_relax();
	taken(l);
}

void spin_lock(struct spinlock *l)
{
	lock(l);
}

bool spin_trylock(struct spinlock *l)
{
	u32 owner;

	preempt_disable();
	owner = __atomic_load_n(&l->owner, __ATOMIC_ACQUIRE);
	/* next == owner means free; drawing that very number means it is ours. */
	if (!__atomic_compare_exchange_n(&l->next, &owner, owner + 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED)) {
		preempt_enable();
		return false;
	}
	taken(l);
	return true;
}

/* Only the holder writes it: an ordinary addition to memory is enough, whose store releases. */
static inline void call_next(struct spinlock *l)
{
#ifndef WEIR_HOSTED
	__asm__ volatile("incl %0" : "+m"(l->owner)::"memory", "cc");
#else
	__atomic_store_n(&l->owner, l->owner + 1, __ATOMIC_RELEASE);
#endif
}

/* After the last store the lock's memory may be gone: whoever waited may free it. */
static void release(struct spinlock *l)
{
	lock_order_spin_dropped(l);
	__atomic_store_n(&l->holder, 0, __ATOMIC_RELAXED);
	call_next(l);
}

void spin_unlock(struct spinlock *l)
{
	release(l);
	preempt_enable();
}

bool spin_lock_irqsave(struct spinlock *l)
{
	bool on = irq_save();

	lock(l);
	return on;
}

void spin_unlock_irqrestore(struct spinlock *l, bool irqs_on)
{
	release(l);
	irq_restore(irqs_on);
	/* Last, for with interrupts on again it may switch to a thread that is due. */
	preempt_enable();
}

bool spin_held(const struct spinlock *l)
{
	return __atomic_load_n(&l->holder, __ATOMIC_RELAXED) == cpu_id() + 1;
}
