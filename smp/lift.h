/* SPDX-License-Identifier: MIT */
/*
 * A daemon that counts for more while somebody waits for what it does. However many say so it is
 * lifted once, by WEIGHT_LIFT, and lowered once.
 *
 * Any context, under any lock below LOCK_RUNQUEUE; no lock is needed, for who changes `lifted` is
 * who lifts or lowers. Whether somebody still waits is the caller's to know: where one may come while
 * lift_end is called, either the same lock is held around both and what they go by, or who calls it
 * looks once more and lifts again.
 */
#ifndef SMP_LIFT_H
#define SMP_LIFT_H

#include "smp/thread.h"

/* Zeroed: there is no thread yet, and nothing is lifted. */
struct lift {
	struct thread *thread; /* atomic; set once */
	bool lifted;	       /* atomic */
};

/* t, of no group, is never freed. Once; who waited before is not known. */
static inline void lift_init(struct lift *l, struct thread *t)
{
	__atomic_store_n(&l->thread, t, __ATOMIC_RELEASE);
}

/* Somebody waits. */
static inline void lift_begin(struct lift *l)
{
	struct thread *t = __atomic_load_n(&l->thread, __ATOMIC_ACQUIRE);

	if (t && !__atomic_exchange_n(&l->lifted, true, __ATOMIC_SEQ_CST))
		thread_lift(t, WEIGHT_LIFT);
}

/*
 * Nobody does any more. Beside a lift_begin elsewhere it may be lowered first, and lifted then
 * (struct thread).
 */
static inline void lift_end(struct lift *l)
{
	if (__atomic_exchange_n(&l->lifted, false, __ATOMIC_SEQ_CST))
		thread_lower(l->thread, WEIGHT_LIFT);
}

#endif
