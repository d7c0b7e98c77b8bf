/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* unit-sanitizer: thread */
/*
 * When kaged counts for more than its own small weight. The test has the clock, and is told what would be
 * lifted; kaged is the real one, on a thread of the host.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include "mem/gmem_private.h"
#include "mem/reclaim_private.h"
#include "mem/watermark.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"

#define SECOND 1000000000ull
#define ROUND  (10 * SECOND)
#define ASLEEP BIT(20) /* more than all that is lifted */

static struct gmem *g;
static struct reclaim_target target;
static u64 now; /* the main thread's */
/* atomic */
static u64 slept_until; /* of kaged's last sleep; 0: none since it was looked at */
static struct thread *kaged;
static s32 lent_asleep; /* ASLEEP, and what kaged was lifted by, as who asked it went to sleep */

#define GET(x)	  __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)

static bool on_sleep(const bool *woken, u64 deadline_ns)
{
	(void)woken;
	if (strcmp(thread_current()->name, "kaged") == 0) {
		SET(kaged, thread_current());
		SET(slept_until, deadline_ns);
	} else if (thread_current()->group) {
		SET(lent_asleep, GET(GET(kaged)->lifted) | ASLEEP);
	}
	return false;
}

#define wait_until_it_sleeps(deadline_ns) hosted_wait_until(GET(slept_until) == (deadline_ns))

/* What a thread counts for is the scheduler's: here it is only told. */
void thread_lift(struct thread *t, u32 by)
{
	__atomic_fetch_add(&t->lifted, (s32)by, __ATOMIC_SEQ_CST);
}

void thread_lower(struct thread *t, u32 by)
{
	__atomic_fetch_sub(&t->lifted, (s32)by, __ATOMIC_SEQ_CST);
}

/* So it is with a vCPU that is hurried. */
void thread_hurry(struct thread *t, enum hurry how)
{
	assert_int_equal(how, HURRY_A_WHILE);
	if (t->group)
		__atomic_fetch_add(&t->hurried, 1, __ATOMIC_SEQ_CST);
}

void thread_hurry_no_more(struct thread *t)
{
	if (t->group)
		__atomic_fetch_sub(&t->hurried, 1, __ATOMIC_SEQ_CST);
}

#define LENT 31u /* by who waits; odd, as nothing else is */

u32 thread_lend(struct thread *t)
{
	assert_string_equal(t->name, "kaged");
	thread_lift(t, LENT);
	return LENT;
}

static void pass(u64 ns)
{
	SET(slept_until, 0);
	now += ns;
	hosted_clock_set(now);
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
	assert_int_equal(gmem_create(1, &g), 0);
	reclaim_add(&target, g, &terms);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	wait_until_it_sleeps(now + ROUND);
	return 0;
}

static struct gmem_notifier mappings;
/* atomic: what kaged was lifted by as it aged and took */
static s32 seen_most, seen_least;
static s32 hurried_least; /* likewise: how often a vCPU was hurried as it did */

/* Asked which pages were used, or told that they go. */
static u64 notified(struct gmem_notifier *n, struct gmem *object, enum gmem_event event, u64 first,
		    u64 pages, u64 *marks)
{
	struct thread *t = thread_current();
	s32 lifted = GET(t->lifted);

	if (strcmp(t->name, "kaged") == 0) {
		SET(seen_least, min(seen_least, lifted));
		SET(seen_most, max(seen_most, lifted)); /* last: it is waited for */
	} else if (t->group) {
		SET(hurried_least, min(hurried_least, t->hurried));
	}
	return 0;
}

static s32 lifted_now(void)
{
	return GET(GET(kaged)->lifted);
}

static void look_at_kaged(void)
{
	SET(seen_most, -1);
	SET(seen_least, 1000);
}

/* atomic */
static bool has_asked;
static s32 hurried_after;
static pfn_t frames[MIB(12) / PAGE_SIZE];
static u32 taken;

static void take_frames(void)
{
	for (taken = 0; !reclaim_is_short(); taken++)
		assert_int_equal(frame_alloc(0, 0, &frames[taken]), 0);
}

/* And kaged comes to rest. */
static void give_frames(void)
{
	while (taken)
		frame_free(frames[--taken], 0);
	SET(slept_until, 0);
	hosted_clock_set(now += 100 * SECOND);
	wait_until_it_sleeps(now + ROUND);
}

/* It ages at its own small weight, and takes at that of a VM. */
static void lifted_while_it_takes(void **state)
{
	mappings.notify = notified;
	gmem_notifier_add(g, &mappings);
	look_at_kaged();
	pass(ROUND);
	wait_until_it_sleeps(now + ROUND);
	assert_int_equal(GET(seen_most), 0);
	look_at_kaged();
	take_frames();
	hosted_clock_set(now += SECOND);
	reclaim_wake();
	hosted_wait_until(GET(seen_most) >= 0);
	assert_int_equal(GET(seen_least), WEIGHT_LIFT);
	give_frames();
	assert_int_equal(lifted_now(), 0);
}

/*
 * It is called, and enough is free, as far as anybody has counted what VMs lack of what they were promised. It
 * counts first, and is lifted for what it then takes, too.
 */
