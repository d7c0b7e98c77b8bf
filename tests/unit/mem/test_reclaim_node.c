/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * Memory nodes: whose pages each kaged takes, when it is woken, and that one which has nothing to take
 * keeps nobody from frames that another could have. CPU n is of node n.
 */
#include <string.h>
#include "kernel/base/error.h"
#include "tests/unit/mem/reclaim_vms.h"

#define BOUNDARY 6001u /* the first frame of node 1 */
#define HAVE	 1024u /* pages that a VM gets on a node: those of 2 MiB lie together on one */
#define MS	 1000000ull

static struct frame_nodes nodes;

static void start_nodes(const struct reclaim_options *options)
{
	before = start(MIB(48));
	memset(vms, 0, sizeof(vms));
	nodes = (struct frame_nodes){
		.count = 2,
		.range_count = 1,
		.ranges = {{BOUNDARY * PAGE_SIZE, MIB(48), 1}},
		.distance = {{10, 20}, {20, 10}},
	};
	nodes.of_cpu[1] = 1;
	frame_set_nodes(&nodes);
	assert_int_equal(reclaim_init(options), 0);
	before = free_now();
}

/* Memory is short for whoever asks. */
static int setup_short(void **state)
{
	const struct reclaim_options options = {.tax = 75};

	start_nodes(&options);
	watermarks.low = watermarks.high = 1u << 20;
	watermarks.min = 1;
	return 0;
}

static int setup_marks(void **state)
{
	const struct reclaim_options options = {.min = 512, .low = 1500, .high = 2048, .tax = 75};

	start_nodes(&options);
	return 0;
}

/* So many pages from `first` on, which CPU `node` touches. */
static void touch_on(u32 vm, u32 node, u64 first, u64 pages, bool packs)
{
	hosted_cpu_set(node);
	for (u64 i = first; i < first + pages; i++) {
		touch(&vms[vm], i, packs);
		assert_int_equal(frame_node_of(gmem_entry_pfn(
					 gmem_entry_load(gmem_entry_find(vms[vm].g, i)))),
				 node);
	}
	hosted_cpu_set(0);
}

static u64 resident_on(u32 vm, u32 node)
{
	u64 n = 0;

	for (u64 i = 0; i < vms[vm].g->pages; i++) {
		const u64 *e = gmem_entry_find(vms[vm].g, i);
		u64 entry = e ? gmem_entry_load(e) : 0;

		n += e && gmem_entry_resident(entry) &&
		     frame_node_of(gmem_entry_pfn(entry)) == node;
	}
	return n;
}

/* As reclaim knows it. */
static s64 counted_on(u32 node)
{
	s64 n = 0;

	for (u32 age = 0; age < RECLAIM_AGES; age++)
		n += vms[0].target.in[node].by_age[age];
	return n;
}

/* Its kaged is woken so often. */
static void fill_up(u32 node, u32 times)
{
	hosted_cpu_set(node);
	for (u32 i = 0; i < times; i++) {
		hosted_clock_set(now_ns += 50 * MS);
		(void)reclaim_fill_up(node);
	}
	hosted_cpu_set(0);
}

static const struct reclaim_terms any = {.max = ANY, .shares = 100};

static void each_takes_what_is_its_own(void **state)
{
	make_vm(0, 0, &any);
	touch_on(0, 0, 0, HAVE, true);
	touch_on(0, 1, HAVE, HAVE, true);
	fill_up(1, 8);
	assert_int_equal(resident_on(0, 1), 0);
	assert_int_equal(resident_on(0, 0), HAVE);
	fill_up(0, 8);
	assert_int_equal(resident_on(0, 0), 0);
}

/* What one takes is one less of its node's, and it goes on where it ended, there alone. */
static void counted_by_node(void **state)
{
	struct reclaim_effort e = {.node = 1, .want = 64, .tries = 512, .looks = 1u << 18};

	make_vm(0, 0, &any);
	touch_on(0, 0, 0, HAVE, true);
	touch_on(0, 1, HAVE, HAVE, true);
	for (u32 i = 0; i < RECLAIM_AGES; i++) {
		struct reclaim_effort age = {.ages = 64};

		hosted_clock_set(now_ns += 50 * MS);
		assert_true(reclaim_age(&age));
	}
	assert_int_equal(counted_on(0), HAVE);
	assert_int_equal(counted_on(1), HAVE);
	reclaim_take(&e, 1);
	assert_int_equal(e.freed, 64);
	assert_int_equal(counted_on(0), HAVE);
	assert_int_equal(counted_on(1), HAVE - 64);
	assert_int_equal(vms[0].target.in[0].take_next, 0);
	assert_int_equal(vms[0].target.in[1].take_next, HAVE / GMEM_LARGE_PAGES);
}

