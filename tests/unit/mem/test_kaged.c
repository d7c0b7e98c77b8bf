/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* unit-sanitizer: thread */
/*
 * When kaged makes a round, and when it sleeps until somebody wakes it. The test has the clock, and says
 * whether vCPUs rest; kaged is the real one, on a thread of the host.
 */
#include <sched.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "mem/gmem_private.h"
#include "mem/reclaim_private.h"
#include "mem/swap.h"
#include "mem/watermark.h"
#include "smp/thread.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"

#define SECOND	    1000000000ull
#define ROUND	    (10 * SECOND)
#define NEVER	    (~0ull)
#define RETRY	    (SECOND / 20) /* where memory is low and nothing goes */
#define TURNS	    77u
#define WAKES_RACED 500u

static struct gmem *g;
static struct reclaim_target target;
static u64 now; /* the main thread's */
static void (*rest_ends)(void);
/* atomic */
static u64 slept_until; /* of kaged's last sleep; 0: none since it was looked at */
static struct thread *kaged;
static u64 looks, turns_made;
static bool rests, ends_at_once;

#define GET(x)	  __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)

void thread_rest_init(void (*ends)(void))
{
	rest_ends = ends;
}

/* As a round begins: vCPUs ran since the last one, unless they rest. */
u64 thread_group_turns(void)
{
	if (!GET(rests))
		__atomic_fetch_add(&turns_made, 1, __ATOMIC_SEQ_CST);
	return TURNS + GET(turns_made);
}

/* ends_at_once: a vCPU comes to run as soon as kaged has said that it will sleep. */
bool thread_groups_rest(u64 turns)
{
	assert_int_equal(turns, TURNS + GET(turns_made));
	__atomic_fetch_add(&looks, 1, __ATOMIC_SEQ_CST);
	if (GET(ends_at_once))
		rest_ends();
	return GET(rests);
}

static bool on_sleep(const bool *woken, u64 deadline_ns)
{
	(void)woken;
	if (strcmp(thread_current()->name, "kaged") == 0) {
		SET(kaged, thread_current());
		SET(slept_until, deadline_ns);
	}
	return false;
}

#define wait_until_it_sleeps(deadline_ns) hosted_wait_until(GET(slept_until) == (deadline_ns))

static u64 found;

static void take_value(const struct stat_value *v, void *arg)
{
	found = v->value;
}

static u64 counted(const char *name)
{
	assert_int_equal(stat_for_each(name, take_value, NULL), 1);
	return found;
}

static u64 rounds(void)
{
	return counted("reclaim.rounds");
}

static void pass(u64 ns)
{
	SET(slept_until, 0);
	now += ns;
	hosted_clock_set(now);
}

/* No vCPU runs any more: the rounds go on until another would find the same. */
static u32 come_to_rest(void)
{
	u64 before = rounds(), until;
	u32 n = 0;

	SET(rests, true);
	do {
		pass(ROUND);
		assert_true(++n < 50);
		hosted_wait_until((until = GET(slept_until)) == NEVER || until == now + ROUND);
	} while (until != NEVER);
	assert_int_equal(rounds(), before + n);
	return n;
}

static int start_kaged(void **state)
{
	const struct reclaim_options options = {.min = 256, .low = 512, .high = 768};
	struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
	pfn_t pfn;

	now = 1000 * SECOND;
	hosted_clock_set(now);
	start(MIB(12));
	hosted_on_sleep = on_sleep;
	assert_int_equal(reclaim_start(&options), 0);
	stat_register(&reclaim_stat_group);
	stat_register(&reclaim_memory_stat_group);
	assert_int_equal(gmem_create(1, &g), 0);
	reclaim_add(&target, g, &terms);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	wait_until_it_sleeps(now + ROUND);
	return 0;
}

static void rounds_while_vcpus_run(void **state)
{
	for (u32 i = 1; i <= 5; i++) {
		pass(ROUND);
		wait_until_it_sleeps(now + ROUND);
		assert_int_equal(rounds(), i);
	}
}

/* None later than what the last one ran could show in, and none before one has run for a while. */
static void none_while_they_rest(void **state)
{
	u64 before;

	(void)come_to_rest();
	before = rounds();
	SET(slept_until, 0);
	now += 10000 * SECOND;
	hosted_clock_set(now);
	SET(rests, false);
	rest_ends();
	wait_until_it_sleeps(now + ROUND);
	assert_int_equal(rounds(), before);
	pass(ROUND - 1);
	thread_wake(GET(kaged)); /* it looks at the clock, and sleeps on */
	wait_until_it_sleeps(now + 1);
	assert_int_equal(rounds(), before);
	pass(1);
	wait_until_it_sleeps(now + ROUND);
	assert_int_equal(rounds(), before + 1);
}

