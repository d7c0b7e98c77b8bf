/* SPDX-License-Identifier: MIT */
#include "smp/runqueue.h"
#include "kernel/base/panic.h"

#define FRACTION_BITS  20
#define STOOD_STILL_NS 1000000000ull

/* What others look at without the lock. */
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

void runqueue_init(struct runqueue *rq, u32 cpu, struct thread *idle, u64 now_ns)
{
	*rq = (struct runqueue){.current = idle, .idle = idle, .cpu = cpu, .charged_ns = now_ns};
	spin_init(&rq->lock, "run queue", LOCK_RUNQUEUE);
	vtree_init(&rq->tree, 0x9e3779b9);
}

u64 runqueue_virtual(u64 ns, u32 weight)
{
	u64 rate = ((u64)WEIGHT_DEFAULT * WEIGHT_UNIT << FRACTION_BITS) / weight;

	return (u64)((unsigned __int128)ns * rate >> FRACTION_BITS);
}

u32 thread_weight(const struct thread *t)
{
	if (t->group)
		return sched_group_part(t->group);
	return (t->weight + (u32)max(PEEK(t->lifted), 0)) * WEIGHT_UNIT;
}

static struct thread *thread_of(const struct vnode *n)
{
	return n ? container_of(n, struct thread, queue_node) : NULL;
}

struct thread *runqueue_first(const struct runqueue *rq)
{
	return thread_of(vtree_first(&rq->tree));
}

struct thread *runqueue_after(const struct runqueue *rq, const struct thread *t)
{
	return thread_of(vtree_next(&rq->tree, &t->queue_node));
}

static bool is_narrow(const struct thread *t)
{
	return cpu_set_is_choice(&t->allowed) && !cpu_set_is_full(&t->allowed);
}

/* Of those that have a choice nearly all may run anywhere, or on the same CPUs: one VM's. */
static void count_narrow(struct runqueue *rq, const struct thread *t, u32 by)
{
	if (!is_narrow(t))
		return;
	if (!rq->narrow)
		rq->common = t->allowed;
	rq->narrow += by;
	if (!cpu_set_equal(&rq->common, &t->allowed))
		rq->odd += by;
}

/*
 * Looks at all that are queued only where VMs with different sets of CPUs, and no others, may move.
 */
static void tell_reach(struct runqueue *rq, bool current)
{
	struct cpu_set all = {{0}};

	if (current)
		all = rq->current->allowed;
	if (rq->movable > rq->narrow) {
		cpu_set_fill(&all);
	} else if (rq->narrow && !rq->odd) {
		cpu_set_unite(&all, &rq->common);
	} else if (rq->narrow) {
		for (struct thread *t = runqueue_first(rq); t; t = runqueue_after(rq, t))
			if (is_narrow(t))
				cpu_set_unite(&all, &t->allowed);
	}
	for (u32 i = 0; i < ARRAY_SIZE(all.bits); i++)
		SET(rq->reach.bits[i], all.bits[i]);
}

/* After each change of who is queued and who runs. */
static void count_spare(struct runqueue *rq)
{
	bool current = rq->current != rq->idle && cpu_set_is_choice(&rq->current->allowed);

	tell_reach(rq, current);
	SET(rq->spare, rq->queued ? rq->movable + current : 0);
}

static void put(struct runqueue *rq, struct thread *t)
{
	SET(t->state, THREAD_RUNNABLE);
	t->queued_weight = thread_weight(t);
	vtree_insert(&rq->tree, &t->queue_node, t->vruntime);
	SET(rq->load, rq->load + t->queued_weight);
	SET(rq->queued, rq->queued + 1);
	if (cpu_set_is_choice(&t->allowed))
		SET(rq->movable, rq->movable + 1);
	count_narrow(rq, t, 1);
	count_spare(rq);
}

static void take_out(struct runqueue *rq, struct thread *t)
{
	vtree_remove(&rq->tree, &t->queue_node);
	SET(rq->load, rq->load - t->queued_weight);
	SET(rq->queued, rq->queued - 1);
	if (cpu_set_is_choice(&t->allowed))
		SET(rq->movable, rq->movable - 1);
	count_narrow(rq, t, -1u);
	count_spare(rq);
}

static struct sched_group_cpu *group_here(const struct runqueue *rq, const struct thread *t)
{
	return &t->group->cpus[rq->cpu];
}

/* t has been charged up to now. */
static void leave_group(const struct runqueue *rq, const struct thread *t)
{
	if (!t->group)
		return;
	BUG_ON(!group_here(rq, t)->runnable);
	group_here(rq, t)->runnable--;
}

void runqueue_remove(struct runqueue *rq, struct thread *t, u64 now_ns)
{
	runqueue_charge(rq, now_ns);
	take_out(rq, t);
	leave_group(rq, t);
}

/* To the least virtual time of those who want the CPU, unless that is in the past. */
static void advance_clock(struct runqueue *rq)
{
	struct thread *first = runqueue_first(rq);
	u64 least;

	if (rq->current != rq->idle) {
		least = rq->current->vruntime;
		if (first && (s64)(first->vruntime - least) < 0)
			least = first->vruntime;
	} else if (first) {
		least = first->vruntime;
	} else {
		return;
	}
	if ((s64)(least - rq->clock) > 0)
		SET(rq->clock, least);
}

