/* SPDX-License-Identifier: MIT */
/* unit-sanitizer: thread */
/* unit-cflags: -DCAP_PERIOD_NS=200000ull */
/*
 * Waking, sleeping, ending and moving at once, under the thread sanitizer: a host thread for each
 * CPU runs the real run queues. What a thread does on a CPU is a step that writes its memory with no
 * other protection than that nobody else runs it: if it ran twice at a time, or before its stack was
 * left, that is a race.
 */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c
 */
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include "tests/hosted/random.h"
#include "tests/unit/smp/sched_cpus.h"

#define CPUS	4
#define THREADS 14
#define TOKENS	6
#define STEPS	60000 /* of each CPU */
#define LOOKER	CPUS  /* who looks whether the group rests; no CPU of theirs */

struct body {
	struct thread thread;
	u64 stack;	  /* of who runs it alone */
	u32 inbox;	  /* atomic: tokens that wait for it */
	u64 held;	  /* of who runs it alone: tokens taken and not passed on */
	bool resident_on; /* its registers are in resident_cpu */
	u32 resident_cpu;
	bool dead; /* atomic */
	u64 turns; /* atomic */
};

static struct body bodies[THREADS];
static struct sched_group group;
static u32 stopped;	       /* atomic: CPUs that are done */
static u64 group_steps, rests; /* atomic */
static u64 untold;	       /* the looker's */
static bool told;	       /* atomic: a thread of the group runs */
static _Thread_local u64 seed;
static bool stop; /* atomic */

/* No clock is set: slices end when a CPU feels like it. */
void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	t->fn = fn;
	t->pending = false;
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
	__atomic_store_n(&t->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&t->pending, true, __ATOMIC_RELEASE);
}

void timer_cancel(struct timer *t)
{
	__atomic_store_n(&t->pending, false, __ATOMIC_RELEASE);
}

static bool group_timer_armed(void)
{
	return __atomic_exchange_n(&group.refill.pending, false, __ATOMIC_ACQ_REL);
}

static struct body *body_of(struct thread *t)
{
	return container_of(t, struct body, thread);
}

static bool is_idle(const struct thread *t)
{
	return t >= idles && t < idles + CPUS;
}

/* The CPU's registers are its own: only it may write them back. */
static void leave(struct thread *t)
{
	struct body *b = body_of(t);

	assert_true(b->resident_on);
	assert_int_equal(b->resident_cpu, cpu_id());
	b->resident_on = false;
	b->stack++;
}

static void came_in(struct thread *t)
{
	struct body *b = body_of(t);

	assert_true(!b->resident_on || b->resident_cpu == cpu_id());
	assert_true(cpu_set_has(&t->allowed, cpu_id()));
	if (t->sched_leave) {
		b->resident_on = true;
		b->resident_cpu = cpu_id();
	}
	b->stack++;
}

static void schedule_here(enum schedule_why why)
{
	struct thread *prev = me->current, *next = sched_next(prev, why);

	if (next != prev) {
		/* Here the target still stands on prev's stack. */
		if (!is_idle(prev))
			body_of(prev)->stack++;
		me->current = next;
		if (sched_switched())
			__atomic_store_n(&body_of(prev)->dead, true, __ATOMIC_RELEASE);
		if (!is_idle(next))
			came_in(next);
	}
	sched_start_slice();
}

static void interrupts(void)
{
	struct scheduler *s = scheduler_of(me);
	const struct thread *t;

	if (take_kick(me->id))
		sched_kicked();
	if (s->slice.pending && random_one_in(&seed, 8)) {
		s->slice.pending = false;
		s->slice.fn(&s->slice);
	}
	if (PEEK(me->need_resched))
		schedule_here(SCHEDULE_PREEMPT);
	t = me->current;
	if (t->group && sched_group_throttled(t->group))
		schedule_here(SCHEDULE_PARK);
	/* The timer of the group, on one of the CPUs. */
	if (me->id == 1 && random_one_in(&seed, 8) && group_timer_armed())
		group.refill.fn(&group.refill);
}

