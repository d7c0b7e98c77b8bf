/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine @reclaim */
/* unit-cflags: -include tests/hosted/points.h -DFRAME_CACHE=8 */
/*
 * Guests on all CPUs read and write numbered pages, four times as many as there are frames, while kaged
 * and whoever is refused a frame take what is old: zero, equal, packed, and put on a disk that is slow,
 * does things in any order and fails. Pages are dropped, a slot is deleted and comes back, and a VM ends
 * with pages on their way to the disk, and another takes its place. Every tier is met: some pages are
 * their stamp all over, until they are written. R13, R38.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"
#include "mem/share.h"
#include "mem/share_table.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/machine/machine.h"
#include "tests/hosted/schedule.h"

#define MEMORY	     MIB(3)
#define RAM_PAGES    1200u
#define OWN_PAGES    300u /* of the VM that goes */
#define OBJECTS	     3u
#define BLOCKS	     2000u
#define ALIKE	     64u
#define DONE_AT_ONCE 12u
#define MINE	     2u /* slots of the VM that goes */

/* ram[0] is the first VM's, ram[1] both VMs'; the last ends with its VM. */
static struct machine_object *ram[OBJECTS];
static struct reclaim_target target[OBJECTS];
static const struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
/* atomic */
static u64 ends;     /* of VMs */
static u64 replaced; /* slots */

/* Every other run is on two memory nodes, with pages of both in 2 MiB. */
static void memory_init(void)
{
	const struct reclaim_options options = {.min = 64, .low = 128, .high = 192, .tax = 75};
	static const struct frame_nodes nodes = {
		.count = 2,
		.range_count = 1,
		.ranges = {{MIB(2) - 9 * PAGE_SIZE, MEMORY, 1}},
		.of_cpu = {[1] = 1, [3] = 1, [5] = 1, [7] = 1},
	};

	if (machine.seed % 2)
		frame_set_nodes(&nodes);
	BUG_ON(reclaim_init(&options));
}

static bool is_filled(u64 index)
{
	return index % ALIKE % 8 == 4 || index % ALIKE % 8 == 6;
}

/*
 * What they hold behind stamp and count: nothing, what packs, and what does not, each in some pages; or
 * they are one word all over.
 */
static void fill(struct machine_object *o, u64 index)
{
	u64 kind = index % ALIKE, random = kind, *word;
	struct gmem *g = o->gmem;
	pfn_t pfn;

	while (gmem_get_page(g, index, true, &pfn))
		(void)reclaim_help(NULL, 0);
	if (is_filled(index)) {
		machine_fill(o, index);
		return;
	}
	word = pfn_to_virt(pfn);
	for (u32 i = 2; kind % 8 && i < PAGE_SIZE / sizeof(*word); i++)
		word[i] = kind % 4 == 1 ? random_next(&random) : kind + i % 5;
}

static void add(u32 i, u64 pages)
{
	while (!(ram[i] = machine_object_new(pages, 0)))
		hosted_relax();
	gmem_set_share_group(ram[i]->gmem, 1);
	reclaim_add(&target[i], ram[i]->gmem, &terms);
}

static void show(struct machine_vm *vm, u64 base, u64 pages, u32 id, u32 flags, u32 object)
{
	struct machine_slot s = {base, pages, 0, id, flags, ram[object]};

	while (machine_may_fail(machine_slot_create(vm, &s), 0))
		(void)reclaim_help(NULL, 0);
}

static void populate_second(void)
{
	struct machine_vm *vm = &machine.vm[1];

	add(MINE, OWN_PAGES);
	show(vm, 0x3f8, 128, 1, MEMSLOT_READONLY, 0);
	show(vm, 0x2000, RAM_PAGES, 2, 0, 1);
	show(vm, 0x7f0, OWN_PAGES, 3, 0, MINE);
}

static void set_up(u64 *random)
{
	ends = replaced = 0;
	machine_disk_attach(BLOCKS, random);
	add(0, RAM_PAGES);
	add(1, RAM_PAGES);
	show(&machine.vm[0], 0x400, RAM_PAGES, 1, 0, 0);
	show(&machine.vm[0], 0x7fff0, 64, 2, 0, 0); /* across tables */
	show(&machine.vm[0], 0x4000, RAM_PAGES, 3, 0, 1);
	populate_second();
	for (u32 i = 0; i < 2; i++) {
		for (u64 page = 0; page < RAM_PAGES; page++)
			fill(ram[i], page);
	}
	fake_disk_fail(0, random_below(random, 2) ? 20 : 0);
	fake_disk_hold_writes();
}

/* As kaged: at rest a round now and then, else what it takes. */
static void kaged(u64 *random)
{
	u32 node = (u32)random_below(random, frame_node_count);
	struct reclaim_effort e = {
		.node = node, .ages = 4, .gap_ns = 1, .rest = random_below(random, 2)};

	if (reclaim_is_short())
		(void)reclaim_fill_up(node);
	else
		(void)reclaim_age(&e);
}

