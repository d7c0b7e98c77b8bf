/* SPDX-License-Identifier: MIT */
#include "smp/sched.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/ipi.h"

static struct scheduler *here(void)
{
	return scheduler_of(this_cpu());
}

/* Own CPU's, interrupts off; others read it. */
#define COUNT(s, field) __atomic_store_n(&(s)->stats.field, (s)->stats.field + 1, __ATOMIC_RELAXED)

static void set_need_resched(struct scheduler *s, bool on)
{
	__atomic_store_n(&s->cpu->need_resched, on, __ATOMIC_RELAXED);
}

static bool is_capped(const struct thread *t)
{
	return t->group && t->group->quota_ns;
}

/* Its group has used up its cap; one that is hurried goes on all the same. */
static bool is_to_park(const struct thread *t)
{
	return is_capped(t) && sched_group_throttled(t->group) && PEEK(t->hurried) <= 0;
}

static void no_slice(struct scheduler *s)
{
	__atomic_store_n(&s->slice_runs, false, __ATOMIC_RELAXED);
	s->cap_runs = false;
}

static void slice_ended(struct timer *timer)
{
	struct scheduler *s = container_of(timer, struct scheduler, slice);

	no_slice(s);
	if (s->rq.current == s->rq.idle)
		return;
	if (PEEK(s->rq.queued) || balance_wanted(s) || is_capped(s->rq.current)) {
		s->slice_over = true;
		set_need_resched(s, true);
	}
	s->call_others = PEEK(s->rq.queued) != 0;
}

void sched_init_cpu(struct thread *idle, struct thread *current)
{
	struct scheduler *s = here();

	runqueue_init(&s->rq, this_cpu()->id, idle, clock_ns());
	s->rq.current = current;
	s->cpu = this_cpu();
	list_init(&s->departures);
	list_init(&s->parked);
	timer_init(&s->slice, slice_ended);
	idle->weight = current->weight = WEIGHT_DEFAULT;
	current->on_cpu = true;
	current->charged_ns = current->since_ns = s->rq.charged_ns;
	current->state = THREAD_RUNNING;
	if (idle != current)
		idle->state = THREAD_RUNNABLE;
}

/* Interrupts off. Locks the queue that t belongs to. */
static struct scheduler *lock_queue_of(struct thread *t)
{
	for (;;) {
		struct cpu *cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);
		struct scheduler *s = scheduler_of(cpu);

		spin_lock(&s->rq.lock);
		/* It may have been away and be on its way back: what its mover wrote comes first. */
		if (__atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE) == cpu)
			return s;
		spin_unlock(&s->rq.lock);
	}
}

/*
 * The running thread goes on until someone looks; without an end where nobody waits and it has no cap. A
 * look at that stays where it is: what it has run since is not charged yet. Who comes may wait for less.
 */
static void begin_slice(struct scheduler *s)
{
	const struct thread *t = s->rq.current;
	bool waits = PEEK(s->rq.queued) || balance_wanted(s);
	u64 slice = ~0ull, end;

	if (waits)
		slice = s->missed ? SCHED_SLICE_MIN_NS : runqueue_slice(&s->rq);
	s->missed = false;
	if (is_capped(t) && !s->cap_runs)
		slice = min(slice, sched_group_left(t->group, clock_ns()));
	if (slice == ~0ull)
		return;
	__atomic_store_n(&s->slice_runs, waits, __ATOMIC_RELAXED);
	end = clock_ns() + slice;
	if (!s->cap_runs || (s64)(end - s->slice.deadline_ns) < 0)
		timer_arm(&s->slice, end);
	s->cap_runs = is_capped(t);
}

void sched_start_slice(void)
{
	struct scheduler *s = here();
	struct thread *t = s->rq.current;

	/* Not before the switch: who has just run could not be taken then. */
	if (s->call_others) {
		s->call_others = false;
		balance_call_others(s);
	}
	if (t == s->rq.idle)
		return;
	if (!s->slice_runs)
		begin_slice(s);
	/*
	 * So that it comes to where it can be parked. After the look at what is left, under the group's
	 * lock: a CPU that used it up before that has said so.
	 */
	if (is_to_park(t))
		set_need_resched(s, true);
}

