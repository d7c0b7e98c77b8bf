/* SPDX-License-Identifier: MIT */
/*
 * Which CPU a thread runs on. Who wakes goes where nobody is, near where it was; a CPU that runs out
 * of threads takes one that waits elsewhere. Where more threads than CPUs want to run, none is idle
 * and still some are owed time: at the end of its slices, or where none ends for long, each CPU takes a
 * thread that waits elsewhere if that is behind its own in virtual time. So clocks of CPUs between which
 * threads may go stay near each other, and time is shared by weight among all of them, not only within
 * a queue.
 *
 * What is read of other CPUs without their lock is out of date as soon as it is read: it decides
 * whose lock to take, or where a thread waits a little longer.
 */
#include "smp/ipi.h"
#include "smp/sched.h"

#define LOOKS_MAX 8 /* at threads of one queue, in their order */

static bool is_idle(const struct scheduler *s)
{
	return PEEK(s->rq.current) == s->rq.idle && !PEEK(s->rq.queued) && !PEEK(s->coming);
}

static u64 load_of(const struct scheduler *s)
{
	return PEEK(s->rq.load) + (PEEK(s->rq.queued) + PEEK(s->coming)) +
	       (is_idle(s) ? 0 : (u64)WEIGHT_DEFAULT * WEIGHT_UNIT);
}

struct scheduler *balance_place(struct scheduler *from, const struct thread *t)
{
	struct scheduler *best = cpu_set_has(&t->allowed, from->cpu->id) ? from : NULL;
	u32 count = cpu_count();

	if (best && (is_idle(best) || !cpu_set_is_choice(&t->allowed)))
		return best;
	for (u32 i = 1; i <= count; i++) {
		struct scheduler *s = &schedulers[(from->cpu->id + i) % count];

		if (!cpu_set_has(&t->allowed, s->cpu->id))
			continue;
		if (is_idle(s))
			return s;
		if (!best || load_of(s) < load_of(best))
			best = s;
	}
	return best ? best : from;
}

/* So much, and more, by who is at `mark`, in virtual time. */
static bool is_owed(const struct thread *t, u64 mark, u64 owed_ns)
{
	return (s64)(mark - t->vruntime) > (s64)runqueue_virtual(owed_ns, thread_weight(t));
}

/* from's queue is locked. The first thread that runs nowhere, may come, and is owed enough. */
static struct thread *find(const struct scheduler *from, u32 cpu, const u64 *behind, u64 owed_ns)
{
	struct thread *t = runqueue_first(&from->rq);

	for (u32 i = 0; t && i < LOOKS_MAX; i++, t = runqueue_after(&from->rq, t)) {
		if (!cpu_set_has(&t->allowed, cpu) || __atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE))
			continue;
		if (!behind || is_owed(t, *behind, owed_ns))
			return t;
	}
	return NULL;
}

/* Of those that are not in `tried`, the one with the most threads to give. */
static struct scheduler *busiest_but(const struct scheduler *me, const struct cpu_set *tried)
{
	struct scheduler *busiest = NULL;
	u32 most = 0;

	for (u32 i = 0; i < cpu_count(); i++) {
		struct scheduler *s = &schedulers[i];

		if (s == me || cpu_set_has(tried, i) || PEEK(s->rq.movable) <= most)
			continue;
		most = PEEK(s->rq.movable);
		busiest = s;
	}
	return busiest;
}

bool balance_pull(struct scheduler *me)
{
	struct cpu_set tried = {{0}};
	struct scheduler *s;
	struct thread *t;

	if (PEEK(me->coming))
		return false;
	/* Its threads may be none that may come here; then those of the next. */
	while ((s = busiest_but(me, &tried))) {
		cpu_set_add(&tried, s->cpu->id);
		spin_lock(&s->rq.lock);
		t = find(s, me->cpu->id, NULL, 0);
		if (t)
			break;
		spin_unlock(&s->rq.lock);
	}
	if (!s)
		return false;
	runqueue_remove(&s->rq, t, clock_ns());
	__atomic_store_n(&me->stats.pulled, me->stats.pulled + 1, __ATOMIC_RELAXED);
	sched_send(s, t, me, (s64)(t->vruntime - s->rq.clock));
	return PEEK(me->rq.queued);
}

