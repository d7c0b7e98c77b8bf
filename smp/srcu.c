/* SPDX-License-Identifier: MIT */
/*
 * SRCU with two pairs of counters. New readers count on the pair that `index` names; a grace
 * period waits for the other pair, flips the index, and waits for the pair it flipped from.
 *
 * Why two waits: a reader may read the index, be delayed, and count on that pair long after the
 * index has moved on (R28). The next grace period would flip back to a pair that is still in use
 * if it did not wait for it first.
 *
 * Every count is a locked instruction, and so is the flip: each is a full barrier (SDM 3A 9.2.3.9).
 * A reader whose count the writer missed therefore loads its pointer after the writer's store,
 * and sees the new one.
 */
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "smp/srcu.h"

void srcu_init(struct srcu *s)
{
	memset(s, 0, sizeof(*s));
	mutex_init(&s->mutex, "srcu", LOCK_SRCU);
	wait_queue_init(&s->drain);
}

u32 srcu_read_lock(struct srcu *s)
{
	u32 index = __atomic_load_n(&s->index, __ATOMIC_RELAXED) & 1;

	__atomic_fetch_add(&s->cpu[cpu_id()].lock[index], 1, __ATOMIC_SEQ_CST);
	return index;
}

void srcu_read_unlock(struct srcu *s, u32 index)
{
	ASSERT(srcu_read_held(s));
	__atomic_fetch_add(&s->cpu[cpu_id()].unlock[index], 1, __ATOMIC_SEQ_CST);
	/* Either the writer's next look sees this count, or this load sees that it waits. */
	if (unlikely(__atomic_load_n(&s->draining, __ATOMIC_SEQ_CST)))
		wait_wake_all(&s->drain);
}

bool srcu_read_held(const struct srcu *s)
{
	const struct srcu_count *c = &s->cpu[cpu_id()];

	for (u32 i = 0; i < 2; i++) {
		if (__atomic_load_n(&c->lock[i], __ATOMIC_RELAXED) !=
		    __atomic_load_n(&c->unlock[i], __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

/*
 * Unlocks are summed before locks: a reader that comes and goes in between then makes the sums
 * differ, which costs another look. The other way round its unlock would be counted without its
 * lock, and could stand in for that of a reader that is still there.
 */
static bool drained(struct srcu *s, u32 index)
{
	u32 cpus = cpu_count();
	u64 unlocks = 0, locks = 0;

	for (u32 i = 0; i < cpus; i++)
		unlocks += __atomic_load_n(&s->cpu[i].unlock[index], __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < cpus; i++)
		locks += __atomic_load_n(&s->cpu[i].lock[index], __ATOMIC_SEQ_CST);
	return locks == unlocks;
}

static void wait_drained(struct srcu *s, u32 index)
{
	if (drained(s, index))
		return;
	__atomic_store_n(&s->draining, true, __ATOMIC_SEQ_CST);
	wait_event(&s->drain, drained(s, index));
	__atomic_store_n(&s->draining, false, __ATOMIC_SEQ_CST);
}

void srcu_synchronize(struct srcu *s)
{
	u32 index;

	mutex_lock(&s->mutex);
	index = __atomic_load_n(&s->index, __ATOMIC_RELAXED) & 1;
	wait_drained(s, index ^ 1);
	/* Full barrier: the flip comes after the wait, and before the sums that follow. */
	__atomic_fetch_xor(&s->index, 1, __ATOMIC_SEQ_CST);
	wait_drained(s, index);
	__atomic_fetch_add(&s->grace_periods, 1, __ATOMIC_RELAXED);
	mutex_unlock(&s->mutex);
}
