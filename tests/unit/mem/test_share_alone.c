/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Who has a frame alone that two had, whatever of them happens first: one of two pages that do not
 * pack finds the other's frame, is written, dropped or held, while the other leaves it. Each is stopped
 * at each of its points in turn for all that the other does.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"

#define JOBS 2u

/* What happens to page 0 of an object. */
typedef void (*change)(struct gmem *g);

static struct gmem *of[JOBS];
static change changes[JOBS];
static u32 stopped; /* which of them */
static bool begun;  /* atomic; what that does */

static void take(struct gmem *g)
{
	struct gmem_taken t = {0};
	u64 marked = 1;

	gmem_take(g, 0, 1, &marked, &t);
}

static void drop(struct gmem *g)
{
	assert_int_equal(gmem_drop(g, 0), 0);
}

static void write_to(struct gmem *g)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
}

static void hold(struct gmem *g)
{
	pfn_t pfn;

	assert_int_equal(gmem_hold(g, 0, false, &pfn), 0);
	gmem_release(g, 0, pfn, false);
}

static void fill(struct gmem *g)
{
	u64 random = 4711;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	for (u32 i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		((u64 *)pfn_to_virt(pfn))[i] = random_next(&random);
}

/* Who is to be stopped is first. */
static void change_it(void *arg)
{
	u32 i = *(u32 *)arg;

	while (i != stopped && !__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		hosted_stand(1);
	__atomic_store_n(&begun, true, __ATOMIC_RELEASE);
	hosted_count_points();
	changes[i](of[i]);
	hosted_count_no_more();
}

/* Of each object just what it has alone. */
static u64 check_alone(void)
{
	u64 alone = 0;

	for (u32 i = 0; i < JOBS; i++) {
		u64 entry = gmem_entry(of[i], 0);
		bool is = gmem_entry_state(entry) == GMEM_SHARED &&
			  frame_of(gmem_entry_pfn(entry))->refs == 1;

		assert_int_equal(of[i]->alone, is);
		alone += is;
	}
	return alone;
}

static void set_up(bool both)
{
	for (u32 i = 0; i < JOBS; i++) {
		assert_int_equal(gmem_create(1, &of[i]), 0);
		gmem_set_share_group(of[i], 1);
		fill(of[i]);
	}
	take(of[0]);
	assert_int_equal(check_alone(), 1);
	if (!both)
		return;
	take(of[1]);
	assert_int_equal(check_alone(), 0);
}

/* both: they have one frame before; else the second has its own. How often one had it alone then. */
static u64 at_each_point(bool both, change first, change second)
{
	static u32 number[JOBS] = {0, 1};
	const struct hosted_job jobs[JOBS] = {{"first", change_it, &number[0]},
					      {"second", change_it, &number[1]}};
	u64 before, alone = 0;

	(void)start(MIB(16));
	assert_int_equal(share_init(), 0); /* its table stays */
	before = free_now();
	changes[0] = first;
	changes[1] = second;
	for (u32 job = 0; job < JOBS; job++) {
		for (u32 point = 1;; point++) {
			struct hosted_way way = {
				.directed = true, .period = 1, .stop = {{job, point}}};

			set_up(both);
			stopped = job;
			begun = false;
			hosted_run(jobs, JOBS, &way);
			alone += check_alone();
			for (u32 i = 0; i < JOBS; i++)
				gmem_unref(of[i]);
			if (hosted_points_counted(job) < point)
				break;
		}
	}
	assert_int_equal(free_now(), before);
	return alone;
}

static void found_while_the_other_leaves(void **state)
{
	assert_true(at_each_point(false, drop, take) > 0);
	assert_true(at_each_point(false, write_to, take) > 0);
}

static void both_leave(void **state)
{
	(void)at_each_point(true, drop, drop);
	(void)at_each_point(true, write_to, drop);
	(void)at_each_point(true, write_to, write_to);
}

/* Who holds it has no entry that leads to it, and it is the other's until he leaves it, too. */
static void held_while_one_leaves(void **state)
{
	assert_true(at_each_point(true, hold, drop) > 0);
	assert_true(at_each_point(true, hold, write_to) > 0);
	assert_true(at_each_point(false, hold, take) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_while_the_other_leaves),
		cmocka_unit_test(both_leave),
		cmocka_unit_test(held_while_one_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