static void give(struct body *b)
{
	__atomic_fetch_add(&b->inbox, 1, __ATOMIC_SEQ_CST);
	sched_wake(&b->thread);
}

/* To whoever it may be, here or elsewhere, asleep or dead. */
static void yield(void)
{
	u32 to = random_below(&seed, THREADS);

	/* Most sleep: to one that has something to do, if one is seen. */
	for (u32 i = 0; i < THREADS; i++)
		if (__atomic_load_n(&bodies[(to + i) % THREADS].inbox, __ATOMIC_RELAXED)) {
			to = (to + i) % THREADS;
			break;
		}
	if (!random_one_in(&seed, 8))
		sched_want(&bodies[to].thread);
	schedule_here(SCHEDULE_YIELD);
}

static _Thread_local struct thread *lifted;

static void lift_by(struct thread *t, s32 by)
{
	if (t->group)
		sched_hurry(t, by, SCHED_HURRY_NS);
	else
		sched_lift(t, 60 * by);
}

/* Or hurries one of a group, wherever it is; the next time it is lowered again. */
static void lift(void)
{
	struct thread *t = &bodies[random_below(&seed, THREADS)].thread;

	if (lifted) {
		lift_by(lifted, -1);
		lifted = NULL;
	} else {
		lift_by(t, 1);
		lifted = t;
	}
}

/* Sleeps until there is a token, and passes it on: a wake that is lost stops it for good. */
static void run_body(struct body *b)
{
	u32 n;

	b->stack++;
	__atomic_fetch_add(&b->turns, 1, __ATOMIC_RELAXED);
	if (b->thread.group)
		__atomic_fetch_add(&group_steps, 1, __ATOMIC_RELEASE);
	if (random_one_in(&seed, 16))
		lift();
	if (b->held && random_one_in(&seed, 3)) {
		b->held--;
		give(&bodies[random_below(&seed, THREADS)]);
		return;
	}
	n = __atomic_exchange_n(&b->inbox, 0, __ATOMIC_SEQ_CST);
	b->held += n;
	if (!n && !b->held)
		schedule_here(SCHEDULE_BLOCK);
	else if (random_one_in(&seed, 4))
		yield();
}

/* With the clock of all of them stopped, none of the tokens may be on its way. */
static void *run_cpu(void *arg)
{
	u32 id = (u32)(uintptr_t)arg;

	hosted_cpu_set(id);
	seed = 100 + id;
	irq_disable();
	for (u32 step = 0; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); step++) {
		interrupts();
		if (!is_idle(me->current))
			run_body(body_of(me->current));
		else if (sched_has_work())
			schedule_here(SCHEDULE_PREEMPT);
		else
			sched_yield();
		if (step == STEPS)
			__atomic_fetch_add(&stopped, 1, __ATOMIC_SEQ_CST);
	}
	if (lifted)
		lift();
	irq_enable();
	return NULL;
}

static void rest_ends(void)
{
	__atomic_store_n(&told, true, __ATOMIC_RELEASE);
}

/* As kaged does. Once it is said that the group rests none of its threads takes a step untold. */
static void *look(void *arg)
{
	u64 turns, steps;

	cpus[LOOKER] = (struct cpu){.self = &cpus[LOOKER], .id = LOOKER};
	hosted_cpu_set(LOOKER);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		turns = thread_group_turns();
		steps = __atomic_load_n(&group_steps, __ATOMIC_ACQUIRE);
		__atomic_store_n(&told, false, __ATOMIC_RELEASE);
		if (!thread_groups_rest(turns)) {
			usleep(100);
			continue;
		}
		__atomic_fetch_add(&rests, 1, __ATOMIC_RELAXED);
		while (__atomic_load_n(&group_steps, __ATOMIC_ACQUIRE) == steps &&
		       !__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
			sched_yield();
		untold += __atomic_load_n(&group_steps, __ATOMIC_ACQUIRE) != steps &&
			  !__atomic_load_n(&told, __ATOMIC_ACQUIRE);
	}
	return arg;
}

