/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* Guest memory objects: the sequence of invalidations and the notifiers, mostly on one thread. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

#define REGION GMEM_LARGE_PAGES
#define PAGES  (40 * REGION + 7)

static struct gmem *object(void)
{
	struct gmem *g;

	assert_int_equal(gmem_create(PAGES, &g), 0);
	return g;
}

/* --- The sequence --------------------------------------------------------------------------- */

/* R08, R09: a sample holds until a begin, and never again, before the end and after it. */
static void r08_r09_samples(void **state)
{
	u64 before = start(MIB(16)), seq, inside, after;
	struct gmem *g = object();

	seq = gmem_seq_sample(g, 5);
	assert_true(gmem_seq_idle(seq));
	assert_true(gmem_seq_unchanged(g, 5, seq));
	gmem_invalidate_begin(g, 5, 1);
	assert_false(gmem_seq_unchanged(g, 5, seq));
	inside = gmem_seq_sample(g, 5);
	assert_false(gmem_seq_idle(inside));
	/* What was looked up in the midst of it may be the old page or the new one. */
	assert_false(gmem_seq_unchanged(g, 5, inside));
	gmem_invalidate_end(g, 5, 1);
	assert_false(gmem_seq_unchanged(g, 5, seq));
	assert_false(gmem_seq_unchanged(g, 5, inside));
	after = gmem_seq_sample(g, 5);
	assert_true(gmem_seq_idle(after));
	assert_true(gmem_seq_unchanged(g, 5, after));
	/* Two at once: idle after both. */
	gmem_invalidate_begin(g, 5, 1);
	gmem_invalidate_begin(g, 6, 1);
	gmem_invalidate_end(g, 5, 1);
	assert_false(gmem_seq_idle(gmem_seq_sample(g, 5)));
	assert_false(gmem_seq_unchanged(g, 5, after));
	gmem_invalidate_end(g, 6, 1);
	assert_true(gmem_seq_idle(gmem_seq_sample(g, 5)));
	/* A count that has been the same before is still another sequence. */
	assert_int_not_equal(gmem_seq_sample(g, 5), after);
	gmem_wait_idle(g, 5);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void assert_touches(struct gmem *g, u64 first, u64 pages, u32 wanted)
{
	u64 seq[GMEM_SEQ_BUCKETS];
	u32 changed = 0;

	for (u32 i = 0; i < GMEM_SEQ_BUCKETS; i++)
		seq[i] = gmem_seq_sample(g, i * REGION);
	gmem_invalidate_begin(g, first, pages);
	for (u32 i = 0; i < GMEM_SEQ_BUCKETS; i++)
		changed += !gmem_seq_unchanged(g, i * REGION, seq[i]);
	assert_int_equal(changed, wanted);
	if (pages) {
		assert_false(gmem_seq_idle(gmem_seq_sample(g, first)));
		assert_false(gmem_seq_idle(gmem_seq_sample(g, first + pages - 1)));
	}
	/* R10: the end undoes what the begin did, whatever the range. */
	gmem_invalidate_end(g, first, pages);
	for (u32 i = 0; i < GMEM_SEQ_BUCKETS; i++)
		assert_true(gmem_seq_idle(gmem_seq_sample(g, i * REGION)));
}

/* An invalidation elsewhere does not disturb a fault here. */
static void r10_ranges(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g = object();

	assert_touches(g, 0, 0, 0);
	assert_touches(g, PAGES, 0, 0);
	assert_touches(g, 0, 1, 1);
	assert_touches(g, REGION - 1, 1, 1);
	assert_touches(g, REGION - 1, 2, 2);
	assert_touches(g, 0, REGION, 1);
	assert_touches(g, 1, REGION, 2);
	assert_touches(g, 14 * REGION, 3 * REGION, 3);
	assert_touches(g, 15 * REGION + 5, REGION, 2);
	assert_touches(g, 1, 15 * REGION, 16);
	assert_touches(g, 0, 16 * REGION, 16);
	assert_touches(g, 1, 16 * REGION, 16);
	assert_touches(g, 0, PAGES, 16);
	assert_touches(g, PAGES - 1, 1, 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* R11: getting, pinning and dropping nothing does not undo the sample that it was done for. */
static void r11_a_retry_does_not_invalidate_itself(void **state)
{
	u64 before = start(MIB(16)), seq;
	struct gmem *g = object();
	pfn_t pfn;

	seq = gmem_seq_sample(g, 3);
	assert_int_equal(gmem_get_page(g, 3, true, &pfn), 0);
	assert_int_equal(gmem_lookup(g, 3, true, &pfn), 0);
	assert_false(gmem_large(g, 3, &pfn));
	assert_int_equal(gmem_pin(g, 3, true, &pfn), 0);
	gmem_unpin(g, 3, pfn, true);
	assert_int_equal(gmem_drop(g, 4), 0);
	gmem_age(g, 0, PAGES);
	gmem_test_young(g, 0, PAGES);
	assert_true(gmem_seq_unchanged(g, 3, seq));
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

struct range {
	struct gmem *g;
	u64 first, pages;
};

static void begin(void *arg)
{
	struct range *r = arg;

	gmem_invalidate_begin(r->g, r->first, r->pages);
}

static void end(void *arg)
{
	struct range *r = arg;

	gmem_invalidate_end(r->g, r->first, r->pages);
}

static void unmap(void *arg)
{
	struct range *r = arg;

	gmem_unmap(r->g, r->first, r->pages);
}

static void age(void *arg)
{
	struct range *r = arg;

	gmem_age(r->g, r->first, r->pages);
}

/* R10: an end too many, or with another range than its begin, is caught. */
static void r10_underflow(void **state)
{
	struct range r = {.pages = 1};

	start(MIB(16));
	r.g = object();
	assert_true(hosted_catch_panic(end, &r));
	r.g = object();
	gmem_invalidate_begin(r.g, 0, 1);
	gmem_invalidate_end(r.g, 0, 1);
	assert_true(hosted_catch_panic(end, &r));
	r.g = object();
	gmem_invalidate_begin(r.g, 0, REGION);
	r.pages = REGION + 1;
	assert_true(hosted_catch_panic(end, &r));
}

static void overflow(void **state)
{
	struct range r = {.pages = 1};

	start(MIB(16));
	r.g = object();
	for (u32 i = 0; i < GMEM_SEQ_COUNT_MASK; i++)
		gmem_invalidate_begin(r.g, 0, 1);
	assert_true(hosted_catch_panic(begin, &r));
}

static void ranges_outside(void **state)
{
	struct range cases[] = {
		{NULL, PAGES, 1}, {NULL, 1, PAGES}, {NULL, ~0ull, 2}, {NULL, 2, ~0ull}};

	start(MIB(16));
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		cases[i].g = object();
		assert_true(hosted_catch_panic(begin, &cases[i]));
		assert_true(hosted_catch_panic(end, &cases[i]));
		assert_true(hosted_catch_panic(age, &cases[i]));
	}
}

/* --- Notifiers ------------------------------------------------------------------------------ */

static void sums(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g = object();
	struct recorder a, b;

	recorder_init(&a, 3);
	recorder_init(&b, 4);
	gmem_invalidate_begin(g, 0, PAGES);
	assert_int_equal(gmem_unmap(g, 0, PAGES), 0);
	gmem_notifier_add(g, &a.n);
	assert_int_equal(gmem_unmap(g, 10, 20), 3);
	assert_int_equal(a.event, GMEM_EVENT_UNMAP);
	assert_int_equal(a.first, 10);
	assert_int_equal(a.pages, 20);
	gmem_notifier_add(g, &b.n);
	assert_int_equal(gmem_unmap(g, 0, PAGES), 7);
	gmem_invalidate_end(g, 0, PAGES);
	assert_int_equal(gmem_age(g, 5, 6), 7);
	assert_int_equal(a.event, GMEM_EVENT_AGE);
	assert_int_equal(b.event, GMEM_EVENT_AGE);
	assert_int_equal(b.first, 5);
	assert_int_equal(b.pages, 6);
	/* One that says young is enough. */
	assert_true(gmem_test_young(g, 7, 8));
	assert_int_equal(a.event, GMEM_EVENT_TEST_YOUNG);
	assert_int_equal(a.calls, 4);
	assert_int_equal(b.calls, 2);
	a.answer = 0;
	assert_true(gmem_test_young(g, 7, 8));
	assert_int_equal(b.calls, 3);
	b.answer = 0;
	assert_false(gmem_test_young(g, 7, 8));
	gmem_notifier_remove(g, &a.n);
	assert_int_equal(gmem_age(g, 5, 6), 0);
	assert_int_equal(a.calls, 6);
	gmem_notifier_remove(g, &b.n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/*
 * Slots come and go during an invalidation. What is mapped through the newcomer was looked up after
 * the begin, so the check refuses it; the end is the object's own and finds the count (R10).
 */
static void added_while_an_invalidation_runs(void **state)
{
	u64 before = start(MIB(16)), seq, entry;
	struct gmem *g = object();
	struct recorder early, late;
	pfn_t pfn;

	recorder_init(&early, 1);
	recorder_init(&late, 1);
	assert_int_equal(gmem_get_page(g, 9, true, &pfn), 0);
	gmem_notifier_add(g, &early.n);
	gmem_invalidate_begin(g, 9, 1);
	seq = gmem_seq_sample(g, 9);
	assert_int_equal(gmem_lookup(g, 9, true, &pfn), 0);
	assert_int_equal(gmem_claim(g, 9, &entry), 0);
	assert_int_equal(gmem_unmap(g, 9, 1), 1);
	/* After the unmap: what it would link now nobody would take away. */
	gmem_notifier_add(g, &late.n);
	gmem_notifier_remove(g, &early.n);
	assert_false(gmem_seq_unchanged(g, 9, seq));
	frame_free(gmem_entry_pfn(entry), 0);
	gmem_settle(g, 9, GMEM_ABSENT);
	gmem_invalidate_end(g, 9, 1);
	assert_false(gmem_seq_unchanged(g, 9, seq));
	assert_int_equal(late.calls, 0);
	/* From here on it takes part. */
	seq = gmem_seq_sample(g, 9);
	assert_int_equal(gmem_get_page(g, 9, true, &pfn), 0);
	assert_true(gmem_seq_unchanged(g, 9, seq));
	assert_int_equal(gmem_drop(g, 9), 0);
	assert_int_equal(late.calls, 1);
	gmem_notifier_remove(g, &late.n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static struct gmem_notifier *removed;
static bool is_removed; /* atomic */
static pthread_t remover;

static void *remove_on_another_cpu(void *g)
{
	hosted_cpu_set(1);
	gmem_notifier_remove(g, removed);
	__atomic_store_n(&is_removed, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void removed_meanwhile(struct recorder *r, struct gmem *g)
{
	pthread_create(&remover, NULL, remove_on_another_cpu, g);
	while (!__atomic_load_n(&g->notify_sem.writers_waiting, __ATOMIC_SEQ_CST) &&
	       !__atomic_load_n(&is_removed, __ATOMIC_SEQ_CST))
		sched_yield();
	assert_false(__atomic_load_n(&is_removed, __ATOMIC_SEQ_CST));
}

/* R33: who is called may be taken apart only when no call is under way. */
static void r33_removal_waits_for_calls(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g = object();
	struct recorder n;

	recorder_init(&n, 0);
	gmem_notifier_add(g, &n.n);
	removed = &n.n;
	is_removed = false;
	n.in_call = removed_meanwhile;
	gmem_age(g, 0, 1);
	pthread_join(remover, NULL);
	assert_true(is_removed);
	gmem_age(g, 0, 1);
	assert_int_equal(n.calls, 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void remove_it(void *g)
{
	gmem_notifier_remove(g, removed);
}

static void misuse(void **state)
{
	struct range r = {.first = 3, .pages = 1};
	struct recorder n;

	start(MIB(16));
	r.g = object();
	recorder_init(&n, 1);
	/* Nothing keeps faults from linking again what it unmaps. */
	assert_true(hosted_catch_panic(unmap, &r));
	gmem_notifier_add(r.g, &n.n);
	gmem_notifier_remove(r.g, &n.n);
	removed = &n.n;
	assert_true(hosted_catch_panic(remove_it, r.g));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r08_r09_samples),
		cmocka_unit_test(r10_ranges),
		cmocka_unit_test(r11_a_retry_does_not_invalidate_itself),
		cmocka_unit_test(r10_underflow),
		cmocka_unit_test(overflow),
		cmocka_unit_test(ranges_outside),
		cmocka_unit_test(sums),
		cmocka_unit_test(added_while_an_invalidation_runs),
		cmocka_unit_test(r33_removal_waits_for_calls),
		cmocka_unit_test(misuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
