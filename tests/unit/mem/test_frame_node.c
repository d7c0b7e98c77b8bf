/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c
   mem/memmap.c tests/unit/mem/frame_arena.c */
/* Memory nodes: whose frames are handed out, and that none gets into another node's hands. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/frame_arena.h"

#define BLOCKS	  400
#define OPERATION 20000
#define CPUS	  6

static struct frame_nodes nodes;
static u8 node_of[PAGES]; /* the oracle's */

/* Ranges from the first page on, each that ends at ends[i] of node[i]; CPU n is of node n % count. */
static void set_nodes(u32 count, const u64 *ends, const u32 *node, u32 ranges)
{
	u64 at = 0;

	memset(&nodes, 0, sizeof(nodes));
	memset(node_of, 0, sizeof(node_of));
	nodes.count = count;
	for (u32 i = 0; i < ranges; i++) {
		nodes.ranges[nodes.range_count++] = (struct frame_node_range){
			at << PAGE_SHIFT, ends[i] << PAGE_SHIFT, node[i]};
		for (; at < ends[i]; at++)
			node_of[at] = (u8)node[i];
	}
	for (u32 cpu = 0; cpu < CPU_MAX; cpu++)
		nodes.of_cpu[cpu] = (u8)(cpu % count);
	for (u32 a = 0; a < count; a++) {
		for (u32 b = 0; b < count; b++)
			nodes.distance[a][b] = a == b ? 10 : (u8)(20 + a + b);
	}
	if (count == 4)
		nodes.distance[1][0] = 10;
	frame_set_nodes(&nodes);
}

/* Three nodes with the boundaries at odd pages, and one that has two ranges. */
static void set_three(void)
{
	static const u64 ends[] = {5003, 9001, 12000, PAGES - 512};
	static const u32 node[] = {0, 1, 2, 1};

	set_nodes(3, ends, node, 4);
}

static u64 managed_of(u32 node)
{
	u64 n = 0;

	for (u64 pfn = MIB(1) >> PAGE_SHIFT; pfn < PAGES; pfn++) {
		struct frame *f = frame_slot(pfn);

		n += node_of[pfn] == node && frame_state(f) != FRAME_RESERVED &&
		     frame_state(f) != FRAME_NONE;
	}
	return n;
}

static void totals_add_up(void)
{
	struct frame_stats s;
	u64 total = 0;

	frame_get_stats(&s);
	for (u32 node = 0; node < nodes.count; node++) {
		assert_int_equal(frame_node_total(node), managed_of(node));
		total += frame_node_total(node);
	}
	assert_int_equal(total, s.total);
}

static void is_near(pfn_t pfn, u32 order, u32 node)
{
	for (u64 i = 0; i < 1ull << order; i++)
		assert_int_equal(frame_node_of(PFN(pfn.v + i)), node);
}

static void nodes_of_pages(void **state)
{
	start(ARENA);
	assert_int_equal(frame_node_count, 1);
	assert_int_equal(frame_node_of(PFN(PAGES - 1)), 0);
	set_nodes(1, NULL, NULL, 0);
	assert_int_equal(frame_node_count, 1);
	totals_add_up();
	assert_int_equal(free_now(), frame_node_free(0));
	set_three();
	assert_int_equal(frame_node_count, 3);
	for (u64 pfn = 0; pfn < PAGES; pfn++) {
		u64 end = pfn + 1;

		assert_int_equal(frame_node_of(PFN(pfn)), node_of[pfn]);
		while (end < PAGES && node_of[end] == node_of[pfn])
			end++;
		/* What is of node 0 for nobody claims it may be said in two pieces. */
		assert_in_range(frame_node_end(pfn, PAGES), pfn + 1, end);
	}
	totals_add_up();
}

/* Pages of one node, aligned as a block, none of them reserved. */
static bool is_a_block(u64 first, u64 pages)
{
	for (u64 pfn = first; pfn < first + pages; pfn++) {
		const struct frame *f = frame_slot(pfn);

		if (!f || frame_state(f) == FRAME_RESERVED || node_of[pfn] != node_of[first])
			return false;
	}
	return true;
}

/* Each block of 4 MiB that there may be can be had. */
static void all_has_merged(void)
{
	u32 blocks = 0, had = 0;
	pfn_t pfn;

	for (u64 first = 0; first + 1024 <= PAGES; first += 1024)
		blocks += is_a_block(first, 1024);
	while (frame_alloc(10, 0, &pfn) == 0)
		had++;
	assert_int_equal(had, blocks);
	assert_true(blocks > 10);
}

