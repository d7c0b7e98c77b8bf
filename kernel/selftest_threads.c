/* SPDX-License-Identifier: MIT */
/* Self-tests of threads: making and ending, sleeping and waking, preemption. */
#include "kernel/base/backtrace.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "mem/frame.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define NS_PER_MS    1000000ull
#define PING_ROUNDS  1000
#define STORM_ROUNDS 12
#define STORM_SPARE  8 /* frames for each CPU that slabs and page tables may keep */
#define PATIENCE_NS  (20000 * NS_PER_MS)

struct pair {
	struct wait_queue queue;
	u32 turn; /* queue.lock */
	u32 rounds;
};

static void ping(void *arg, u32 me)
{
	struct pair *p = arg;

	for (u32 i = 0; i < PING_ROUNDS; i++) {
		bool on;

		wait_event(&p->queue, p->turn % 2 == me);
		on = wait_lock(&p->queue);
		p->turn++;
		wait_unlock(&p->queue, on);
		wait_wake_one(&p->queue);
	}
}

static void ping_even(void *arg)
{
	ping(arg, 0);
}

static void ping_odd(void *arg)
{
	ping(arg, 1);
}

static void ping_pong(struct selftest *t, u32 cpu_a, u32 cpu_b)
{
	struct thread *a, *b;
	struct pair p = {.turn = 0};

	wait_queue_init(&p.queue);
	if (!EXPECT(t, thread_create(&a, "ping", ping_even, &p, cpu_a) == 0) ||
	    !EXPECT(t, thread_create(&b, "pong", ping_odd, &p, cpu_b) == 0))
		return;
	thread_join(a);
	thread_join(b);
	EXPECT(t, p.turn == 2 * PING_ROUNDS);
	EXPECT(t, list_empty(&p.queue.waiters));
}

static void test_wait(struct selftest *t)
{
	u32 last = cpu_count() - 1;
	u64 start = clock_ns();

	ping_pong(t, 0, last);
	ping_pong(t, last, last);
	ping_pong(t, last / 2, 0);
	selftest_note(t, "%lu ns for one hand-over", (clock_ns() - start) / (3 * 2 * PING_ROUNDS));
}

static void test_wait_deadline(struct selftest *t)
{
	u64 start = clock_ns(), deadline = start + 5 * NS_PER_MS;
	struct wait_queue q;

	wait_queue_init(&q);
	EXPECT(t, !wait_event_until(&q, false, deadline));
	EXPECT(t, clock_ns() >= deadline);
	EXPECT(t, list_empty(&q.waiters));
	EXPECT(t, wait_event_until(&q, true, start));
	EXPECT(t, !wait_event_until(&q, false, start));
	EXPECT(t, list_empty(&q.waiters));
}

/* A wake that comes before the sleep is remembered; nothing else would end it. */
static void test_wake_first(struct selftest *t)
{
	u64 start = clock_ns();

	thread_wake(thread_current());
	EXPECT(t, thread_block_until(start + PATIENCE_NS));
	thread_sleep_until(clock_ns() + NS_PER_MS);
	EXPECT(t, !thread_block_until(clock_ns() + NS_PER_MS));
	thread_wake(thread_current());
	thread_sleep_until(clock_ns() + NS_PER_MS);
	/* The sleep used the wake up, and handed it on. */
	EXPECT(t, thread_block_until(clock_ns() + PATIENCE_NS));
}

static u64 storm_ran; /* atomic */

static void storm_leaf(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&storm_ran, 1, __ATOMIC_SEQ_CST);
}

static void storm_worker(struct selftest_worker *w)
{
	for (u32 i = 0; i < STORM_ROUNDS; i++) {
		u32 cpu = i % 3 ? (w->cpu + i) % cpu_count() : THREAD_ANY_CPU;
		struct thread *leaf;

		if (!EXPECT(w->test, thread_create(&leaf, "leaf", storm_leaf, NULL, cpu) == 0))
			return;
		if (i % 2)
			thread_join(leaf);
		else
			thread_detach(leaf);
	}
}

static u64 frames_free(void)
{
	struct frame_stats stats;

	frame_get_stats(&stats);
	return stats.free;
}

/* Detached threads are freed by another thread, so their memory may take a moment. */
static bool wait_frames_free(u64 least)
{
	u64 end = clock_ns() + PATIENCE_NS;

	while (frames_free() < least) {
		if (clock_ns() > end)
			return false;
		thread_sleep_until(clock_ns() + NS_PER_MS);
	}
	return true;
}

/* The workers' end is not that of the leaves they detached: those may still wait for a CPU. */
static bool storm(struct selftest *t, u32 workers)
{
	u64 all = (u64)selftest_workers(workers) * STORM_ROUNDS;
	u64 end = clock_ns() + PATIENCE_NS;

	__atomic_store_n(&storm_ran, 0, __ATOMIC_SEQ_CST);
	selftest_on_all(t, workers, storm_worker, NULL);
	while (__atomic_load_n(&storm_ran, __ATOMIC_SEQ_CST) != all) {
		if (clock_ns() > end)
			return false;
		thread_sleep_until(clock_ns() + NS_PER_MS);
	}
	return true;
}

static u32 threads_of_all(void)
{
	u32 sum = 0;

	for (u32 id = 0; id < cpu_count(); id++)
		sum += thread_count(id);
	return sum;
}

/* A leaf has counted itself a little before it is gone. */
static bool wait_threads_end(u32 most)
{
	u64 end = clock_ns() + PATIENCE_NS;

	while (threads_of_all() > most) {
		if (clock_ns() > end)
			return false;
		thread_sleep_until(clock_ns() + NS_PER_MS);
	}
	return true;
}