/* Both go through one object at once, and neither is kept from what the other went past. */
static void both_at_one_object(void **state)
{
	make_vm(0, 0, &any);
	for (u32 i = 0; i < PAGES / GMEM_LARGE_PAGES; i++)
		touch_on(0, i % 2, i * GMEM_LARGE_PAGES, 300, true);
	for (u32 i = 0; i < 12; i++)
		fill_up(i % 2, 1);
	assert_int_equal(resident_on(0, 0) + resident_on(0, 1), 0);
}

static u64 lacks(u32 node)
{
	return reclaim_node_lacks(node, watermarks.high);
}

static u32 held[2];
static pfn_t hold[2][MIB(48) / PAGE_SIZE];

/* So many frames are left on the node. */
static void leave_on(u32 node, u64 frames)
{
	hosted_cpu_set(node);
	frame_node_keep(!node, 0);
	frame_node_keep(node, 0);
	frame_reclaim_begin();
	while (frame_node_free(node) > frames) {
		assert_int_equal(frame_alloc(0, 0, &hold[node][held[node]]), 0);
		assert_int_equal(frame_node_of(hold[node][held[node]++]), node);
	}
	frame_reclaim_end();
	hosted_cpu_set(0);
	reclaim_set_node_parts();
}

static void give_back(u32 node)
{
	while (held[node])
		frame_free(hold[node][--held[node]], 0);
	(void)frame_drain();
}

/* Nothing goes while there is enough in all; a guest gets frames that are farther away. */
static void one_that_has_nothing(void **state)
{
	pfn_t pfn;

	make_vm(0, 0, &any);
	touch_on(0, 0, 0, HAVE, true);
	leave_on(0, 100);
	assert_true(lacks(0) > 0);
	assert_int_equal(lacks(1), 0);
	fill_up(0, 5);
	assert_int_equal(resident_on(0, 0), HAVE);
	assert_true(watermark_admits(1));
	for (u64 i = 0; i < 50; i++) {
		assert_int_equal(gmem_get_page(vms[0].g, HAVE + i, true, &pfn), 0);
		/* What the CPU has at hand was its node's. */
		assert_true(frame_node_of(pfn) == 1 || i < 16);
	}
	/* Nor is what is kept on the node for others to be found there. */
	for (u32 i = 0; i < 50; i++)
		assert_int_equal(frame_alloc(0, 0, &hold[1][held[1]++]), 0);
	assert_true(frame_node_free(0) >= 100 - 16);
	give_back(0);
	give_back(1);
}

/* Each has its part of what is to be free, and both parts are the whole. */
static void parts_of_the_watermarks(void **state)
{
	u64 total = frame_node_total(0) + frame_node_total(1);

	leave_on(0, 0);
	leave_on(1, 0);
	assert_in_range(lacks(0) * total / frame_node_total(0), 2048, 2048 + 3);
	assert_in_range(lacks(1) * total / frame_node_total(1), 2048, 2048 + 3);
	assert_in_range(lacks(0) + lacks(1), 2048, 2050);
	assert_int_equal(reclaim_neediest_node(), lacks(1) > lacks(0));
	/* What is kept for min= is not free. */
	give_back(1);
	assert_int_equal(lacks(1), 0);
	watermarks.owed = total;
	assert_true(lacks(1) > 0);
	watermarks.owed = 0;
	give_back(0);
	assert_int_equal(lacks(0), 0);
}

/* Of min a quarter is left to who makes memory, whatever node it is on. */
static void last_frames_of_all(void **state)
{
	static const struct reclaim_options options = {.min = 1024, .low = 1500, .high = 2048};
	u64 total = free_now();

	while (frame_alloc(0, 0, &hold[0][held[0]]) == 0)
		held[0]++;
	assert_int_equal(free_now(), watermarks.min / 4);
	assert_true(held[0] > total / 2);
	give_back(0);
	reclaim_set_watermarks(&options);
	while (frame_alloc(0, 0, &hold[0][held[0]]) == 0)
		held[0]++;
	assert_int_equal(free_now(), 256);
	give_back(0);
}

/* To its own part, not on for the other, which can help itself. */
static void to_its_own_part(void **state)
{
	make_vm(0, 0, &any);
	touch_on(0, 0, 0, HAVE, true);
	touch_on(0, 1, HAVE, HAVE, true);
	leave_on(0, 500);
	leave_on(1, 500);
	fill_up(1, 5);
	assert_int_equal(lacks(1), 0);
	assert_true(resident_on(0, 1) > 0);
	assert_true(watermark_free() < watermarks.high);
	assert_int_equal(resident_on(0, 0), HAVE);
	fill_up(0, 5);
	assert_int_equal(lacks(0), 0);
	assert_true(watermark_free() >= watermarks.high);
	give_back(0);
	give_back(1);
}

