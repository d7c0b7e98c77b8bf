/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Guests on all CPUs fault while their pages go to a disk that cannot give some of them again. Who wants
 * one of these is told so, each time, and nobody else is; its VM ends, with pages on their way there and
 * back, and another takes its place. What other pages hold, of that VM and of the other, stays as it was.
 * R13.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/machine/machine.h"
#include "tests/hosted/schedule.h"

#define RAM_PAGES  300u
#define BLOCKS	   4000u /* one that cannot be read is not used again */
#define FAIL_READS 12u	 /* one in so many */

static struct machine_object *ram[MACHINE_VMS]; /* each VM's own */
/* atomic */
static bool busy[MACHINE_VMS];	/* some job is at its object, or ends it */
static bool dying[MACHINE_VMS]; /* a page of it is lost */
static u64 ends;

static void is_lost(void *arg, u64 index, u64 block, int err)
{
	u32 vm = (u32)(u64)arg;

	(void)block;
	if (err != ERR_IO)
		machine_fail("page %llu is lost: %s", (unsigned long long)index, error_name(err));
	machine_page_is_lost(ram[vm], index);
	__atomic_store_n(&dying[vm], true, __ATOMIC_RELEASE);
}

static void show(u32 vm, u64 base, u64 pages, u32 id, u32 flags)
{
	struct machine_slot s = {base, pages, 0, id, flags, ram[vm]};

	while (machine_may_fail(machine_slot_create(&machine.vm[vm], &s), 0))
		hosted_relax();
}

static void populate(u32 vm)
{
	while (!(ram[vm] = machine_object_new(RAM_PAGES, 0)))
		hosted_relax();
	gmem_on_lost(ram[vm]->gmem, is_lost, (void *)(u64)vm);
	show(vm, 0x400, RAM_PAGES, 1, 0);
	show(vm, 0x7fff0, 64, 2, 0); /* across tables */
	show(vm, 0x3f0, 10, 3, MEMSLOT_READONLY);
}

static void set_up(u64 *random)
{
	ends = 0;
	machine_disk_attach(BLOCKS, random);
	for (u32 vm = 0; vm < MACHINE_VMS; vm++) {
		busy[vm] = dying[vm] = false;
		populate(vm);
	}
	machine_disk_fail_reads(FAIL_READS);
	if (random_below(random, 2))
		fake_disk_hold(true);
	else
		fake_disk_hold_writes();
}

static bool begin(u32 vm)
{
	return !__atomic_exchange_n(&busy[vm], true, __ATOMIC_ACQUIRE);
}

static void end(u32 vm)
{
	__atomic_store_n(&busy[vm], false, __ATOMIC_RELEASE);
}

static void take(u64 *random)
{
	u32 vm = random_below(random, MACHINE_VMS);

	if (!begin(vm))
		return;
	if (random_below(random, 4))
		machine_put_away_hard(ram[vm], random);
	else
		machine_age(ram[vm], random);
	end(vm);
}

static void replace(u32 n)
{
	struct machine_vm *vm = &machine.vm[n];

	machine_vcpus_stop(vm);
	/* Its slots have the last references: the object goes with them, and waits for the disk. */
	machine_object_free(ram[n]);
	machine_vm_end(vm);
	__atomic_store_n(&dying[n], false, __ATOMIC_RELAXED);
	__atomic_fetch_add(&ends, 1, __ATOMIC_RELAXED);
	if (machine.objects > MACHINE_OBJECTS / 2)
		machine_disk_fail_reads(0);
	machine_vm_start(vm);
	populate(n);
	machine_vcpus_go(vm);
}

static void end_the_dying(u64 *random)
{
	u32 vm = random_below(random, MACHINE_VMS);

	if (!__atomic_load_n(&dying[vm], __ATOMIC_ACQUIRE) || !begin(vm))
		return;
	replace(vm);
	end(vm);
}

/* Pages came back, too. */
static bool was_used(void)
{
	struct swap_stats s;

	swap_get_stats(&s);
	return machine.failing ||
	       (s.writes && s.reads > s.read_errors && __atomic_load_n(&ends, __ATOMIC_RELAXED));
}

/* Who still reads when the disk's job has ended does not wait for it. */
static bool enough(void)
{
	if (!was_used())
		return false;
	fake_disk_hold_writes();
	while (fake_disk_do(NULL))
		;
	return true;
}

static void check(void)
{
	struct swap_stats s;

	machine_disk_finish();
	for (u32 vm = 0; vm < MACHINE_VMS; vm++) {
		for (u64 page = 0; page < RAM_PAGES; page++)
			machine_may_fail(gmem_drop(ram[vm]->gmem, page), 0);
	}
	swap_get_stats(&s);
	if (s.used)
		machine_fail("%llu blocks are left", (unsigned long long)s.used);
	swap_detach();
}

static const struct machine_scenario scenario = {
	.name = "lost",
	.memory = MIB(32),
	.vms = MACHINE_VMS,
	.guests = 3,
	.accesses = 400,
	.rounds = 120,
	.enough = enough,
	.set_up = set_up,
	.jobs = {{"take", take},
		 {"take too", take},
		 {"end", end_the_dying},
		 {"disk", machine_disk, true}},
	.tear_down = check,
};

static void guests_lose_pages(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_lose_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