static void test_thread_storm(struct selftest *t)
{
	u32 threads = threads_of_all();
	u64 before;

	EXPECT(t, storm(t, 1)); /* fills the caches */
	before = frames_free();
	EXPECT(t, storm(t, 2));
	EXPECT(t, wait_frames_free(before - STORM_SPARE * cpu_count()));
	EXPECT(t, wait_threads_end(threads + 1));
	selftest_note(t, "%lu threads", storm_ran);
}

struct contest {
	struct selftest *test;
	u32 flag; /* atomic */
	u64 waited_ns;
};

static void spinning(void *arg)
{
	struct contest *c = arg;
	u64 start = clock_ns();

	while (!__atomic_load_n(&c->flag, __ATOMIC_ACQUIRE)) {
		if (!EXPECT(c->test, clock_ns() - start < PATIENCE_NS))
			break;
	}
	c->waited_ns = clock_ns() - start;
}

static void raise_flag(void *arg)
{
	struct contest *c = arg;

	__atomic_store_n(&c->flag, 1, __ATOMIC_RELEASE);
}

/* One spins for what only the other, on the same CPU, can do: it must be made to give way. */
static void test_preempt(struct selftest *t)
{
	u64 longest = 0;

	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		struct contest c = {.test = t};
		struct thread *a, *b;

		if (!EXPECT(t, thread_create(&a, "spinning", spinning, &c, cpu) == 0))
			return;
		thread_sleep_until(clock_ns() + NS_PER_MS);
		if (!EXPECT(t, thread_create(&b, "flag", raise_flag, &c, cpu) == 0))
			raise_flag(&c);
		else
			thread_join(b);
		thread_join(a);
		longest = max(longest, c.waited_ns);
	}
	selftest_note(t, "at most %lu us", longest / 1000);
}

static void burn(void *arg)
{
	u64 end = clock_ns() + *(u64 *)arg;

	while (clock_ns() < end)
		cpu_relax();
}

static void test_run_time(struct selftest *t)
{
	u64 ns = 5 * NS_PER_MS, total;
	struct thread *a;

	if (!EXPECT(t, thread_create(&a, "burn", burn, &ns, cpu_count() - 1) == 0))
		return;
	wait_event(&a->exit_wait, a->exited);
	total = thread_run_ns(a);
	thread_join(a);
	EXPECT(t, total >= ns);
	selftest_note(t, "%lu us on the CPU", total / 1000);
}

static u32 hooks_in, hooks_out; /* atomic */

static void hook_in(struct thread *t)
{
	(void)t;
	__atomic_fetch_add(&hooks_in, 1, __ATOMIC_SEQ_CST);
}

static void hook_out(struct thread *t)
{
	(void)t;
	__atomic_fetch_add(&hooks_out, 1, __ATOMIC_SEQ_CST);
}

static void test_sched_hooks(struct selftest *t)
{
	struct thread *me = thread_current();
	u64 end = clock_ns() + PATIENCE_NS;

	hooks_in = hooks_out = 0;
	me->sched_in = hook_in;
	me->sched_out = hook_out;
	/* A CPU that stands still for that long meanwhile finds the time over, and does not block. */
	while (READ_ONCE(hooks_out) < 3 && clock_ns() < end)
		thread_block_until(clock_ns() + NS_PER_MS);
	me->sched_in = NULL;
	me->sched_out = NULL;
	EXPECT(t, hooks_out >= 3 && hooks_in == hooks_out);
}

static void check_guards(struct selftest_worker *w)
{
	u64 low = (u64)thread_current()->stack, high = low + STACK_SIZE;
	struct selftest *t = w->test;

	EXPECT(t, backtrace_readable(low, 1) && backtrace_readable(high - 1, 1));
	EXPECT(t, !backtrace_readable(low - 1, 1));
	EXPECT(t, !backtrace_readable(low - PAGE_SIZE, 1));
	EXPECT(t, !backtrace_readable(high, 1));
	EXPECT(t, cpu_guard_page_owner(low - 1) == NULL);
}

static void test_guard_pages(struct selftest *t)
{
	selftest_on_all(t, 2, check_guards, NULL);
}

/* Each call's frame is bigger than the last one's use of it; the compiler may not fold them. */
static u64 overflow(u64 depth)
{
	volatile u8 frame[512];

	frame[depth % sizeof(frame)] = 1;
	barrier();
	return depth ? overflow(depth - 1) + frame[depth % sizeof(frame)] : 0;
}

static void overflow_thread(void *arg)
{
	*(u64 *)arg = overflow(STACK_SIZE);
}

/* Ends in a panic: for the boot tests. */
static void test_panic_overflow(struct selftest *t)
{
	struct thread *a;
	u64 sum;

	(void)t;
	if (thread_create(&a, "bottomless", overflow_thread, &sum, cpu_count() - 1) == 0)
		thread_join(a);
}

static void test_panic_overflow_main(struct selftest *t)
{
	u64 sum;

	(void)t;
	overflow_thread(&sum);
}

const struct selftest_case selftest_threads[] = {
	{"wait", test_wait, false},
	{"wait-deadline", test_wait_deadline, false},
	{"wake-first", test_wake_first, false},
	{"thread-storm", test_thread_storm, false},
	{"preempt", test_preempt, false},
	{"run-time", test_run_time, false},
	{"sched-hooks", test_sched_hooks, false},
	{"guard-pages", test_guard_pages, false},
	{"panic-overflow", test_panic_overflow, true},
	{"panic-overflow-main", test_panic_overflow_main, true},
	{NULL, NULL, false},
};