static u64 uses_it(struct gmem_notifier *n, struct gmem *of, enum gmem_event event, u64 first,
		   u64 pages, u64 *young)
{
	if (event == GMEM_EVENT_AGE && young && !GET(rests))
		young[0] |= 1;
	return 0;
}

/* What was used until the last vCPU stopped is known as unused before kaged sleeps. */
static void rests_when_nothing_is_used(void **state)
{
	struct gmem_notifier n = {.notify = uses_it};

	gmem_notifier_add(g, &n);
	SET(rests, false);
	for (u32 i = 0; i < 4; i++) {
		pass(ROUND);
		wait_until_it_sleeps(now + ROUND);
	}
	assert_int_equal(GET(target.working_set), 1);
	assert_true(come_to_rest() > 2);
	assert_int_equal(GET(target.working_set), 0);
	SET(rests, false);
	SET(slept_until, 0);
	rest_ends();
	wait_until_it_sleeps(now + ROUND);
	gmem_notifier_remove(g, &n);
}

/* The log's last word is not that memory is low where it is not. */
static void rests_when_all_is_told(void **state)
{
	u32 low = watermarks.low, high = watermarks.high;

	SET(rests, false);
	hosted_log_reset();
	watermarks.low = watermarks.high = 1u << 20;
	SET(slept_until, 0);
	reclaim_wake();
	wait_until_it_sleeps(now + RETRY);
	assert_int_equal(hosted_log_count(LOG_INFO), 1);
	watermarks.low = low;
	watermarks.high = high;
	spin_lock(&reclaim.lock);
	reclaim.tell_gap_ns = 30 * ROUND;
	spin_unlock(&reclaim.lock);
	pass(ROUND);
	wait_until_it_sleeps(now + ROUND);
	assert_true(come_to_rest() >= 29);
	assert_non_null(strstr(hosted_log_last(), "enough is free"));
	SET(rests, false);
	SET(slept_until, 0);
	rest_ends();
	wait_until_it_sleeps(now + ROUND);
}

/* Memory is low, or somebody waits: it looks, and rests again. */
static void a_watermark_wakes_it(void **state)
{
	u64 before, seen;

	(void)come_to_rest();
	before = rounds();
	for (u32 i = 0; i < 3; i++) {
		seen = GET(looks);
		SET(slept_until, 0);
		reclaim_wake();
		wait_until_it_sleeps(NEVER);
		assert_int_equal(GET(looks), seen + 1);
	}
	assert_int_equal(rounds(), before);
	SET(rests, false);
	SET(slept_until, 0);
	rest_ends();
	wait_until_it_sleeps(now + ROUND);
}

#define COLD  400u
#define SLACK 150u /* more than CPUs may have at hand, which is not seen */

static u64 pages_taken(void)
{
	return counted("reclaim.packed") + counted("reclaim.zero") + counted("reclaim.filled");
}

/* Nobody calls; kaged wakes by time. */
static void after_rounds(u32 n, u64 low, u64 high)
{
	watermarks.low = low;
	watermarks.high = high;
	for (u32 i = 0; i < n; i++) {
		pass(ROUND);
		wait_until_it_sleeps(now + ROUND);
	}
}

static void touch_all(struct gmem *object)
{
	pfn_t pfn;

	for (u64 i = 0; i < object->pages; i++)
		assert_int_equal(gmem_get_page(object, i, true, &pfn), 0);
}

/* Above low nothing is taken for time alone; once low was met what is old goes until high is. */
static void between_low_and_high(void **state)
{
	u64 low = watermarks.low, high = watermarks.high, free, taken;
	struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
	static struct reclaim_target cold;
	struct gmem *object;

	assert_int_equal(gmem_create(COLD, &object), 0);
	touch_all(object);
	reclaim_add(&cold, object, &terms);
	after_rounds(10, low, high);
	taken = pages_taken();
	free = watermark_free();
	after_rounds(5, free - SLACK, free + SLACK);
	assert_int_equal(counted("memory.state"), RECLAIM_ENOUGH);
	assert_int_equal(pages_taken(), taken);
	/* Who finds less has it taken to high, */
	watermarks.low = free + SLACK / 2;
	SET(slept_until, 0);
	reclaim_wake();
	wait_until_it_sleeps(now + ROUND);
	assert_true(watermark_free() >= watermarks.high);
	assert_in_range(pages_taken() - taken, SLACK / 2, 2 * SLACK);
	/* which ends it: what comes back stays. */
	watermarks.low = free - SLACK;
	touch_all(object);
	taken = pages_taken();
	after_rounds(5, free - SLACK, free + SLACK);
	assert_int_equal(pages_taken(), taken);
	/* Where high was not reached it goes on, as pages grow old. */
	watermarks.low = free + SLACK;
	watermarks.high = free + 2 * COLD;
	SET(slept_until, 0);
	reclaim_wake();
	wait_until_it_sleeps(now + ROUND);
	assert_int_equal(counted("memory.state"), RECLAIM_LOW);
	assert_in_range(watermark_free(), watermarks.low, watermarks.high - 1);
	watermarks.low = free - SLACK;
	touch_all(object);
	taken = pages_taken();
	after_rounds(10, free - SLACK, free + 2 * COLD);
	assert_int_equal(pages_taken() - taken, COLD);
	reclaim_remove(&cold);
	gmem_unref(object);
	after_rounds(1, low, high);
	assert_int_equal(counted("memory.state"), RECLAIM_ENOUGH);
}

