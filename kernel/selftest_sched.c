/* SPDX-License-Identifier: MIT */
/* Self-tests of the scheduler: threads that move between CPUs, where they may, and their shares. */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define NS_PER_MS   1000000ull
#define NS_PER_US   1000ull
#define PATIENCE_NS (20000 * NS_PER_MS)
#define RUNNERS_MAX 64
#define STORM_TURNS 150
#define SHARE_NS    (400 * NS_PER_MS)
#define SLACK	    5 /* percent */
#define SHARE_TRIES 5
#define STALL_NS    (500 * NS_PER_US) /* of its own time, for a turn of some 50 us */
#define LATE_NS	    (50 * NS_PER_MS)  /* for its first turn, and for its end */
#define CAP_PERCENT 40

struct runner {
	struct selftest *test;
	struct thread *thread;
	struct thread_options options;
	struct wait_queue queue;
	u32 tokens; /* queue.lock */
	u32 inside; /* atomic: who runs it; never more than one */
	u64 seen;   /* CPUs, as bits */
	u32 moves;  /* from one to another */
	u64 until_ns;
	u64 ended_ns;
	u64 run_ns;
	u64 stalled_ns; /* its CPU stood still, by what turns took or how late it came */
};

static struct runner runners[RUNNERS_MAX];
static s32 turns_left; /* atomic; below 0 once it is over */

static void note_cpu(struct runner *r)
{
	bool on = irq_save();
	u32 cpu = cpu_id();

	EXPECT(r->test, cpu_set_has(&r->options.allowed, cpu));
	EXPECT(r->test, thread_current() == r->thread || !r->thread);
	r->moves += r->seen && !(r->seen & BIT(cpu % 64));
	r->seen |= BIT(cpu % 64);
	irq_restore(on);
}

static void spin(u64 ns)
{
	u64 end = clock_ns() + ns;

	while (clock_ns() < end)
		cpu_relax();
}

static u32 runner_count(void)
{
	return min(4 * cpu_count() + 1, (u32)RUNNERS_MAX);
}

static struct runner *next_of(struct runner *r)
{
	u32 i = (u32)(r - runners);

	return &runners[(i + 3) % runner_count()];
}

static void give_token(struct runner *to)
{
	bool on = wait_lock(&to->queue);

	to->tokens++;
	wait_wake_one_locked(&to->queue);
	wait_unlock(&to->queue, on);
}

static bool over(void)
{
	return __atomic_load_n(&turns_left, __ATOMIC_RELAXED) <= 0;
}

static bool take_token(struct runner *r)
{
	if (r->tokens) {
		r->tokens--;
		return true;
	}
	return over();
}

/* Works a little, passes the token on, and sleeps until it has another. */
static void storm_runner(void *arg)
{
	struct runner *r = arg;
	u32 turn = 0;

	for (;;) {
		wait_event(&r->queue, take_token(r));
		if (over())
			break;
		EXPECT(r->test, __atomic_fetch_add(&r->inside, 1, __ATOMIC_SEQ_CST) == 0);
		note_cpu(r);
		spin((turn % 4) * 20 * NS_PER_US);
		if (turn % 3 == 0)
			thread_yield();
		note_cpu(r);
		EXPECT(r->test, __atomic_fetch_sub(&r->inside, 1, __ATOMIC_SEQ_CST) == 1);
		if (turn++ % 8 == 0)
			thread_sleep_until(clock_ns() + 100 * NS_PER_US);
		give_token(next_of(r));
		__atomic_fetch_sub(&turns_left, 1, __ATOMIC_SEQ_CST);
	}
	/* Who sleeps learns of the end from its neighbour. */
	give_token(next_of(r));
}

static void prepare(struct selftest *t, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		runners[i] = (struct runner){.test = t, .options = {.weight = WEIGHT_DEFAULT}};
		wait_queue_init(&runners[i].queue);
	}
}

static bool start(struct selftest *t, u32 count, void (*fn)(void *))
{
	for (u32 i = 0; i < count; i++) {
		struct runner *r = &runners[i];

		if (!EXPECT(t, thread_create_with(&r->thread, "runner", fn, r, &r->options) == 0))
			return false;
	}
	return true;
}

static void join(u32 count)
{
	for (u32 i = 0; i < count; i++)
		thread_join(runners[i].thread);
}