/*
 * Who is waited for, or has a cap, is looked at long before. Nobody has had such a time: the machine stood
 * still, for the hypervisor or emulator that runs it was stopped.
 */
static bool stood_still(const struct runqueue *rq, const struct thread *t, u64 ns)
{
	return ns > STOOD_STILL_NS && (rq->queued || (t->group && t->group->quota_ns));
}

/* most: what it pays for at most, in time of its own. */
static void charge_in_group(struct runqueue *rq, struct thread *t, u64 ns, u64 most, u64 now_ns)
{
	struct sched_group_cpu *here = group_here(rq, t);
	u64 before = t->shared_ns, price;

	t->shared_ns = sched_group_charge(t->group, min(ns, most), now_ns);
	price = runqueue_virtual(t->shared_ns - before, t->group->weight * WEIGHT_UNIT);
	if (unlikely(most < ns))
		price = min(price, runqueue_virtual(most, thread_weight(t)));
	t->vruntime += price;
	here->vtime += price / here->runnable;
}

void runqueue_charge(struct runqueue *rq, u64 now_ns)
{
	struct thread *t = rq->current;
	u64 ns = now_ns - rq->charged_ns, most = ns;

	/* Clocks of CPUs differ by a little; whoever is behind pays later. */
	if ((s64)ns <= 0)
		return;
	rq->charged_ns = now_ns;
	if (t == rq->idle)
		return;
	SET(t->charged_ns, now_ns);
	SET(t->run_ns, t->run_ns + ns);
	if (unlikely(stood_still(rq, t, ns)))
		most = SCHED_SLICE_MAX_NS;
	if (t->group)
		charge_in_group(rq, t, ns, most, now_ns);
	else
		t->vruntime += runqueue_virtual(most, thread_weight(t));
	advance_clock(rq);
}

u64 runqueue_run_ns(const struct thread *t, u64 now_ns)
{
	/* In this order: of one that runs since_ns is not from before it slept. */
	bool runs = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE) == THREAD_RUNNING;
	u64 since = PEEK(t->since_ns), run = PEEK(t->run_ns), whole = now_ns - since;

	/* Its CPU may have been charged by one whose clock is ahead by a little. */
	return runs && (s64)(whole - run) > 0 ? whole : run;
}

void runqueue_catch_up(struct runqueue *rq, u64 reference)
{
	struct thread *t = rq->current;
	u64 least;

	if (rq->queued)
		return;
	if (t != rq->idle) {
		least = reference - runqueue_virtual(SCHED_CREDIT_NS, thread_weight(t));
		if ((s64)(least - t->vruntime) > 0)
			t->vruntime = least;
		advance_clock(rq);
	} else if ((s64)(reference - rq->clock) > 0) {
		SET(rq->clock, reference);
	}
}

static enum runqueue_tell whom_to_tell(const struct runqueue *rq, const struct thread *t)
{
	s64 lead = (s64)(rq->current->vruntime - t->vruntime);

	if (rq->current == rq->idle)
		return TELL_SWITCH;
	if (lead > (s64)runqueue_virtual(SCHED_WAKE_NS, thread_weight(t)))
		return TELL_SWITCH;
	return rq->queued == 1 ? TELL_SLICE : TELL_NOTHING;
}

/*
 * Of what is owed, to a thread or by it, more is forgotten; but nothing of what it has put off besides,
 * perhaps at a smaller part, which only a sleep pays for.
 */
static s64 within_bounds(s64 ahead, u32 weight, s64 put_off)
{
	s64 least = -(s64)runqueue_virtual(SCHED_CREDIT_NS, weight);
	s64 most = (s64)runqueue_virtual(SCHED_DEBT_NS, weight);

	return max(min(ahead, most) + put_off, least);
}

/*
 * t, which is not queued, owes so much, with what it has put off; where it is hurried it puts off what it
 * may. Nothing is forgotten but by the operator: a guest may keep the clock from going on. That lasts until
 * nobody waits for it any more, so longer where others wait for a while, one after the other.
 */
static void stand(struct runqueue *rq, struct thread *t, s64 owed)
{
	u32 weight = thread_weight(t);
	s64 most = 0;

	if (t->hurried > 0 && t->hurry_ns == SCHED_DEBT_NS)
		owed = within_bounds(owed, weight, 0);
	/* Its others may sleep, and its part grow: what it has put off by then it does not owe at once. */
	if (t->hurried > 0)
		most = t->hurry_most = max(t->hurry_most,
					   (s64)runqueue_virtual(t->hurry_ns, weight));
	t->put_off = min(max(owed, (s64)0), most);
	t->vruntime = rq->clock + (u64)(owed - t->put_off);
}

/* Of t, which belongs to rq: how far it would stand after the clock. */
static s64 owed_by(const struct runqueue *rq, const struct thread *t)
{
	return (s64)(t->vruntime - rq->clock) + t->put_off;
}

