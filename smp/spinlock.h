/* SPDX-License-Identifier: MIT */
/*
 * Ticket spin locks with levels. Fair; short sections only; nobody sleeps while holding one.
 * spin_lock disables preemption; the _irqsave forms also interrupts, and must be used for a lock
 * that interrupt context or exit context takes. These in any context, the others in thread context.
 */
#ifndef SMP_SPINLOCK_H
#define SMP_SPINLOCK_H

#include "kernel/base/types.h"
#include "smp/lock_level.h"

struct spinlock {
	u32 next;  /* ticket to hand out */
	u32 owner; /* ticket being served */
	enum lock_level level;
	const char *name;
	u32 holder; /* cpu id + 1 while held; for debug builds and panics */
	u8 usage;   /* atomic; LOCK_USAGE_*; for debug builds */
};

#define SPINLOCK_INIT(n, l)               \
	{                                 \
		.name = (n), .level = (l) \
	}

void spin_init(struct spinlock *l, const char *name, enum lock_level level);
void spin_lock(struct spinlock *l);
bool spin_trylock(struct spinlock *l); /* checks no level: cannot deadlock */
void spin_unlock(struct spinlock *l);
bool spin_lock_irqsave(struct spinlock *l); /* returns whether interrupts were on */
void spin_unlock_irqrestore(struct spinlock *l, bool irqs_on);
bool spin_held(const struct spinlock *l); /* by this CPU; for assertions */

/*
 * A look without taking it. true: whoever held it when it stored what the caller has read with
 * acquire order has let go of it since, and all that it did is seen.
 */
static inline bool spin_is_free(const struct spinlock *l)
{
	u32 next = __atomic_load_n(&l->next, __ATOMIC_RELAXED);

	return __atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) == next;
}

#endif