/* Between what kaged looks at and its sleep. */
static void one_runs_just_then(void **state)
{
	(void)come_to_rest();
	SET(ends_at_once, true);
	SET(slept_until, 0);
	rest_ends();
	wait_until_it_sleeps(now + ROUND);
	pass(ROUND);
	wait_until_it_sleeps(now + ROUND);
	SET(ends_at_once, false);
	SET(rests, false);
	pass(ROUND);
	wait_until_it_sleeps(now + ROUND);
}

/* The same by chance, at any moment: it is never left asleep. */
static void no_wake_is_lost(void **state)
{
	(void)come_to_rest();
	SET(slept_until, 0);
	rest_ends();
	wait_until_it_sleeps(now + ROUND);
	for (u32 i = 0; i < WAKES_RACED; i++) {
		u64 seen = GET(looks);

		pass(ROUND);
		hosted_wait_until(GET(looks) != seen);
		for (u32 k = 0; k < i % 50; k++)
			cpu_relax();
		rest_ends();
		wait_until_it_sleeps(now + ROUND);
	}
	SET(rests, false);
	pass(ROUND);
	wait_until_it_sleeps(now + ROUND);
}

#define HANGS 5u /* seconds */
#define STEP  10000000ull
#define HARD  (2u * SWAP_WRITES_MAX)

/*
 * As long as nothing that is under way to the disk ends kaged looks again less and less often. The last:
 * memory stays short.
 */
static void the_disk_hangs(void **state)
{
	struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
	static struct reclaim_target hard;
	struct gmem *object;
	u64 random = 7, before;
	pfn_t pfn;

	fake_disk_init(1000);
	assert_int_equal(swap_attach(&fake_disk, 1000, 4711), 0);
	fake_disk_hold(true);
	assert_int_equal(gmem_create(HARD, &object), 0);
	for (u64 i = 0; i < HARD; i++) {
		assert_int_equal(gmem_get_page(object, i, true, &pfn), 0);
		for (u32 k = 0; k < PAGE_SIZE / 8; k++)
			((u64 *)pfn_to_virt(pfn))[k] = random_next(&random);
	}
	reclaim_add(&hard, object, &terms);
	watermarks.low = watermarks.high = 1u << 20;
	SET(slept_until, 0);
	reclaim_wake();
	wait_until_it_sleeps(now + STEP);
	for (u32 i = 0; i < 10; i++) { /* the pages grow old */
		pass(STEP);
		wait_until_it_sleeps(now + STEP);
	}
	assert_int_equal(fake_disk_waiting(), SWAP_WRITES_MAX);
	before = counted("reclaim.fruitless");
	for (u64 t = 0; t < HANGS * SECOND; t += STEP) {
		pass(STEP);
		wait_until_it_sleeps(now + STEP);
	}
	assert_in_range(counted("reclaim.fruitless") - before, 2, 12);
	/* As soon as it goes on so does kaged. */
	while (GET(object->in_state[GMEM_SWAPPED]) < HARD) {
		(void)fake_disk_do(NULL);
		pass(STEP);
		(void)hosted_wait_a_moment(__FILE__, __LINE__, "all is written");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rounds_while_vcpus_run),
		cmocka_unit_test(none_while_they_rest),
		cmocka_unit_test(rests_when_nothing_is_used),
		cmocka_unit_test(rests_when_all_is_told),
		cmocka_unit_test(a_watermark_wakes_it),
		cmocka_unit_test(between_low_and_high),
		cmocka_unit_test(one_runs_just_then),
		cmocka_unit_test(no_wake_is_lost),
		cmocka_unit_test(the_disk_hangs),
	};

	return cmocka_run_group_tests(tests, start_kaged, NULL);
}
