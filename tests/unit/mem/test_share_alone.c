/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Who has a frame alone that two had, whatever of them happens first: one of two pages of the same
 * contents finds the other's frame, is written, dropped, held or taken, or goes with its object, while
 * the other leaves it. Each is stopped at each of its points in turn for all that the other does.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"
#include "tests/unit/mem/share_recount.h"

#define JOBS 2u

/* What happens to page 0 of an object. */
typedef void (*change)(struct gmem *g);

/* What the pages are before. */
enum begin {
	HARD_ONE,    /* the first's does not pack, the second's is in a frame of its own */
	HARD_BOTH,   /* have one frame */
	PACKED,	     /* both, of one object */
	SHOWN_ONE,   /* the first is read, the second packed */
	SHOWN_ALONE, /* the first is in the frame of an object, the second in one of its own */
	SHOWN_BOTH,  /* have the frame of one object */
};

static struct gmem *of[JOBS];
static change changes[JOBS];
static u32 stopped; /* which of them */
static bool begun;  /* atomic; what that does */
static bool disk;   /* there is one meanwhile */

static void take(struct gmem *g)
{
	(void)take_range(g, 0, 1);
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

static void read(struct gmem *g)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, 0, false, &pfn), 0);
}

static void take_and_read(struct gmem *g)
{
	take(g);
	read(g);
}

/* Where it can be. */
static void to_disk(struct gmem *g)
{
	take(g);
	(void)gmem_write_packed(g, 0, 1, 0, 1);
}

/* With its VM. */
static void end(struct gmem *g)
{
	of[g == of[1]] = NULL;
	gmem_unref(g);
}

static void fill(struct gmem *g, bool packs)
{
	u64 random = 4711;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	for (u32 i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		((u64 *)pfn_to_virt(pfn))[i] = packs ? 1 + i % 8 : random_next(&random);
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
	const struct recount r = {.objects = of, .count = JOBS};

	return recount(&r, 1);
}

static void set_up(enum begin how)
{
	bool hard = how <= HARD_BOTH;

	for (u32 i = 0; i < JOBS; i++) {
		assert_int_equal(gmem_create(1, &of[i]), 0);
		gmem_set_share_group(of[i], 1);
		fill(of[i], !hard);
	}
	take(of[0]);
	assert_int_equal(check_alone(), hard);
	if (how != HARD_ONE)
		take(of[1]);
	if (how >= SHOWN_ONE)
		read(of[0]);
	if (how == SHOWN_ALONE)
		write_to(of[1]);
	if (how == SHOWN_BOTH)
		read(of[1]);
	assert_int_equal(check_alone(), how == HARD_ONE || how == SHOWN_ALONE);
}

static void run_stopped(u32 job, u32 point)
{
	static u32 number[JOBS] = {0, 1};
	const struct hosted_job jobs[JOBS] = {{"first", change_it, &number[0]},
					      {"second", change_it, &number[1]}};
	struct hosted_way way = {.directed = true, .period = 1, .stop = {{job, point}}};

	stopped = job;
	begun = false;
	if (disk)
		assert_int_equal(swap_attach(&fake_disk, 100, 4711), 0);
	hosted_run(jobs, JOBS, &way);
}

static void clean_up(void)
{
	for (u32 i = 0; i < JOBS; i++) {
		if (of[i])
			gmem_unref(of[i]);
	}
	if (disk)
		swap_detach();
}

/* How often one has it alone then. */
static u64 at_each_point(enum begin how, change first, change second)
{
	u64 before, alone = 0;

	(void)start(MIB(16));
	pool_init();
	assert_int_equal(share_init(), 0); /* its table stays */
	before = free_now();
	changes[0] = first;
	changes[1] = second;
	for (u32 job = 0; job < JOBS; job++) {
		for (u32 point = 1;; point++) {
			set_up(how);
			run_stopped(job, point);
			alone += check_alone();
			clean_up();
			if (hosted_points_counted(job) < point)
				break;
		}
	}
	assert_int_equal(free_now(), before);
	return alone;
}

static void found_while_the_other_leaves(void **state)
{
	assert_true(at_each_point(HARD_ONE, drop, take) > 0);
	assert_true(at_each_point(HARD_ONE, write_to, take) > 0);
}

static void both_leave(void **state)
{
	(void)at_each_point(HARD_BOTH, drop, drop);
	(void)at_each_point(HARD_BOTH, write_to, drop);
	(void)at_each_point(HARD_BOTH, write_to, write_to);
}

/* Who holds it has no entry that leads to it, and it is the other's until he leaves it, too. */
static void held_while_one_leaves(void **state)
{
	assert_true(at_each_point(HARD_BOTH, hold, drop) > 0);
	assert_true(at_each_point(HARD_BOTH, hold, write_to) > 0);
	assert_true(at_each_point(HARD_ONE, hold, take) == 0);
}

/* Of contents that are packed, too: however the other leaves, whatever the one does meanwhile. */
static void the_last_other_leaves(void **state)
{
	static const change leaves[] = {drop, write_to, end};

	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++) {
		assert_true(at_each_point(SHOWN_BOTH, hold, leaves[i]) > 0);
		assert_int_equal(at_each_point(SHOWN_BOTH, write_to, leaves[i]), 0);
		/* From there, too, where it was only packed. */
		assert_true(at_each_point(SHOWN_ONE, take_and_read, leaves[i]) > 0);
		(void)at_each_point(PACKED, read, leaves[i]);
	}
}

/* As long as it is packed for another, who comes without a frame, nobody has it alone. */
static void the_other_cools(void **state)
{
	assert_int_equal(at_each_point(SHOWN_BOTH, hold, take), 0);
	assert_int_equal(at_each_point(SHOWN_BOTH, take_and_read, take), 0);
	assert_int_equal(at_each_point(PACKED, read, read), 0);
}

/* Who takes a page of the same contents finds them, and is there from then on. */
static void another_joins_again(void **state)
{
	static const change meanwhile[] = {hold, take, write_to, drop};

	for (u32 i = 0; i < ARRAY_SIZE(meanwhile); i++)
		(void)at_each_point(SHOWN_ALONE, meanwhile[i], take_and_read);
	assert_int_equal(at_each_point(SHOWN_ALONE, read, take), 0);
	/* Unless it looks for none. */
	assert_true(at_each_point(SHOWN_ALONE, read, read) > 0);
}

/* What two have goes there only when one has left it: nobody leaves the other alone that way. */
static void the_other_goes_to_the_disk(void **state)
{
	fake_disk_init(100);
	disk = true;
	assert_int_equal(at_each_point(HARD_BOTH, to_disk, to_disk), 0);
	assert_int_equal(at_each_point(SHOWN_BOTH, read, to_disk), 0);
	assert_int_equal(at_each_point(SHOWN_BOTH, to_disk, to_disk), 0);
	assert_true(at_each_point(HARD_BOTH, drop, to_disk) > 0);
	(void)at_each_point(SHOWN_BOTH, drop, to_disk);
	disk = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_while_the_other_leaves),
		cmocka_unit_test(both_leave),
		cmocka_unit_test(held_while_one_leaves),
		cmocka_unit_test(the_last_other_leaves),
		cmocka_unit_test(the_other_cools),
		cmocka_unit_test(another_joins_again),
		cmocka_unit_test(the_other_goes_to_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