/* Any operations on any CPU: no block of two nodes is made or handed out, and all comes back. */
static void random_operations(void **state)
{
	struct {
		pfn_t pfn;
		u32 order;
	} blocks[BLOCKS];
	u64 initial, used = 0;
	u32 count = 0;

	start(ARENA);
	memset(taken, 0, sizeof(taken));
	initial = free_now();
	srandom(7);
	/* Some are in use as the nodes become known, and in CPUs' caches. */
	while (count < 50 || !taken[5003] || !taken[9001]) {
		u32 order = count < 50 ? 0 : 10;

		hosted_cpu_set((u32)random() % CPUS);
		assert_int_equal(frame_alloc(order, 0, &blocks[count].pfn), 0);
		mark(blocks[count].pfn, order, 0, 1);
		blocks[count++].order = order;
		used += 1ull << order;
	}
	set_three();
	assert_true(taken[5002] && taken[5003] && taken[9000] && taken[9001]);
	totals_add_up();
	assert_int_equal(free_now(), initial - used);
	for (u32 i = 0; i < OPERATION; i++) {
		hosted_cpu_set((u32)random() % CPUS);
		if (count < BLOCKS && random() % 2) {
			u32 order = random() % 4 ? 0 : (u32)random() % 12;
			pfn_t pfn = PFN(random() % PAGES);
			int err = order || random() % 2 ? frame_alloc(order, 0, &pfn)
				  : random() % 2 ? frame_alloc_apart((u32)random() % 512, 0, &pfn)
						 : frame_alloc_at(pfn, 0);

			if (err)
				continue;
			mark(pfn, order, 0, 1);
			is_near(pfn, order, frame_node_of(pfn));
			blocks[count].pfn = pfn;
			blocks[count++].order = order;
			used += 1ull << order;
		} else if (count) {
			u32 which = (u32)random() % count;

			mark(blocks[which].pfn, blocks[which].order, 1, 0);
			used -= 1ull << blocks[which].order;
			frame_free(blocks[which].pfn, blocks[which].order);
			blocks[which] = blocks[--count];
		}
		assert_int_equal(free_now(), initial - used);
	}
	while (count--)
		frame_free(blocks[count].pfn, blocks[count].order);
	(void)frame_drain();
	assert_int_equal(free_now(), initial);
	totals_add_up();
	for (u32 node = 0; node < 3; node++)
		assert_int_equal(frame_node_free(node), frame_node_total(node));
	all_has_merged();
}

/* Its own first, then the nearest; of each what is kept there only when others have no more. */
static void near_before_far(void **state)
{
	static const u64 ends[] = {4000, 8000, 12000, PAGES};
	static const u32 node[] = {0, 1, 2, 3};
	static const u32 expected[] = {2, 0, 1, 3, 2, 0, 1, 3};
	u64 kept[4] = {100, 200, 300, 0};
	u32 at = 0;
	pfn_t pfn;

	start(ARENA);
	set_nodes(4, ends, node, 4);
	for (u32 i = 0; i < 4; i++)
		frame_node_keep(i, kept[i]);
	/* Whatever is said of another node, the own one is nearest. */
	hosted_cpu_set(1);
	assert_int_equal(frame_alloc(0, 0, &pfn), 0);
	is_near(pfn, 0, 1);
	hosted_cpu_set(2);
	while (frame_alloc(0, 0, &pfn) == 0) {
		u32 n = frame_node_of(pfn);

		while (at < ARRAY_SIZE(expected) && n != expected[at]) {
			at++;
			/* In a batch for the CPU's cache there may be a few that were kept. */
			if (at <= 4 && kept[expected[at - 1]])
				assert_in_range(frame_node_free(expected[at - 1]),
						kept[expected[at - 1]] - 16,
						kept[expected[at - 1]]);
			else
				assert_int_equal(frame_node_free(expected[at - 1]), 0);
		}
		assert_true(at < ARRAY_SIZE(expected));
	}
	assert_int_equal(free_now(), 0);
}

/* A frame of another node does not stay at hand for who wants one of his own. */
static void far_frames_go_home(void **state)
{
	pfn_t pfn, far = PFN(11000);
	u64 free;

	start(ARENA);
	set_three();
	hosted_cpu_set(0);
	assert_int_equal(frame_alloc_at(far, 0), 0);
	free = frame_node_free(2);
	frame_free(far, 0);
	assert_int_equal(frame_node_free(2), free + 1);
	for (u32 i = 0; i < 200; i++) {
		assert_int_equal(frame_alloc(0, 0, &pfn), 0);
		is_near(pfn, 0, 0);
	}
	hosted_cpu_set(1);
	assert_int_equal(frame_alloc_apart(77, 0, &pfn), 0);
	is_near(pfn, 0, 1);
	assert_int_equal(pfn.v % 512, 77);
}

