/* SPDX-License-Identifier: MIT */
/*
 * Which locks are held, for debug builds: a stack for each CPU's spin locks and one for each
 * thread's sleeping locks. The pieces that take a stack are pure; the rest look at the calling
 * CPU and thread. Any context; each stack is touched by its own CPU or thread alone.
 *
 * An interrupt handler starts with an empty hand: what the interrupted thread holds was taken
 * with interrupts on, so it is no lock of the handler's. The price is a second rule, kept by two
 * marks on each spin lock: a lock that an interrupt takes is never taken with interrupts on, and
 * while one is held no lock is taken that elsewhere is held with interrupts on.
 */
#ifndef SMP_LOCK_ORDER_H
#define SMP_LOCK_ORDER_H

#include "kernel/base/types.h"
#include "smp/lock_level.h"

#define LOCK_STACK_MAX 16

struct spinlock;

struct lock_held {
	const void *lock;
	const char *name;
	enum lock_level level;
	u8 usage; /* LOCK_USAGE_*, of a spin lock */
};

struct lock_stack {
	u32 base; /* the interrupt that is running now took those from here up */
	u32 count;
	struct lock_held held[LOCK_STACK_MAX];
};

/* Marks on a spin lock; they are only ever set. */
#define LOCK_USAGE_IN_INTERRUPT 1 /* some interrupt handler took it */
#define LOCK_USAGE_IRQS_ON	2 /* someone took it with interrupts on */

/* The held lock (above base) that a lock of this level may not follow, or NULL. */
const struct lock_held *lock_stack_conflict(const struct lock_stack *s, enum lock_level level);
void lock_stack_push(struct lock_stack *s, const struct lock_held *h);
bool lock_stack_pop(struct lock_stack *s, const void *lock); /* false: was not there */

/* Why a lock may not be taken here and now. */
struct lock_breach {
	const struct lock_held *held; /* NULL: the lock by itself is at fault */
	const char *why;
};

/*
 * Would this CPU and thread be right to take l now? false: b says what is wrong. Changes nothing:
 * for the checks below and for tests.
 */
bool lock_order_spin_ok(const struct spinlock *l, struct lock_breach *b);
bool lock_order_sleep_ok(enum lock_level level, struct lock_breach *b);

/* Debug builds panic, naming both locks; others compile to nothing. */
#if defined(WEIR_DEBUG) && WEIR_DEBUG
void lock_order_spin_check(struct spinlock *l);
void lock_order_spin_taken(struct spinlock *l);
void lock_order_spin_dropped(struct spinlock *l);
/* Sleeping locks. check also asserts that the caller may sleep. */
void lock_order_sleep_check(const char *name, enum lock_level level);
void lock_order_sleep_taken(const void *lock, const char *name, enum lock_level level);
void lock_order_sleep_dropped(const void *lock);
/* By this thread; true where nobody keeps account: without threads, and in other builds. */
bool lock_order_sleep_held(const void *lock);
/* Panics unless the caller may sleep: thread context, interrupts on, no spin lock held. */
void lock_order_may_sleep(const char *what);
#else
static inline void lock_order_spin_check(struct spinlock *l)
{
	(void)l;
}
static inline void lock_order_spin_taken(struct spinlock *l)
{
	(void)l;
}
static inline void lock_order_spin_dropped(struct spinlock *l)
{
	(void)l;
}
static inline void lock_order_sleep_check(const char *name, enum lock_level level)
{
	(void)name;
	(void)level;
}
static inline void lock_order_sleep_taken(const void *lock, const char *name, enum lock_level level)
{
	(void)lock;
	(void)name;
	(void)level;
}
static inline void lock_order_sleep_dropped(const void *lock)
{
	(void)lock;
}
static inline bool lock_order_sleep_held(const void *lock)
{
	(void)lock;
	return true;
}
static inline void lock_order_may_sleep(const char *what)
{
	(void)what;
}
#endif

#endif