static void lifted_for_what_it_counts(void **state)
{
	u64 pages = watermark_free() - watermarks.high + 1;
	struct reclaim_terms terms = {.min = pages, .max = ~0ull, .shares = 100};
	static struct reclaim_target its_target;
	static struct gmem *promised;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	assert_int_equal(gmem_create(pages, &promised), 0);
	reclaim_add(&its_target, promised, &terms);
	__atomic_store_n(&watermarks.owed, 0, __ATOMIC_SEQ_CST);
	look_at_kaged();
	hosted_clock_set(now += SECOND);
	reclaim_wake();
	hosted_wait_until(GET(seen_most) >= 0);
	assert_int_equal(GET(seen_least), WEIGHT_LIFT);
	reclaim_remove(&its_target);
	gmem_unref(promised);
	give_frames();
	assert_int_equal(lifted_now(), 0);
}

static struct gmem *large;
static u64 joins, not_lifted; /* atomic */

/* All its pages are used, and may be mapped as one. */
static u64 used(struct gmem_notifier *n, struct gmem *object, enum gmem_event event, u64 first,
		u64 pages, u64 *young)
{
	if (event == GMEM_EVENT_AGE && young)
		memset(young, 0xff, pages / 8);
	if (event != GMEM_EVENT_JOIN)
		return notified(n, object, event, first, pages, young);
	if (GET(thread_current()->lifted) != WEIGHT_LIFT)
		SET(not_lifted, not_lifted + 1);
	SET(joins, joins + 1);
	return 0;
}

/* Whose pages are mapped as one waits meanwhile; to look whether they are to be is kaged's own affair. */
static void lifted_while_it_joins(void **state)
{
	struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
	static struct gmem_notifier uses = {.notify = used};
	static struct reclaim_target its_target;
	pfn_t pfn;

	assert_int_equal(gmem_create(GMEM_LARGE_PAGES, &large), 0);
	for (u64 i = 0; i < GMEM_LARGE_PAGES; i++)
		assert_int_equal(gmem_get_page(large, i, true, &pfn), 0);
	assert_true(gmem_looks_large(large, 0));
	gmem_notifier_add(large, &uses);
	reclaim_add(&its_target, large, &terms);
	look_at_kaged();
	pass(ROUND);
	wait_until_it_sleeps(now + ROUND);
	assert_true(GET(joins) > 0);
	assert_int_equal(GET(not_lifted), 0);
	assert_int_equal(GET(seen_most), 0);
	assert_int_equal(lifted_now(), 0);
	reclaim_remove(&its_target);
	gmem_notifier_remove(large, &uses);
	gmem_unref(large);
}

static void *ask(void *arg)
{
	hosted_cpu_set(1);
	thread_current()->group = arg;
	(void)reclaim_help(NULL, 0);
	SET(hurried_after, thread_current()->hurried);
	SET(has_asked, true);
	return arg;
}

/*
 * A vCPU that counts for little, for its VM has many that are busy, has kaged take for it. It lends kaged
 * what it has as long as it waits.
 */
static void who_asks_lends(void **state)
{
	static struct sched_group group = {.weight = WEIGHT_DEFAULT, .runnable = 32};
	u64 asked = GET(reclaim.stats.asked), direct = GET(reclaim.stats.direct);
	pthread_t thread;

	take_frames();
	pthread_create(&thread, NULL, ask, &group);
	hosted_wait_until(GET(lent_asleep) != 0 || GET(has_asked));
	assert_true(GET(lent_asleep) & 1);
	/* It may be about to look when it is to give up. */
	while (!GET(has_asked)) {
		hosted_clock_set(now += SECOND);
		(void)hosted_wait_a_moment(__FILE__, __LINE__, "it gives up");
	}
	pthread_join(thread, NULL);
	give_frames();
	assert_int_equal(lifted_now(), 0);
	assert_int_equal(GET(reclaim.stats.asked), asked + 1);
	assert_int_equal(GET(reclaim.stats.direct), direct);
}

/*
 * One of a VM of less than the usual weight counts for more if it is alone. It takes itself, and is hurried as
 * long as pages of others are BUSY by it: its VM's others may come to be busy meanwhile.
 */
static void who_counts_for_enough_takes(void **state)
{
	static struct sched_group group = {.weight = WEIGHT_DEFAULT / 2, .runnable = 2};
	u64 asked = GET(reclaim.stats.asked), direct = GET(reclaim.stats.direct);
	pthread_t thread;
	pfn_t pfn;

	SET(has_asked, false);
	SET(hurried_least, 1000);
	SET(hurried_after, -1);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	take_frames();
	pthread_create(&thread, NULL, ask, &group);
	while (!GET(has_asked)) {
		hosted_clock_set(now += SECOND);
		(void)hosted_wait_a_moment(__FILE__, __LINE__, "it gives up");
	}
	pthread_join(thread, NULL);
	give_frames();
	assert_int_equal(GET(reclaim.stats.asked), asked);
	assert_int_equal(GET(reclaim.stats.direct), direct + 1);
	assert_int_equal(GET(hurried_least), 1);
	assert_int_equal(GET(hurried_after), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lifted_while_it_takes),
		cmocka_unit_test(lifted_for_what_it_counts),
		cmocka_unit_test(lifted_while_it_joins),
		cmocka_unit_test(who_asks_lends),
		cmocka_unit_test(who_counts_for_enough_takes),
	};

	return cmocka_run_group_tests(tests, start_kaged, NULL);
}
