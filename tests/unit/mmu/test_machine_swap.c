/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Guests on all CPUs fault while their pages go to a disk and come back: the same as `take`, but that
 * pages are said not to pack. The disk does what it is given late and in any order, and fails some of
 * the writes. Packed pages go on to it, and pages that it has, too, go back unwritten. A page that is touched on its way there comes back at once; neighbours come along. R13.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 600 /* of two regions of 2 MiB */
#define BLOCKS	  500 /* now and then none is left */

static struct machine_object *ram;

static void show(u32 vm, u64 base, u64 pages, u64 first, u32 id, u32 flags)
{
	struct machine_slot s = {base, pages, first, id, flags, ram};

	machine_may_fail(machine_slot_create(&machine.vm[vm], &s), 0);
}

static void set_up(u64 *random)
{
	ram = machine_object_new(RAM_PAGES, 0);
	show(0, 0x400, RAM_PAGES, 0, 1, 0);
	show(0, 0x7fff0, 64, 0, 2, 0); /* across tables */
	show(1, 0x3f8, 128, 4, 1, MEMSLOT_READONLY);
	show(1, 0x2000, 40, 560, 3, 0);
	machine_disk_attach(BLOCKS, random);
	fake_disk_fail(0, random_below(random, 2) ? 20 : 0);
	fake_disk_hold_writes();
}

static void take(u64 *random)
{
	machine_put_away_hard(ram, random);
}

/* What was packed goes on. */
static void write_packed(u64 *random)
{
	u64 first = random_below(random, 2) * GMEM_LARGE_PAGES;

	(void)gmem_write_packed(ram->gmem, first, min(RAM_PAGES - first, (u64)GMEM_LARGE_PAGES),
				(u32)random_below(random, 4), 1 + random_below(random, 16));
}

static void age(u64 *random)
{
	machine_age(ram, random);
}

static void drop(u64 *random)
{
	machine_drop(ram, random);
}

static bool has_block(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_SWAPPED ||
	       (gmem_entry_state(entry) == GMEM_GOT_PAGE && (entry & GMEM_KEPT));
}

/* Every block belongs to the page that says so, and none to nobody. */
static void check_blocks(void)
{
	struct swap_stats s;
	u64 now = 0;

	machine_disk_finish();
	for (u64 i = 0; i < RAM_PAGES; i++)
		now += has_block(gmem_entry(ram->gmem, i));
	swap_get_stats(&s);
	if (s.used != now)
		machine_fail("%llu blocks in use, %llu pages swapped", (unsigned long long)s.used,
			     (unsigned long long)now);
	machine_disk_end(ram);
}

static const struct machine_scenario scenario = {
	.name = "swap",
	.memory = MIB(32),
	.vms = 2,
	.guests = 3,
	.accesses = 400,
	.rounds = 120,
	/* Where threads run as the host lets them the guests might be done before anything was cold. */
	.enough = machine_disk_was_used,
	.races_lost = 45,
	.meets = {.kicks = 5},
	.set_up = set_up,
	.jobs = {{"take", take},
		 {"take too", take},
		 {"age", age},
		 {"drop", drop},
		 {"disk", machine_disk},
		 {"on", write_packed}},
	.tear_down = check_blocks,
};

static void guests_against_the_disk(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
