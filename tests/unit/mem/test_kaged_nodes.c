/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* unit-sanitizer: thread */
/*
 * A kaged for each of two memory nodes: on which CPUs it may run, which of them is woken, and which looks
 * at what is used. The kageds are the real ones, on threads of the host; the test has the clock.
 */
#include <pthread.h>
#include <string.h>
#include "mem/gmem_private.h"
#include "mem/reclaim_private.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"

#define SECOND	 1000000000ull
#define ROUND	 (10 * SECOND)
#define BOUNDARY 2000u
#define OBJECTS	 4u
#define COLD	 1000u /* pages of node 0 that may go */

static u64 now;
static struct gmem *objects[OBJECTS];
static struct reclaim_target targets[OBJECTS];
static struct gmem_notifier looks[OBJECTS];
static struct thread_options asked[2];
static u32 created, cpus; /* CPUs online as they were */
/* atomic */
static struct thread *kageds[2];
static u64 slept_until[2]; /* of its last sleep; 0: none since it was looked at */
static u32 sleeps[2], lent_to[2];
static bool rests;
static void (*rest_ends)(void);

#define GET(x)	  __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)

static struct job {
	void (*fn)(void *arg);
	void *arg;
} jobs[2];

static void run(void *arg)
{
	struct job *job = arg;

	SET(kageds[job - jobs], thread_current());
	job->fn(job->arg);
}

int thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
		       const struct thread_options *options)
{
	assert_true(created < 2);
	asked[created] = *options;
	cpus = cpu_count();
	jobs[created] = (struct job){fn, arg};
	return thread_create(out, name, run, &jobs[created++], THREAD_ANY_CPU);
}

void thread_rest_init(void (*ends)(void))
{
	rest_ends = ends;
}

u64 thread_group_turns(void)
{
	static u64 turns;

	return GET(rests) ? 0 : __atomic_add_fetch(&turns, 1, __ATOMIC_SEQ_CST);
}

bool thread_groups_rest(u64 turns)
{
	return GET(rests) && !turns;
}

/* The kaged that is lent the weight of who asks it. */
u32 thread_lend(struct thread *t)
{
	for (u32 i = 0; i < 2; i++) {
		if (t == GET(kageds[i]))
			__atomic_fetch_add(&lent_to[i], 1, __ATOMIC_SEQ_CST);
	}
	return 0;
}

static bool on_sleep(const bool *woken, u64 deadline_ns)
{
	(void)woken;
	for (u32 i = 0; i < 2; i++) {
		if (thread_current() == GET(kageds[i])) {
			__atomic_fetch_add(&sleeps[i], 1, __ATOMIC_SEQ_CST);
			SET(slept_until[i], deadline_ns);
		}
	}
	return false;
}

static u32 looked[OBJECTS]
		 [2]; /* atomic: how often each kaged looked at each object's first pages */

static u64 count_looks(struct gmem_notifier *n, struct gmem *g, enum gmem_event event, u64 first,
		       u64 pages, u64 *young)
{
	(void)n;
	for (u32 i = 0; i < OBJECTS; i++) {
		for (u32 k = 0; event == GMEM_EVENT_AGE && k < 2; k++) {
			if (objects[i] == g && first == 0 && thread_current() == GET(kageds[k]))
				__atomic_fetch_add(&looked[i][k], 1, __ATOMIC_SEQ_CST);
		}
	}
	return 0;
}

static void both_sleep_until(u64 deadline_ns)
{
	for (u32 i = 0; i < 2; i++)
		hosted_wait_until(GET(slept_until[i]) == deadline_ns);
}

static void pass(u64 ns)
{
	SET(slept_until[0], 0);
	SET(slept_until[1], 0);
	now += ns;
	hosted_clock_set(now);
}

