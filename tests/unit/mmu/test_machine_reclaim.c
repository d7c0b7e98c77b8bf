/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Guests on all CPUs fault while pages are taken from under them: moved to other frames by two
 * reclaimers at once, dropped, aged with and without hardware's bits. The pages are shown by
 * several slots and two VMs. R03, R08 to R10, R12, R13, R15, R20, R22, R27, R34, R35.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 600 /* of two regions of 2 MiB */

static struct machine_object *ram, *large;

static void show(u32 vm, u64 base, u64 pages, u64 first, u32 id, u32 flags,
		 struct machine_object *o)
{
	struct machine_slot s = {base, pages, first, id, flags, o};

	machine_may_fail(machine_slot_create(&machine.vm[vm], &s), 0);
}

static void set_up(u64 *random)
{
	ram = machine_object_new(RAM_PAGES, 0);
	large = machine_object_new(1024, GMEM_LARGE_ORDER);
	show(0, 0x400, RAM_PAGES, 0, 1, 0, ram);
	show(0, 0x7fff0, 64, 0, 2, 0, ram); /* across tables */
	show(0, 0x1000, 512, 0, 3, 0, large);
	show(1, 0x3f8, 128, 4, 1, MEMSLOT_READONLY, ram);
	show(1, 0x600, 1024, 0, 2, 0, large);
	show(1, 0x2000, 40, 560, 3, 0, ram);
}

static void reclaim(u64 *random)
{
	machine_reclaim(ram, random);
}

static void age(u64 *random)
{
	machine_age(random_one_in(random, 4) ? large : ram, random);
}

static void drop(u64 *random)
{
	machine_drop(ram, random);
}

/* R12: what is mapped has the one reference of its object, and nobody pins it any more. */
static void check_references(void)
{
	for (u64 i = 0; i < RAM_PAGES; i++) {
		u64 entry = gmem_entry(ram->gmem, i);
		const struct frame *f = frame_of(gmem_entry_pfn(entry));

		if (gmem_entry_state(entry) == GMEM_GOT_PAGE && (f->refs != 1 || f->pins))
			machine_fail("page %llu has %u references and %u pins",
				     (unsigned long long)i, f->refs, f->pins);
	}
}

static const struct machine_scenario scenario = {
	.name = "reclaim",
	.memory = MIB(32),
	.vms = 2,
	.guests = 3,
	.accesses = 400,
	.rounds = 120,
	.races_lost = 45,
	.meets = {.kicks = 5, .large = 6},
	.set_up = set_up,
	.jobs = {{"reclaim", reclaim}, {"reclaim too", reclaim}, {"age", age}, {"drop", drop}},
	.tear_down = check_references,
};

static void guests_against_reclaim(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_reclaim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