/* Every fourth is pinned; with one token for each CPU and one more, CPUs are idle now and then. */
static void test_migrate(struct selftest *t)
{
	u32 count = runner_count(), moves = 0, wanderers = 0;

	prepare(t, count);
	turns_left = (s32)(STORM_TURNS * count);
	for (u32 i = 0; i < count; i++) {
		if (i % 4 == 3)
			cpu_set_add(&runners[i].options.allowed, i % cpu_count());
		else
			cpu_set_fill(&runners[i].options.allowed);
		runners[i].tokens = i <= cpu_count();
	}
	if (!start(t, count, storm_runner))
		panic("threads of a self-test could not all be made");
	join(count);
	for (u32 i = 0; i < count; i++) {
		moves += runners[i].moves;
		wanderers += (runners[i].seen & (runners[i].seen - 1)) != 0;
	}
	EXPECT(t, cpu_count() == 1 || wanderers > 0);
	selftest_note(t, "%u threads, %u of them on several CPUs, %u came to a new one", count,
		      wanderers, moves);
}

/* Not with a turn of another's in the middle of the look. */
static u64 my_run_ns(void)
{
	bool on = irq_save();
	u64 ns = thread_run_ns(thread_current());

	irq_restore(on);
	return ns;
}

static void take_turn(struct runner *r)
{
	u64 ran = my_run_ns();

	note_cpu(r);
	spin(50 * NS_PER_US);
	ran = my_run_ns() - ran;
	r->stalled_ns += ran > STALL_NS ? ran : 0;
}

static void share_runner(void *arg)
{
	struct runner *r = arg;

	while (clock_ns() < r->until_ns)
		take_turn(r);
	r->run_ns = thread_run_ns(thread_current());
}

/* Busy threads of these weights on CPUs 0 to cpus-1, from the same moment on. */
static bool share(struct selftest *t, u32 cpus, u32 count, const u32 *weights)
{
	u64 begin = clock_ns() + 20 * NS_PER_MS;

	prepare(t, count);
	for (u32 i = 0; i < count; i++) {
		runners[i].options.weight = weights[i];
		runners[i].until_ns = begin + SHARE_NS;
		for (u32 cpu = 0; cpu < cpus; cpu++)
			cpu_set_add(&runners[i].options.allowed, cpu);
	}
	if (!start(t, count, share_runner))
		panic("threads of a self-test could not all be made");
	join(count);
	return true;
}

static u64 sum_of_runs(u32 count)
{
	u64 sum = 0;

	for (u32 i = 0; i < count; i++)
		sum += runners[i].run_ns;
	return sum;
}

static u64 sum_of_stalls(u32 count)
{
	u64 sum = 0;

	for (u32 i = 0; i < count; i++)
		sum += runners[i].stalled_ns;
	return sum;
}

static u64 per_mille(u64 part, u64 whole)
{
	return part * 1000 / max(whole, (u64)1);
}

static bool is_about(u64 mine, u64 due)
{
	return mine >= due - 10 * SLACK && mine <= due + 10 * SLACK;
}

/* One CPU, weights 1 to 3. */
static void test_fair(struct selftest *t)
{
	static const u32 weights[] = {100, 300};
	u64 mine;

	share(t, 1, 2, weights);
	mine = per_mille(runners[0].run_ns, sum_of_runs(2));
	EXPECT(t, is_about(mine, 250));
	selftest_note(t, "%lu.%lu and %lu.%lu %%", mine / 10, mine % 10, (1000 - mine) / 10,
		      (1000 - mine) % 10);
}

/* Three threads on two CPUs: two thirds of a CPU each, which they only get by going to and fro. */
static bool share_two_cpus(struct selftest *t)
{
	static const u32 weights[] = {100, 100, 100};
	bool fair = true;

	share(t, 2, 3, weights);
	for (u32 i = 0; i < 3; i++)
		fair &= is_about(per_mille(runners[i].run_ns, sum_of_runs(3)), 333);
	return fair;
}

/*
 * Where an emulator's CPUs are threads of a busy host one may stand still as the other runs, and the
 * time is charged to whoever was there: what such a try finds says nothing of the scheduler.
 */
static void test_fair_cpus(struct selftest *t)
{
	u32 tries = 1;
	bool fair;
	u64 sum;

	if (cpu_count() < 2) {
		selftest_skip(t, "it wants two CPUs");
		return;
	}
	while (!(fair = share_two_cpus(t)) && sum_of_stalls(3) && tries < SHARE_TRIES)
		tries++;
	EXPECT(t, fair);
	sum = sum_of_runs(3);
	selftest_note(t, "%lu, %lu and %lu per mille at try %u, CPUs stood still for %lu us",
		      per_mille(runners[0].run_ns, sum), per_mille(runners[1].run_ns, sum),
		      per_mille(runners[2].run_ns, sum), tries,
		      (u64)(sum_of_stalls(3) / NS_PER_US));
}

static void note_late(struct runner *r, u64 due_ns)
{
	u64 late = clock_ns() - due_ns;

	r->stalled_ns += late > LATE_NS ? late : 0;
}