static int start_kageds(void **state)
{
	const struct reclaim_options options = {.min = 256, .low = 512, .high = 768};
	const struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
	static struct frame_nodes nodes = {
		.count = 2,
		.range_count = 1,
		.ranges = {{BOUNDARY * PAGE_SIZE, MIB(16), 1}},
	};
	pfn_t pfn;

	now = 1000 * SECOND;
	hosted_clock_set(now);
	start(MIB(16));
	for (u32 cpu = 0; cpu < CPU_MAX; cpu++)
		nodes.of_cpu[cpu] = cpu >= 1;
	frame_set_nodes(&nodes);
	hosted_cpu_set(3);
	hosted_cpu_set(0);
	hosted_on_sleep = on_sleep;
	assert_int_equal(reclaim_start(&options), 0);
	for (u32 i = 0; i < OBJECTS; i++) {
		assert_int_equal(gmem_create(COLD, &objects[i]), 0);
		looks[i].notify = count_looks;
		gmem_notifier_add(objects[i], &looks[i]);
		reclaim_add(&targets[i], objects[i], &terms);
		assert_int_equal(gmem_get_page(objects[i], 0, true, &pfn), 0);
	}
	for (u64 i = 0; i < COLD; i++)
		assert_int_equal(gmem_get_page(objects[0], i, true, &pfn), 0);
	assert_int_equal(frame_node_of(pfn), 0);
	for (u32 i = 0; i < 2; i++)
		hosted_wait_until(GET(slept_until[i]) != 0);
	return 0;
}

/* Each on the CPUs of its node; where that has none that is online, on any. */
static void near_their_memory(void **state)
{
	assert_int_equal(created, 2);
	for (u32 i = 0; i < 2; i++) {
		bool has = false;

		assert_int_equal(asked[i].number, i + 1);
		for (u32 cpu = 0; cpu < cpus; cpu++)
			has |= frame_node_of_cpu(cpu) == i;
		for (u32 cpu = 0; cpu < cpus; cpu++)
			assert_int_equal(cpu_set_has(&asked[i].allowed, cpu),
					 !has || frame_node_of_cpu(cpu) == i);
	}
	assert_true(cpu_set_has(&asked[0].allowed, 0));
	assert_false(cpu_set_has(&asked[0].allowed, 1));
	assert_false(cpu_set_is_empty(&asked[1].allowed));
}

/* At rest each looks after some of the objects, so that all are looked at once in a round. */
static void each_looks_after_some(void **state)
{
	u64 rounds = GET(reclaim.stats.rounds);

	for (u32 i = 1; i <= 3; i++) {
		pass(ROUND);
		both_sleep_until(now + ROUND);
		assert_int_equal(GET(reclaim.stats.rounds), rounds + i * OBJECTS);
	}
	for (u32 i = 0; i < OBJECTS; i++) {
		assert_int_equal(GET(looked[i][targets[i].id % 2]), 3);
		assert_int_equal(GET(looked[i][(targets[i].id + 1) % 2]), 0);
	}
}

/* Neither is kept from its rest by what the other does. */
static void both_rest(void **state)
{
	u64 rounds;
	u32 n = 0;

	SET(rests, true);
	do {
		pass(ROUND);
		assert_true(++n < 50);
		for (u32 i = 0; i < 2; i++)
			hosted_wait_until(GET(slept_until[i]) == ~0ull ||
					  GET(slept_until[i]) == now + ROUND);
	} while (GET(slept_until[0]) != ~0ull || GET(slept_until[1]) != ~0ull);
	rounds = GET(reclaim.stats.rounds);
	SET(rests, false);
	pass(100 * ROUND);
	rest_ends();
	both_sleep_until(now + ROUND);
	assert_int_equal(GET(reclaim.stats.rounds), rounds);
	pass(ROUND);
	both_sleep_until(now + ROUND);
	assert_int_equal(GET(reclaim.stats.rounds), rounds + OBJECTS);
}

static pfn_t hold[MIB(16) / PAGE_SIZE];
static u32 held;