/* s's queue is locked: its CPU will look at the flag, for it takes this lock before it does. */
static void prepare_to_tell(struct scheduler *s, enum runqueue_tell tell)
{
	if (tell == TELL_SWITCH)
		set_need_resched(s, true);
}

static void tell_cpu(struct scheduler *s, enum runqueue_tell tell)
{
	if (tell == TELL_NOTHING)
		return;
	if (s != here())
		ipi_kick(s->cpu->id);
	else if (tell == TELL_SLICE)
		sched_start_slice();
}

/* t is MOVING and belongs to s, and no CPU holds anything of it. */
static void arrive(struct scheduler *s, struct thread *t, s64 ahead)
{
	enum runqueue_tell tell;

	spin_lock(&s->rq.lock);
	runqueue_charge(&s->rq, clock_ns());
	runqueue_catch_up(&s->rq, balance_clock(s));
	tell = runqueue_add(&s->rq, t, ahead, clock_ns());
	prepare_to_tell(s, tell);
	spin_unlock(&s->rq.lock);
	tell_cpu(s, tell);
}

static void belong_to(struct thread *t, struct scheduler *from, struct scheduler *to)
{
	__atomic_fetch_sub(&from->threads, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&to->threads, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&t->cpu, to->cpu, __ATOMIC_RELEASE);
}

/*
 * This CPU gives up what it holds of threads that leave it, and sends them on their way. Only who
 * took a thread out of the list knows where it is; others find it MOVING.
 */
static void depart(struct scheduler *s)
{
	struct scheduler *to;
	struct thread *t;

	spin_lock(&s->rq.lock);
	while (!list_empty(&s->departures)) {
		t = list_first(&s->departures, struct thread, move_link);
		list_del(&t->move_link);
		spin_unlock(&s->rq.lock);
		t->sched_leave(t);
		COUNT(s, left);
		to = &schedulers[t->target];
		spin_lock(&s->rq.lock);
		t->resident = false;
		belong_to(t, s, to);
		spin_unlock(&s->rq.lock);
		arrive(to, t, t->ahead);
		__atomic_fetch_sub(&to->coming, 1, __ATOMIC_RELAXED);
		spin_lock(&s->rq.lock);
	}
	spin_unlock(&s->rq.lock);
}

void sched_send(struct scheduler *from, struct thread *t, struct scheduler *to, s64 ahead)
{
	enum runqueue_tell tell;

	if (from == to) {
		tell = runqueue_add(&to->rq, t, ahead, clock_ns());
		prepare_to_tell(to, tell);
		spin_unlock(&to->rq.lock);
		tell_cpu(to, tell);
		return;
	}
	__atomic_store_n(&t->state, THREAD_MOVING, __ATOMIC_RELAXED);
	if (!t->resident) {
		belong_to(t, from, to);
		spin_unlock(&from->rq.lock);
		arrive(to, t, ahead);
		return;
	}
	t->target = to->cpu->id;
	t->ahead = ahead;
	list_add_tail(&t->move_link, &from->departures);
	__atomic_fetch_add(&to->coming, 1, __ATOMIC_RELAXED);
	spin_unlock(&from->rq.lock);
	if (from == here())
		depart(from);
	else
		ipi_kick(from->cpu->id);
}

void sched_wake(struct thread *t)
{
	struct scheduler *from = lock_queue_of(t), *to = from;
	u64 now = clock_ns();
	bool is_new = t->state == THREAD_NEW;

	switch (t->state) {
	case THREAD_BLOCKED:
	case THREAD_NEW:
		break;
	case THREAD_RUNNING:
	case THREAD_RUNNABLE:
	case THREAD_MOVING:
	case THREAD_PARKED:
		t->wake_pending = true;
		spin_unlock(&from->rq.lock);
		return;
	case THREAD_DEAD:
		spin_unlock(&from->rq.lock);
		return;
	}
	if (t->group)
		sched_group_enter(t->group, now);
	t->woken_ns = now;
	t->rested = true;
	COUNT(here(), wakes);
	/* The CPU that is about to leave its stack is the one that will come to it again. */
	if (!__atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE))
		to = balance_place(from, t);
	if (to != from)
		COUNT(here(), placed);
	runqueue_charge(&from->rq, now);
	/* To be made earns nothing: neither time nor a place before others. */
	sched_send(from, t, to, is_new ? 0 : (s64)(t->vruntime - from->rq.clock));
}