static void capped_runner(void *arg)
{
	struct runner *r = arg;

	note_late(r, r->until_ns - SHARE_NS);
	while (clock_ns() < r->until_ns) {
		thread_may_park();
		take_turn(r);
	}
	r->run_ns = thread_run_ns(thread_current());
	r->ended_ns = clock_ns();
	note_late(r, r->until_ns);
}

/* What two threads of a group use together, in per mille of a CPU, whatever else is idle. */
static u64 share_capped(struct selftest *t)
{
	static struct sched_group group;
	u64 start_ns = clock_ns(), used;

	sched_group_init(&group, WEIGHT_DEFAULT, CAP_PERCENT);
	prepare(t, 2);
	for (u32 i = 0; i < 2; i++) {
		cpu_set_fill(&runners[i].options.allowed);
		runners[i].options.group = &group;
		runners[i].until_ns = start_ns + SHARE_NS;
	}
	if (!start(t, 2, capped_runner))
		panic("threads of a self-test could not all be made");
	join(2);
	used = per_mille(sum_of_runs(2), max(runners[0].ended_ns, runners[1].ended_ns) - start_ns);
	sched_group_destroy(&group);
	return used;
}

/* The last period may have been used up at its beginning. */
static bool is_capped(u64 used)
{
	return used >= 10 * (CAP_PERCENT - SLACK) && used <= 10 * (CAP_PERCENT + 2 * SLACK);
}

/* What a CPU that stands still in the last period uses too much, no period after it pays back. */
static void test_cap(struct selftest *t)
{
	u32 tries = 1;
	u64 used;

	while (!is_capped(used = share_capped(t)) && sum_of_stalls(2) && tries < SHARE_TRIES)
		tries++;
	EXPECT(t, is_capped(used));
	selftest_note(t, "%lu.%lu %% of a CPU, cap %u %%, at try %u, CPUs stood still for %lu us",
		      used / 10, used % 10, CAP_PERCENT, tries,
		      (u64)(sum_of_stalls(2) / NS_PER_US));
}

/* What keeps a thread on a CPU is told of as it leaves, there, and before it runs elsewhere. */
static u32 state_cpu, leaves; /* of one thread; state_cpu: id + 1, 0: nowhere */
static u64 leave_until_ns;    /* without a leave the threads go on, but no longer than this */

static void state_in(struct thread *thread)
{
	struct runner *r = thread->arg;

	EXPECT(r->test, state_cpu == 0 || state_cpu == cpu_id() + 1);
	state_cpu = cpu_id() + 1;
}

static void state_leave(struct thread *thread)
{
	struct runner *r = thread->arg;

	EXPECT(r->test, !irq_enabled() && state_cpu == cpu_id() + 1);
	EXPECT(r->test, thread_current() != thread);
	state_cpu = 0;
	leaves++;
}

static bool goes_on(const struct runner *r)
{
	u64 now = clock_ns();

	return now < r->until_ns || (!READ_ONCE(leaves) && now < leave_until_ns);
}

static void state_runner(void *arg)
{
	struct runner *r = arg;
	struct thread *me = thread_current();
	bool on = irq_save();

	me->sched_in = state_in;
	me->sched_leave = state_leave;
	state_in(me);
	irq_restore(on);
	while (goes_on(r)) {
		EXPECT(r->test, READ_ONCE(state_cpu) != 0);
		note_cpu(r);
		spin(100 * NS_PER_US);
		if (r->moves % 2)
			thread_sleep_until(clock_ns() + 200 * NS_PER_US);
	}
	me->sched_in = NULL;
	me->sched_leave = NULL;
}

static void busy_runner(void *arg)
{
	struct runner *r = arg;

	while (goes_on(r))
		spin(50 * NS_PER_US);
}

/* One such thread among busy ones, with one more than there are CPUs, so that all move. */
static void test_leave(struct selftest *t)
{
	u64 until_ns = clock_ns() + SHARE_NS / 2;
	u32 count = cpu_count() + 1;

	state_cpu = leaves = 0;
	leave_until_ns = cpu_count() > 1 ? until_ns + PATIENCE_NS : until_ns;
	prepare(t, count);
	for (u32 i = 0; i < count; i++) {
		cpu_set_fill(&runners[i].options.allowed);
		runners[i].until_ns = until_ns;
		if (!EXPECT(t, thread_create_with(&runners[i].thread, "runner",
						  i ? busy_runner : state_runner, &runners[i],
						  &runners[i].options) == 0))
			panic("threads of a self-test could not all be made");
	}
	join(count);
	EXPECT(t, cpu_count() == 1 || leaves > 0);
	selftest_note(t, "left a CPU %u times", leaves);
}

const struct selftest_case selftest_sched[] = {
	{"migrate", test_migrate, false},     {"fair", test_fair, false},
	{"fair-cpus", test_fair_cpus, false}, {"cap", test_cap, false},
	{"sched-leave", test_leave, false},   {NULL, NULL, false},
};
