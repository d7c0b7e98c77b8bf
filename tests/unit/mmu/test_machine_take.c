/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Guests on all CPUs fault while the frames of their pages are taken and what was in them is put
 * away: packed, or forgotten where it is all zero. Two threads take, one ages, one drops, one
 * empties the pool's spans. The pages are shown by several slots and two VMs. R13.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/pool.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 600 /* of two regions of 2 MiB */

static struct machine_object *ram;
static u64 packed; /* atomic; pages that were */

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
}

static void take(u64 *random)
{
	__atomic_fetch_add(&packed, machine_put_away(ram, random), __ATOMIC_RELAXED);
}

static void age(u64 *random)
{
	machine_age(ram, random);
}

static void drop(u64 *random)
{
	machine_drop(ram, random);
}

static void compact(u64 *random)
{
	pool_compact(4);
}

/* What is packed is in the pool once, and nothing else is. */
static void check_pool(void)
{
	struct pool_stats pool;
	u64 now = 0;

	for (u64 i = 0; i < RAM_PAGES; i++)
		now += gmem_entry_state(gmem_entry(ram->gmem, i)) == GMEM_PACKED;
	pool_get_stats(&pool);
	if (pool.objects != now)
		machine_fail("%llu objects in the pool, %llu pages packed",
			     (unsigned long long)pool.objects, (unsigned long long)now);
	/* Side by side on a loaded machine those who take may never have had their turn. */
	if (machine.serial && !machine.failing && (!packed || !ram->gmem->fetched))
		machine_fail("%llu pages were packed, %llu came back", (unsigned long long)packed,
			     (unsigned long long)ram->gmem->fetched);
}

static const struct machine_scenario scenario = {
	.name = "take",
	.memory = MIB(32),
	.vms = 2,
	.guests = 3,
	.accesses = 400,
	.rounds = 120,
	.races_lost = 45,
	.meets = {.kicks = 5},
	.set_up = set_up,
	.jobs = {{"take", take},
		 {"take too", take},
		 {"age", age},
		 {"drop", drop},
		 {"compact", compact}},
	.tear_down = check_pool,
};

static void guests_against_taking(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_taking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