bool thread_is_slow(void)
{
	const struct sched_group *g = thread_current()->group;

	return g && sched_group_part(g) < WEIGHT_SLOW * WEIGHT_UNIT && PEEK(here()->rq.queued);
}

void sched_lift(struct thread *t, s32 by)
{
	struct scheduler *s = lock_queue_of(t);
	enum runqueue_tell tell = runqueue_lift(&s->rq, t, by, clock_ns());

	prepare_to_tell(s, tell);
	spin_unlock(&s->rq.lock);
	tell_cpu(s, tell);
}

void sched_hurry(struct thread *t, s32 by, u64 most_ns)
{
	struct scheduler *s = lock_queue_of(t);
	enum runqueue_tell tell = runqueue_hurry(&s->rq, t, by, most_ns, clock_ns());

	if (t->state == THREAD_PARKED && t->hurried > 0) {
		list_del(&t->move_link);
		t->rested = true;
		sched_send(s, t, s, (s64)(t->vruntime - s->rq.clock));
		return;
	}
	/* Its slice was not to end for its cap before the period does. */
	if (t->state == THREAD_RUNNING && is_to_park(t))
		tell = TELL_SWITCH;
	prepare_to_tell(s, tell);
	spin_unlock(&s->rq.lock);
	tell_cpu(s, tell);
}

/* The queue is locked: t is about to run. */
static void count_wait(struct scheduler *s, struct thread *t)
{
	u64 *bucket = &s->stats.wait_1us, bound = 1000;
	u64 ns = s->rq.charged_ns - min(t->woken_ns, s->rq.charged_ns);

	t->woken_ns = 0;
	while (ns > bound && bucket != &s->stats.wait_longer) {
		bucket++;
		bound *= 4;
	}
	__atomic_store_n(bucket, *bucket + 1, __ATOMIC_RELAXED);
	if (ns > s->stats.wait_max)
		__atomic_store_n(&s->stats.wait_max, ns, __ATOMIC_RELAXED);
	if (ns > t->wait_max_ns)
		__atomic_store_n(&t->wait_max_ns, ns, __ATOMIC_RELAXED);
}

/* prev does not want the CPU any more. false: it does, what it would wait for came first. */
static bool give_up(struct scheduler *s, struct thread *prev, enum schedule_why why, u64 now)
{
	ASSERT(prev->state == THREAD_RUNNING);
	if (why == SCHEDULE_PARK) {
		if (!is_to_park(prev))
			return false;
		__atomic_store_n(&prev->state, THREAD_PARKED, __ATOMIC_RELAXED);
		list_add_tail(&prev->move_link, &s->parked);
		COUNT(s, parked);
		return true;
	}
	if (why == SCHEDULE_BLOCK && prev->wake_pending) {
		prev->wake_pending = false;
		return false;
	}
	__atomic_store_n(&prev->state, why == SCHEDULE_EXIT ? THREAD_DEAD : THREAD_BLOCKED,
			 __ATOMIC_RELAXED);
	if (prev->group)
		sched_group_leave(prev->group, now);
	return true;
}

void sched_want(struct thread *t)
{
	struct scheduler *s = here();

	if (PEEK(t->state) == THREAD_RUNNABLE && PEEK(t->cpu) != s->cpu)
		balance_fetch(s, t);
	s->wanted = t;
}

/*
 * The queue is locked: who belongs to it and is RUNNABLE is in it. One that is on its way here
 * belongs to it already, and what its mover wrote before that, MOVING, comes first.
 */
static struct thread *take_wanted(struct scheduler *s)
{
	struct thread *t = s->wanted;

	s->wanted = NULL;
	if (!t || __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE) != s->cpu)
		return NULL;
	return PEEK(t->state) == THREAD_RUNNABLE ? t : NULL;
}