/* A vCPU that was refused a frame. */
static void no_memory(struct machine_vm *vm)
{
	(void)reclaim_help(vm == &machine.vm[1] ? NULL : &target[0], 0);
}

/* Somebody else who wants memory, also 2 MiB; and packed pages go on, as where it stays short. */
static void help(u64 *random)
{
	const struct reclaim_effort e = {.want = 8};

	if (random_one_in(random, 16))
		reclaim_write_packed(&e);
	(void)reclaim_help(random_below(random, 2) ? NULL : &target[1],
			   random_one_in(random, 8) ? GMEM_LARGE_ORDER : 0);
}

static void disk(u64 *random)
{
	machine_disk_turn(random, DONE_AT_ONCE);
}

static void drop(u64 *random)
{
	machine_drop(ram[random_below(random, 2)], random);
}

/* As a guest that clears a page to some word, also one that was written since the last time. */
static void fill_again(u64 *random)
{
	u64 page = random_below(random, 2) ? machine_hot_page(random)
					   : random_below(random, RAM_PAGES);

	machine_fill(ram[random_below(random, 2)], page);
}

static void drop_or_fill(u64 *random)
{
	if (random_below(random, 2))
		drop(random);
	else
		fill_again(random);
}

/* A slot goes, whose pages are on their way somewhere, and comes back. */
static void replace_slot(void)
{
	struct machine_vm *vm = &machine.vm[0];

	if (machine_may_fail(machine_slot_delete(vm, 3), 0))
		return;
	hosted_relax();
	show(vm, 0x4000, RAM_PAGES, 3, 0, 1);
	__atomic_fetch_add(&replaced, 1, __ATOMIC_RELAXED);
}

static void replace_vm(void)
{
	struct machine_vm *vm = &machine.vm[1];

	if (machine.objects > MACHINE_OBJECTS / 2)
		return;
	machine_vcpus_stop(vm);
	reclaim_remove(&target[MINE]);
	/* Its slot has the last reference: the object goes with it, and waits for the disk. */
	machine_object_free(ram[MINE]);
	machine_vm_end(vm);
	__atomic_fetch_add(&ends, 1, __ATOMIC_RELAXED);
	machine_vm_start(vm);
	populate_second();
	machine_vcpus_go(vm);
}

static void change(u64 *random)
{
	if (random_one_in(random, 4))
		replace_vm();
	else
		replace_slot();
}

#define NEED(X)                         \
	X(zero, reclaim.stats.zero)     \
	X(filled, reclaim.stats.filled) \
	X(packed, reclaim.stats.packed) \
	X(found, share.found)           \
	X(rounds, reclaim.stats.rounds) \
	X(direct, reclaim.stats.direct) \
	X(writes, s.writes)             \
	X(packed_written, s.packed)     \
	X(reads, s.reads)               \
	X(put_back, s.put_back)         \
	X(shown, share.shown)           \
	X(copied, share.copied)         \
	X(replaced, replaced)           \
	X(ends, ends)

/* Every tier has had pages, and given some back. */
static bool was_used(void)
{
	struct share_stats share;
	struct swap_stats s;
	bool all = true;

	swap_get_stats(&s);
	share_get_stats(&share);
#define LOOK(name, counter) all &= __atomic_load_n(&(counter), __ATOMIC_RELAXED) != 0;
	NEED(LOOK)
	return machine.failing || all;
}

static void check(void)
{
	struct swap_stats s;
	struct pool_stats pool;
	struct share_stats share;

	machine_disk_finish();
	for (u32 i = 0; i < OBJECTS; i++) {
		reclaim_remove(&target[i]);
		for (u64 page = 0; page < ram[i]->pages; page++)
			machine_may_fail(gmem_drop(ram[i]->gmem, page), 0);
	}
	swap_get_stats(&s);
	pool_get_stats(&pool);
	share_get_stats(&share);
	if (s.used || pool.objects || share.frames || share_table_taken())
		machine_fail("%llu blocks, %llu packed objects and %llu shared frames are left",
			     (unsigned long long)s.used, (unsigned long long)pool.objects,
			     (unsigned long long)share.frames);
	swap_detach();
	memset(&watermarks, 0, sizeof(watermarks));
}

static const struct machine_scenario scenario = {
	.name = "kaged",
	.memory = MEMORY,
	.vms = 2,
	.guests = 3,
	.accesses = 600,
	.rounds = 120,
	.alike = ALIKE,
	.choice_ns = 200000, /* rounds are some ms apart */
	.memory_init = memory_init,
	.no_memory = no_memory,
	.enough = was_used,
	.meets = {.kicks = 5},
	.set_up = set_up,
	.jobs = {{"kaged", kaged},
		 {"help", help},
		 {"disk", disk, true},
		 {"drop", drop_or_fill},
		 {"slots", change},
		 {"disk too", disk, true}},
	.tear_down = check,
};

static void guests_against_kaged(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_kaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