/* Threads compete for it of which some may come here. */
static bool has_spare_for(const struct scheduler *s, const struct scheduler *me)
{
	u32 id = me->cpu->id;

	return s != me && PEEK(s->rq.spare) && (PEEK(s->rq.reach.bits[id / 64]) & BIT(id % 64));
}

/* The one whose clock is furthest behind, and who has threads to give. */
static struct scheduler *slowest_but(const struct scheduler *me)
{
	struct scheduler *slowest = NULL;

	for (u32 i = 0; i < cpu_count(); i++) {
		struct scheduler *s = &schedulers[i];

		if (!has_spare_for(s, me))
			continue;
		if (!slowest || (s64)(PEEK(s->rq.clock) - PEEK(slowest->rq.clock)) < 0)
			slowest = s;
	}
	return slowest;
}

void balance_steal(struct scheduler *me, u64 owed_ns)
{
	struct scheduler *s = slowest_but(me);
	struct thread *t;
	u64 clock;

	if (!s || PEEK(me->coming))
		return;
	spin_lock(&me->rq.lock);
	runqueue_charge(&me->rq, clock_ns());
	runqueue_catch_up(&me->rq, balance_clock(me));
	clock = me->rq.clock;
	spin_unlock(&me->rq.lock);
	spin_lock(&s->rq.lock);
	t = find(s, me->cpu->id, &clock, owed_ns);
	if (!t) {
		me->missed = s->rq.current != s->rq.idle &&
			     cpu_set_has(&s->rq.current->allowed, me->cpu->id) &&
			     is_owed(s->rq.current, clock, owed_ns);
		spin_unlock(&s->rq.lock);
		return;
	}
	runqueue_remove(&s->rq, t, clock_ns());
	__atomic_store_n(&me->stats.stolen, me->stats.stolen + 1, __ATOMIC_RELAXED);
	sched_send(s, t, me, (s64)(t->vruntime - clock));
}

bool balance_fetch(struct scheduler *me, struct thread *t)
{
	struct scheduler *s = scheduler_of(__atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE));
	u64 now = clock_ns();

	if (s == me || PEEK(me->coming) || !cpu_set_has(&t->allowed, me->cpu->id))
		return false;
	spin_lock(&s->rq.lock);
	if (__atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE) != s->cpu ||
	    PEEK(t->state) != THREAD_RUNNABLE || __atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE) ||
	    (s64)(now - max(t->charged_ns, t->woken_ns)) < (s64)SCHED_FETCH_NS ||
	    !runqueue_may_come_first(&s->rq, t)) {
		spin_unlock(&s->rq.lock);
		return false;
	}
	runqueue_remove(&s->rq, t, now);
	__atomic_store_n(&me->stats.fetched, me->stats.fetched + 1, __ATOMIC_RELAXED);
	sched_send(s, t, me, (s64)(t->vruntime - s->rq.clock));
	return true;
}

bool balance_wanted(const struct scheduler *me)
{
	for (u32 i = 0; i < cpu_count(); i++) {
		if (has_spare_for(&schedulers[i], me))
			return true;
	}
	return false;
}

void balance_call_others(struct scheduler *me)
{
	if (!PEEK(me->rq.movable))
		return;
	for (u32 i = 0; i < cpu_count(); i++) {
		struct scheduler *s = &schedulers[i];

		/* Those with a queue of their own look by themselves. */
		if (has_spare_for(me, s) && !PEEK(s->rq.queued) && !PEEK(s->slice_runs))
			ipi_kick(i);
	}
}

u64 balance_clock(const struct scheduler *me)
{
	const struct scheduler *slowest = slowest_but(me);
	u64 mine = PEEK(me->rq.clock), clock;

	if (!slowest)
		return mine;
	clock = PEEK(slowest->rq.clock);
	return (s64)(clock - mine) > 0 ? clock : mine;
}