/*
 * t is one more of its group that wants this CPU. How far after the clock it comes that rested, or more:
 * its part was the others', so what they have had here it has had, too. The group's virtual time is kept
 * within bounds as a thread's is, of what those count for that are here.
 */
static s64 join_group(struct runqueue *rq, const struct thread *t)
{
	struct sched_group_cpu *here = group_here(rq, t);
	s64 mean;

	here->runnable++;
	mean = within_bounds((s64)(here->vtime - rq->clock),
			     here->runnable * sched_group_part(t->group), 0);
	here->vtime = rq->clock + (u64)mean;
	return mean;
}

enum runqueue_tell runqueue_add(struct runqueue *rq, struct thread *t, s64 ahead, u64 now_ns)
{
	s64 owed, mean;

	runqueue_charge(rq, now_ns);
	owed = within_bounds(ahead, thread_weight(t), t->put_off);
	if (t->group) {
		mean = join_group(rq, t);
		if (t->rested)
			owed = max(owed, mean);
	}
	t->rested = false;
	stand(rq, t, owed);
	put(rq, t);
	return whom_to_tell(rq, t);
}

enum runqueue_tell runqueue_lift(struct runqueue *rq, struct thread *t, s32 by, u64 now_ns)
{
	bool queued = t->state == THREAD_RUNNABLE;
	s64 after;

	/* What it has run so far it pays for at what it counted for. */
	runqueue_charge(rq, now_ns);
	after = within_bounds((s64)(t->vruntime - rq->clock), thread_weight(t), 0) *
		(s64)thread_weight(t);
	if (queued)
		take_out(rq, t);
	SET(t->lifted, t->lifted + by);
	t->vruntime = rq->clock + (u64)(after / (s64)thread_weight(t));
	if (!queued)
		return TELL_NOTHING;
	put(rq, t);
	return whom_to_tell(rq, t);
}

enum runqueue_tell runqueue_hurry(struct runqueue *rq, struct thread *t, s32 by, u64 most_ns,
				  u64 now_ns)
{
	bool queued = t->state == THREAD_RUNNABLE;
	struct thread *first;

	runqueue_charge(rq, now_ns);
	SET(t->hurried, t->hurried + by);
	t->hurry_ns = t->hurried > 0 ? max(t->hurry_ns, most_ns) : 0;
	/* Here: one that is blocked does not stand anywhere. */
	if (t->hurried <= 0)
		t->hurry_most = 0;
	/* Elsewhere it comes to a queue before it runs. */
	if (!queued && t->state != THREAD_RUNNING)
		return TELL_NOTHING;
	if (queued)
		take_out(rq, t);
	stand(rq, t, owed_by(rq, t));
	if (queued) {
		put(rq, t);
		return whom_to_tell(rq, t);
	}
	first = runqueue_first(rq);
	return first && (s64)(t->vruntime - first->vruntime) > 0 ? TELL_SWITCH : TELL_NOTHING;
}

bool runqueue_may_come_first(const struct runqueue *rq, const struct thread *t)
{
	return owed_by(rq, t) <= (s64)runqueue_virtual(SCHED_SLICE_MAX_NS, thread_weight(t));
}

struct thread *runqueue_next(struct runqueue *rq, struct thread *prev, enum runqueue_why why,
			     struct thread *wanted, u64 now_ns)
{
	struct thread *first, *next;
	bool goes_on = why != WHY_GONE && prev != rq->idle;

	ASSERT(prev == rq->current && (!goes_on || prev->state == THREAD_RUNNING));
	runqueue_charge(rq, now_ns);
	first = runqueue_first(rq);
	if (wanted && why == WHY_YIELD && runqueue_may_come_first(rq, wanted))
		first = wanted;
	if (goes_on &&
	    (!first || (why == WHY_PREEMPT && (s64)(prev->vruntime - first->vruntime) <= 0)))
		return prev;
	rq->group_turns += prev->group != NULL;
	if (why == WHY_GONE)
		leave_group(rq, prev);
	next = first ? first : rq->idle;
	if (first)
		take_out(rq, first);
	if (goes_on && unlikely(prev->hurried > 0))
		stand(rq, prev, owed_by(rq, prev));
	if (goes_on)
		put(rq, prev);
	if (prev == rq->idle)
		prev->state = THREAD_RUNNABLE;
	SET(next->since_ns, rq->charged_ns - next->run_ns);
	__atomic_store_n(&next->state, THREAD_RUNNING, __ATOMIC_RELEASE); /* runqueue_run_ns */
	SET(next->charged_ns, rq->charged_ns);
	if (next->group)
		next->shared_ns = sched_group_shared(next->group, rq->charged_ns);
	SET(rq->current, next);
	count_spare(rq);
	return next;
}

u64 runqueue_slice(const struct runqueue *rq)
{
	u64 weight = thread_weight(rq->current);
	u64 slice = SCHED_LATENCY_NS * weight / (PEEK(rq->load) + weight);

	if (PEEK(rq->current->hurried) > 0)
		return SCHED_SLICE_MAX_NS;
	return min(max(slice, SCHED_SLICE_MIN_NS), SCHED_SLICE_MAX_NS);
}