/* Nor are pages that lie together got where no more is free than is kept, while others have more. */
static void kept_from_who_wants_one_apart(void **state)
{
	static const u64 ends[] = {6144, PAGES};
	static const u32 node[] = {0, 1};
	u64 kept;
	pfn_t pfn;

	start(ARENA);
	set_nodes(2, ends, node, 2);
	hosted_cpu_set(0);
	kept = frame_node_free(0) - 100;
	frame_node_keep(0, kept);
	while (frame_node_free(0) > kept) {
		assert_int_equal(frame_alloc_apart(7, 0, &pfn), 0);
		is_near(pfn, 0, 0);
		for (u64 i = 0; i < 512; i++)
			(void)frame_alloc_at(PFN(align_down(pfn.v, 512) + i), 0);
	}
	assert_int_equal(frame_alloc_apart(7, 0, &pfn), 0);
	is_near(pfn, 0, 1);
	/* Where all are down to that it is for who asks. */
	frame_node_keep(1, PAGES);
	assert_int_equal(frame_alloc_apart(8, 0, &pfn), 0);
	is_near(pfn, 0, 0);
}

/* Where 2 MiB may not be broken up any more, single frames are still of the own node. */
static void none_apart_is_not_far(void **state)
{
	static const u64 ends[] = {6144, PAGES};
	static const u32 node[] = {0, 1};
	pfn_t pfn;
	u32 had = 0;

	start(ARENA);
	set_nodes(2, ends, node, 2);
	hosted_cpu_set(0);
	while (frame_alloc_apart(7, 0, &pfn) == 0) {
		is_near(pfn, 0, 0);
		had++;
	}
	assert_true(had > 3);
	assert_true(frame_node_free(0) > 4000);
	assert_int_equal(frame_alloc(0, 0, &pfn), 0);
	is_near(pfn, 0, 0);
}

/* What is set aside is of one node, and the CPU's own where it has it. */
static void reserve(void **state)
{
	pfn_t pfn, none;
	u64 free;

	start(ARENA);
	set_three();
	hosted_cpu_set(1);
	free = free_now();
	assert_int_equal(frame_reserve(3000, 1, &pfn), 0);
	for (u64 i = 0; i < 3000; i++)
		is_near(PFN(pfn.v + i), 0, 1);
	totals_add_up();
	/* None has so many, though there are as many in a row. */
	assert_int_equal(frame_reserve(6000, 1, &none), ERR_NOMEM);
	frame_release_range(pfn.v << PAGE_SHIFT, (pfn.v + 3000) << PAGE_SHIFT);
	(void)frame_drain();
	assert_int_equal(free_now(), free);
	totals_add_up();
}

/* What is given to the allocator later, and what becomes its own in use, is dealt out alike. */
static void what_comes_later(void **state)
{
	struct mem_range free[] = {{MIB(1), MIB(8)}, {MIB(30), MIB(40)}};
	u64 before[3], free_before;
	pfn_t pfn = PFN(12000 - 10);

	hosted_arena_init(ARENA);
	hosted_cpu_set(0);
	map_of(free, 2);
	map.ram_count = 1;
	map.ram[0] = (struct mem_range){MIB(1), ARENA};
	assert_int_equal(frame_init(&map), 0);
	set_three();
	totals_add_up();
	for (u32 i = 0; i < 3; i++)
		before[i] = frame_node_total(i);
	free_before = frame_node_free(1);
	frame_adopt(pfn, 20);
	assert_int_equal(frame_node_total(1), before[1] + 10);
	assert_int_equal(frame_node_total(2), before[2] + 10);
	for (u64 i = 0; i < 20; i++)
		frame_free(PFN(pfn.v + i), 0);
	(void)frame_drain();
	assert_int_equal(frame_node_free(1), free_before + 10);
	frame_release_range(MIB(8), MIB(30));
	totals_add_up();
	assert_int_equal(frame_node_total(0), managed_of(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_of_pages),
		cmocka_unit_test(random_operations),
		cmocka_unit_test(near_before_far),
		cmocka_unit_test(far_frames_go_home),
		cmocka_unit_test(kept_from_who_wants_one_apart),
		cmocka_unit_test(none_apart_is_not_far),
		cmocka_unit_test(reserve),
		cmocka_unit_test(what_comes_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