/* The queue is locked. */
static struct thread *choose(struct scheduler *s, struct thread *prev, enum schedule_why why)
{
	enum runqueue_why rq_why = why == SCHEDULE_PREEMPT ? WHY_PREEMPT : WHY_YIELD;
	bool was_due = PEEK(s->cpu->need_resched);
	struct thread *next, *wanted;
	u64 now = clock_ns();

	set_need_resched(s, false);
	if (why >= SCHEDULE_BLOCK) {
		rq_why = WHY_GONE;
		if (!give_up(s, prev, why, now)) {
			if (!was_due)
				return prev;
			/* It goes on, and makes way for whom it was to make way all the same. */
			rq_why = WHY_PREEMPT;
		}
	}
	wanted = take_wanted(s);
	next = runqueue_next(&s->rq, prev, rq_why, wanted, now);
	if (next == prev)
		return prev;
	if (next == wanted)
		COUNT(s, yielded_to);
	/* What its hooks have left here is here as long as it has them. */
	prev->resident = prev->sched_leave != NULL;
	__atomic_store_n(&next->on_cpu, true, __ATOMIC_RELAXED);
	s->previous = prev;
	s->previous_dead = why == SCHEDULE_EXIT;
	no_slice(s);
	COUNT(s, switches);
	if (next->woken_ns)
		count_wait(s, next);
	return next;
}

/*
 * At the end of a slice, or where none has ended for long: where threads sleep and wake before that
 * each switch begins another, and who is owed time elsewhere would wait for ever.
 */
static void look_elsewhere(struct scheduler *s, const struct thread *prev)
{
	u64 now = clock_ns();

	if (s->slice_over) {
		s->slice_over = false;
		s->looked_ns = now;
		balance_steal(s, SCHED_STEAL_NS);
	} else if (prev != s->rq.idle && (s64)(now - s->looked_ns) >= (s64)SCHED_LATENCY_NS) {
		s->looked_ns = now;
		balance_steal(s, SCHED_CREDIT_NS);
	}
}

struct thread *sched_next(struct thread *prev, enum schedule_why why)
{
	struct scheduler *s = here();
	struct thread *next;

	look_elsewhere(s, prev);
	if (!PEEK(s->rq.queued) && (why >= SCHEDULE_BLOCK || prev == s->rq.idle))
		balance_pull(s);
	spin_lock(&s->rq.lock);
	next = choose(s, prev, why);
	spin_unlock(&s->rq.lock);
	/* After it was parked, or the end of the period could pass it by. */
	if (why == SCHEDULE_PARK && next != prev)
		sched_group_arm(prev->group);
	return next;
}

/* The queue is locked. */
static struct thread *take_parked(struct scheduler *s, const struct sched_group *g)
{
	struct thread *t;

	list_for_each_entry (t, &s->parked, move_link) {
		if (t->group == g) {
			list_del(&t->move_link);
			return t;
		}
	}
	return NULL;
}

void sched_unpark(struct sched_group *g)
{
	for (u32 id = 0; id < cpu_count(); id++) {
		struct scheduler *s = &schedulers[id];
		struct thread *t;

		for (;;) {
			spin_lock(&s->rq.lock);
			t = take_parked(s, g);
			if (!t)
				break;
			t->rested = true;
			sched_send(s, t, s, (s64)(t->vruntime - s->rq.clock));
		}
		spin_unlock(&s->rq.lock);
	}
}

struct thread *sched_switched(void)
{
	struct scheduler *s = here();
	struct thread *prev = s->previous;

	s->previous = NULL;
	if (s->previous_dead)
		__atomic_fetch_sub(&s->threads, 1, __ATOMIC_RELAXED);
	/* From here on another CPU may run it. */
	__atomic_store_n(&prev->on_cpu, false, __ATOMIC_RELEASE);
	sched_rest_over(s->rq.current);
	return s->previous_dead ? prev : NULL;
}

void sched_kicked(void)
{
	struct scheduler *s = here();

	depart(s);
	if (s->rq.current == s->rq.idle)
		set_need_resched(s, true);
	else
		sched_start_slice();
}

bool sched_has_work(void)
{
	struct scheduler *s = here();

	return PEEK(s->cpu->need_resched) || PEEK(s->rq.queued) || balance_pull(s);
}
