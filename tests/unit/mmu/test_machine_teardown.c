/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * VMs end and others begin in their place while CPUs that ran them go on with other VMs, and while
 * pages that they share are reclaimed, or on their way to a disk; and pages of their own are when they
 * end. A root's frame comes back as the next VM's root, with what CPUs cached of the old one. R15, R16,
 * R29, R33.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/machine/machine.h"

#define SHARED_PAGES 96
#define OWN_PAGES    40
#define BLOCKS	     500

static struct machine_object *shared, *own[MACHINE_VMS];

static void create(struct machine_vm *vm, struct machine_slot s)
{
	while (machine_may_fail(machine_slot_create(vm, &s), 0))
		;
}

/* Two slots show the shared pages; one shows pages that end with the VM. */
static void populate(struct machine_vm *vm)
{
	struct machine_object **o = &own[vm - machine.vm];

	do {
		*o = machine_object_new(OWN_PAGES, 0);
	} while (!*o);
	create(vm, (struct machine_slot){0x400, SHARED_PAGES, 0, 1, 0, shared});
	create(vm, (struct machine_slot){0x5f0, 32, 8, 2, 0, shared});
	create(vm, (struct machine_slot){0x7f0, OWN_PAGES, 0, 3, 0, *o});
}

static void set_up(u64 *random)
{
	shared = machine_object_new(SHARED_PAGES, 0);
	machine_disk_attach(BLOCKS, random);
	fake_disk_hold_writes();
	for (u32 i = 0; i < machine.vms; i++)
		populate(&machine.vm[i]);
}

/* All that it has of its own, or some of it. */
static void put_own_away(struct machine_object *o, u64 *random)
{
	if (random_below(random, 4))
		machine_harden(o);
	(void)machine_put_away_pages(o, 0, OWN_PAGES, random_next(random) | random_next(random));
}

static void replace_vm(u64 *random)
{
	struct machine_vm *vm = &machine.vm[random_below(random, machine.vms)];

	if (machine.objects > MACHINE_OBJECTS / 2)
		return;
	machine_vcpus_stop(vm);
	put_own_away(own[vm - machine.vm], random);
	/* Its slot has the last reference. */
	machine_object_free(own[vm - machine.vm]);
	machine_vm_end(vm);
	machine_pause(random);
	machine_vm_start(vm);
	populate(vm);
	machine_vcpus_go(vm);
}

static void reclaim(u64 *random)
{
	machine_reclaim(shared, random);
}

static void put_shared_away(u64 *random)
{
	machine_put_away_hard(shared, random);
}

static void tear_down(void)
{
	machine_disk_end(shared);
}

static void age(u64 *random)
{
	machine_age(shared, random);
}

static const struct machine_scenario scenario = {
	.name = "teardown",
	.memory = MIB(32),
	.vms = 2,
	.guests = 3,
	.accesses = 400,
	.rounds = 40,
	.races_lost = 35,
	.meets = {.kicks = 5},
	.set_up = set_up,
	.enough = machine_disk_was_used,
	.jobs = {{"life", replace_vm},
		 {"reclaim", reclaim},
		 {"age", age},
		 {"put away", put_shared_away},
		 {"disk", machine_disk, true}},
	.tear_down = tear_down,
};

static void guests_against_the_end_of_vms(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_the_end_of_vms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