/* Node 0 has next to nothing free, and node 1 its part of low. */
static void leave_little(void)
{
	hosted_cpu_set(0);
	frame_node_keep(0, 0);
	while (frame_node_free(0) > 10)
		assert_int_equal(frame_alloc(0, 0, &hold[held++]), 0);
	hosted_cpu_set(1);
	frame_node_keep(1, 0);
	while (reclaim_node_lacks(1, watermarks.low) == 0)
		assert_int_equal(frame_alloc(0, 0, &hold[held++]), 0);
	/* By a few more than its CPU may have at hand. */
	for (u32 i = 0; i < 100; i++)
		frame_free(hold[--held], 0);
	assert_int_equal(reclaim_node_lacks(1, watermarks.low), 0);
	assert_true(reclaim_node_lacks(0, watermarks.low) > 0);
}

/* Where memory is low in all, who has its part sleeps on. */
static void who_lacks_is_woken(void **state)
{
	u32 before[2];

	leave_little();
	for (u32 i = 0; i < 2; i++)
		before[i] = GET(sleeps[i]);
	assert_true(reclaim_is_short());
	reclaim_wake();
	hosted_wait_until(GET(sleeps[0]) > before[0]);
	assert_int_equal(GET(sleeps[1]), before[1]);
	while (held)
		frame_free(hold[--held], 0);
}

/* Who finds nothing to take wakes the other, which has its part. */
static void who_finds_nothing_wakes_the_other(void **state)
{
	u32 before;

	for (u32 i = 0; i < OBJECTS; i++)
		assert_int_equal(gmem_drop_range(objects[i], 0, COLD, NULL), 0);
	leave_little();
	before = GET(sleeps[1]);
	reclaim_wake();
	hosted_wait_until(GET(sleeps[1]) > before);
	while (held)
		frame_free(hold[--held], 0);
}

bool thread_is_slow(void)
{
	return true;
}

static void *ask(void *arg)
{
	bool *again = arg;

	hosted_cpu_set(4);
	assert_true(reclaim_ask_kaged(again));
	return NULL;
}

/* Of the one that lacks most it is known that it finds nothing: who wants pages taken asks the other. */
static void who_found_nothing_is_not_asked(void **state)
{
	u32 before[2], lent_before = GET(lent_to[0]);
	pthread_t asking;
	bool again = true;

	/* There is enough again: they do not try again after a while. */
	pass(ROUND);
	both_sleep_until(now + ROUND);
	leave_little();
	while (reclaim_node_lacks(1, watermarks.high))
		frame_free(hold[--held], 0);
	assert_true(reclaim_is_short());
	pass(0);
	reclaim_wake();
	/* Each until it tries again, or is asked. */
	for (u32 i = 0; i < 2; i++)
		hosted_wait_until(GET(slept_until[i]) > now && GET(slept_until[i]) < now + SECOND);
	assert_int_equal(reclaim_neediest_node(), 0);
	for (u32 i = 0; i < 2; i++)
		before[i] = GET(sleeps[i]);
	assert_int_equal(pthread_create(&asking, NULL, ask, &again), 0);
	hosted_wait_until(GET(sleeps[1]) > before[1]);
	assert_int_equal(GET(sleeps[0]), before[0]);
	assert_int_equal(GET(lent_to[0]), lent_before);
	assert_int_equal(GET(lent_to[1]), 1);
	pass(SECOND / 100); /* it waits no longer */
	pthread_join(asking, NULL);
	assert_false(again);
	while (held)
		frame_free(hold[--held], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_their_memory),
		cmocka_unit_test(each_looks_after_some),
		cmocka_unit_test(both_rest),
		cmocka_unit_test(who_lacks_is_woken),
		cmocka_unit_test(who_finds_nothing_wakes_the_other),
		cmocka_unit_test(who_found_nothing_is_not_asked),
	};

	return cmocka_run_group_tests(tests, start_kageds, NULL);
}