/* Both nodes are short, and what is on node 0 does not pack. */
static void leave_pages_that_stay_on_node_0(void)
{
	make_vm(0, 0, &any);
	make_vm(1, 0, &any);
	touch_on(0, 0, 0, HAVE, false);
	touch_on(1, 1, 0, PAGES, true);
	leave_on(0, 10);
	leave_on(1, 500);
}

/* What is on node 0 does not go: the other goes on in its place until there is enough in all. */
static void for_one_that_cannot(void **state)
{
	leave_pages_that_stay_on_node_0();
	fill_up(1, 5);
	assert_int_equal(lacks(1), 0);
	assert_true(watermark_free() < watermarks.high);
	hosted_clock_set(now_ns += 50 * MS);
	assert_false(reclaim_fill_up(0));
	assert_int_equal(resident_on(0, 0), HAVE);
	fill_up(1, 8);
	assert_true(watermark_free() >= watermarks.high);
	assert_true(frame_node_free(1) >
		    frame_node_total(1) * watermarks.high /
				    (frame_node_total(0) + frame_node_total(1)) +
			    200);
	give_back(0);
	give_back(1);
}

/* Nor does the one that looks again meanwhile, and finds nothing again, make the other leave off at low. */
static void for_one_that_still_cannot(void **state)
{
	leave_pages_that_stay_on_node_0();
	fill_up(0, 1);
	give_back(1);
	leave_on(1, 1600);
	assert_in_range(watermark_free(), watermarks.low, watermarks.high - 1);
	assert_int_equal(lacks(1), 0);
	fill_up(0, 1);
	assert_int_equal(resident_on(0, 0), HAVE);
	fill_up(1, 8);
	assert_true(watermark_free() >= watermarks.high);
	give_back(0);
	give_back(1);
}

/* A vCPU finds some wherever they are, for all or at its own max=. */
static void who_needs_a_frame(void **state)
{
	struct reclaim_terms bounded = {.max = HAVE, .shares = 100};

	make_vm(0, 0, &any);
	touch_on(0, 1, 0, HAVE, true);
	leave_on(0, 0);
	leave_on(1, 300);
	assert_int_equal(reclaim_neediest_node(), 0);
	assert_true(help(NULL));
	assert_true(help(NULL));
	assert_true(resident_on(0, 1) < HAVE);
	give_back(0);
	give_back(1);
	make_vm(1, 0, &bounded);
	touch_on(1, 1, 0, HAVE, true);
	assert_true(help(&vms[1].target));
	assert_true(help(&vms[1].target));
	assert_true(resident_on(1, 1) < HAVE);
}

#define WIDE 200u /* chunks of which each has a page: more than an effort looks at */

/* At its own max=, all its pages on node 1: none is looked for on another for long. */
static void all_on_another_node(void **state)
{
	const struct reclaim_terms terms = {.max = ANY, .shares = 100};
	struct reclaim_target t;
	struct gmem_notifier n = {.notify = notify};
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(WIDE * GMEM_LARGE_PAGES, &g), 0);
	gmem_notifier_add(g, &n);
	reclaim_add(&t, g, &terms);
	hosted_cpu_set(1);
	for (u64 i = 0; i < WIDE; i++) {
		assert_int_equal(gmem_get_page(g, i * GMEM_LARGE_PAGES, true, &pfn), 0);
		assert_int_equal(frame_node_of(pfn), 1);
		memset(pfn_to_virt(pfn), (int)i + 1, PAGE_SIZE);
	}
	hosted_cpu_set(0);
	g->resident_max = 1; /* so that it is at it all the time */
	for (u32 i = 0; i < 3; i++) {
		u64 had = g->resident, fruitless = reclaim.stats.fruitless;

		assert_true(help(&t));
		assert_true(g->resident < had);
		/* From then on it is known where. */
		assert_int_equal(reclaim.stats.fruitless, fruitless);
	}
	reclaim_remove(&t);
	gmem_notifier_remove(g, &n);
	gmem_unref(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_takes_what_is_its_own, setup_short, teardown),
		cmocka_unit_test_setup_teardown(counted_by_node, setup_short, teardown),
		cmocka_unit_test_setup_teardown(both_at_one_object, setup_short, teardown),
		cmocka_unit_test_setup_teardown(one_that_has_nothing, setup_marks, teardown),
		cmocka_unit_test_setup_teardown(parts_of_the_watermarks, setup_marks, teardown),
		cmocka_unit_test_setup_teardown(last_frames_of_all, setup_marks, teardown),
		cmocka_unit_test_setup_teardown(to_its_own_part, setup_marks, teardown),
		cmocka_unit_test_setup_teardown(for_one_that_cannot, setup_marks, teardown),
		cmocka_unit_test_setup_teardown(for_one_that_still_cannot, setup_marks, teardown),
		cmocka_unit_test_setup_teardown(who_needs_a_frame, setup_marks, teardown),
		cmocka_unit_test_setup_teardown(all_on_another_node, setup_marks, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
