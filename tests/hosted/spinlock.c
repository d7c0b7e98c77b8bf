/* SPDX-License-Identifier: MIT */
/* smp/spinlock.h on host threads: ticket locks whose waiters yield, with levels checked. */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/spinlock.h"
#include "smp/cpu.h"
#include "tests/hosted/levels.h"

void spin_init(struct spinlock *l, const char *name, enum lock_level level)
{
	*l = (struct spinlock)SPINLOCK_INIT(name, level);
}

void spin_lock(struct spinlock *l)
{
	u32 ticket;

	levels_check(l->name, l->level);
	preempt_disable();
	ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
	while (__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != ticket)
		cpu_relax();
	__atomic_store_n(&l->holder, cpu_id() + 1, __ATOMIC_RELAXED);
	levels_push(l, l->name, l->level);
}

bool spin_trylock(struct spinlock *l)
{
	u32 owner = __atomic_load_n(&l->owner, __ATOMIC_ACQUIRE);

	if (!__atomic_compare_exchange_n(&l->next, &owner, owner + 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	preempt_disable();
	__atomic_store_n(&l->holder, cpu_id() + 1, __ATOMIC_RELAXED);
	levels_push(l, l->name, l->level);
	return true;
}

void spin_unlock(struct spinlock *l)
{
	levels_pop(l);
	__atomic_store_n(&l->holder, 0, __ATOMIC_RELAXED);
	__atomic_fetch_add(&l->owner, 1, __ATOMIC_RELEASE);
	preempt_enable();
}

bool spin_lock_irqsave(struct spinlock *l)
{
	bool on = irq_save();

	spin_lock(l);
	return on;
}

void spin_unlock_irqrestore(struct spinlock *l, bool irqs_on)
{
	spin_unlock(l);
	irq_restore(irqs_on);
}

bool spin_held(const struct spinlock *l)
{
	return levels_held(l);
}