static void make(u32 i)
{
	struct body *b = &bodies[i];
	struct thread *t = &b->thread;

	memset(b, 0, sizeof(*b));
	t->state = THREAD_NEW;
	t->cpu = &cpus[i % CPUS];
	t->weight = 50 + 20 * i;
	t->group = i % 4 == 1 ? &group : NULL;
	list_init(&t->move_link);
	if (i % 5 == 4)
		cpu_set_add(&t->allowed, i % CPUS);
	else
		cpu_set_fill(&t->allowed);
	if (i % 2)
		t->sched_leave = leave;
}

/* As many as there were, and nobody sleeps with one in its inbox. */
static void count_tokens(void)
{
	u64 tokens = 0;

	for (u32 i = 0; i < THREADS; i++) {
		struct body *b = &bodies[i];

		tokens += b->held + b->inbox;
		assert_true(!b->inbox || b->thread.state != THREAD_BLOCKED);
		assert_int_equal(b->thread.lifted, 0);
		assert_int_equal(b->thread.hurried, 0);
	}
	assert_int_equal(tokens, TOKENS);
}

static struct sched_stats counted(void)
{
	struct sched_stats sum = {0};

	for (u32 i = 0; i < CPUS; i++) {
		struct sched_stats *s = &schedulers[i].stats;

		sum.placed += PEEK(s->placed);
		sum.pulled += PEEK(s->pulled);
		sum.stolen += PEEK(s->stolen);
		sum.left += PEEK(s->left);
		sum.parked += PEEK(s->parked);
		sum.fetched += PEEK(s->fetched);
		sum.yielded_to += PEEK(s->yielded_to);
	}
	return sum;
}

/* How soon depends on how the host has the CPUs run. */
static bool met_all(void)
{
	struct sched_stats s = counted();

	for (u32 i = 0; i < THREADS; i++) {
		if (PEEK(bodies[i].turns) <= 50)
			return false;
	}
	return s.placed + s.pulled + s.stolen > 1000 && s.left > 100 && s.parked > 10 &&
	       s.yielded_to > 20 && s.fetched > 0 && PEEK(rests) > 10;
}

static void no_wake_is_lost_and_nobody_runs_twice(void **state)
{
	pthread_t threads[CPUS], looker;
	struct sched_stats s;

	sched_group_init(&group, 300, 60);
	start_cpus(CPUS);
	for (u32 i = 0; i < THREADS; i++) {
		make(i);
		if (i < TOKENS)
			bodies[i].inbox = 1;
		sched_wake(&bodies[i].thread);
	}
	stop = false;
	thread_rest_init(rest_ends);
	pthread_create(&looker, NULL, look, NULL);
	for (u32 i = 0; i < CPUS; i++)
		pthread_create(&threads[i], NULL, run_cpu, (void *)(uintptr_t)i);
	hosted_wait_until(__atomic_load_n(&stopped, __ATOMIC_SEQ_CST) == CPUS);
	hosted_wait_until(met_all());
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (u32 i = 0; i < CPUS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(looker, NULL);
	assert_int_equal(untold, 0);
	count_tokens();
	s = counted();
	print_message("%llu moves, %llu of them with state, %llu times parked\n",
		      (unsigned long long)(s.placed + s.pulled + s.stolen),
		      (unsigned long long)s.left, (unsigned long long)s.parked);
	print_message("%llu yields to one of this CPU, %llu fetched for that\n",
		      (unsigned long long)s.yielded_to, (unsigned long long)s.fetched);
	print_message("the group rested %llu times\n", (unsigned long long)rests);
	irq_enable();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_wake_is_lost_and_nobody_runs_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
