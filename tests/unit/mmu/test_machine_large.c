/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Memory of 4 KiB pages that lies in one piece is mapped by 2 MiB, split, mapped by 4 KiB and
 * collapsed, while guests on all CPUs use it: by slots of two VMs, one of them across regions,
 * whose flags change and that move; by aging, which splits and joins; by pages that are protected,
 * dropped, put away and moved. Tables are taken out whose entries others are about to link.
 * R08, R32.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 1024ull /* two regions */
#define RAM_BASE  0x400ull
#define VIEW	  3 /* the slot of the second VM that changes, between two places */
#define VIEW_BASE 0x3000ull
#define VIEW_STEP 0x800ull
#define EDGE	  4 /* and 5: slots in the tables that its end needs there */
#define EDGE_AT	  0x280ull

static struct machine_object *ram;

static void show(u32 vm, u64 base, u64 pages, u64 first, u32 id, u32 flags)
{
	struct machine_slot s = {base, pages, first, id, flags, ram};

	machine_may_fail(machine_slot_create(&machine.vm[vm], &s), 0);
}

/* Where nothing else is resident they get the frames of one large page. */
static void touch(u64 first, u64 pages)
{
	pfn_t pfn;

	for (u64 i = first; i < first + pages; i++)
		machine_may_fail(gmem_get_page(ram->gmem, i, true, &pfn), 0);
}

static void set_up(u64 *random)
{
	ram = machine_object_new(RAM_PAGES, 0);
	touch(0, RAM_PAGES);
	show(0, RAM_BASE, RAM_PAGES, 0, 1, 0);
	show(0, 0x1003, 600, 3, 2, 0); /* no region of it is whole */
	show(1, 0x2000, RAM_PAGES, 0, 1, MEMSLOT_READONLY);
	show(1, VIEW_BASE, 600, 0, VIEW, 0);
	for (u32 i = 0; i < 2; i++)
		show(1, VIEW_BASE + EDGE_AT + i * VIEW_STEP, 64, 0, EDGE + i, 0);
	machine.vm[0].guard_base = RAM_BASE;
}

/* Its frame may come back to the same place, and the region be whole again. */
static void drop(u64 *random)
{
	u64 page = machine_hot_page(random);

	machine_drop_page(ram, page);
	touch(page, 1);
}

static void unmap(u64 *random)
{
	u32 vm = random_below(random, 2);
	u64 base = vm ? VIEW_BASE + VIEW_STEP * random_below(random, 2) : RAM_BASE;

	if (random_below(random, 2))
		mmu_unmap(&machine.vm[vm].mmu, GFN(base), 2 * GMEM_LARGE_PAGES);
	else
		mmu_unmap(&machine.vm[vm].mmu, GFN(base + machine_hot_page(random)),
			  1 + random_below(random, 12));
}

static void age(u64 *random)
{
	switch (random_below(random, 4)) {
	case 0:
		gmem_split(ram->gmem, 0, GMEM_LARGE_PAGES);
		break;
	case 1:
		gmem_join(ram->gmem, 0, GMEM_LARGE_PAGES);
		break;
	case 2:
		gmem_age(ram->gmem, 0, GMEM_LARGE_PAGES);
		break;
	default:
		gmem_age(ram->gmem, machine_hot_page(random), 7);
	}
}

static void change_slots(u64 *random)
{
	static const u32 flags[] = {0, 0, MEMSLOT_NO_LARGE, MEMSLOT_READONLY, MEMSLOT_LOG_DIRTY};
	u32 vm = random_below(random, 2);

	if (random_one_in(random, 4))
		machine_may_fail(machine_slot_move(&machine.vm[1], VIEW,
						   VIEW_BASE + VIEW_STEP * random_below(random, 2)),
				 0);
	else
		machine_may_fail(machine_slot_flags(&machine.vm[vm], vm ? VIEW : 1,
						    flags[random_below(random, ARRAY_SIZE(flags))]),
				 0);
}

/* A page that the guest protects keeps its region small. */
static void protect(u64 *random)
{
	struct machine_vm *vm = &machine.vm[0];
	u64 page = machine_hot_page(random), taken, done;
	u64 *guard = &vm->guard[page % MACHINE_GUARDS];
	bool on = random_below(random, 2);
	int err;

	if (!machine_take(guard))
		return;
	taken = __atomic_load_n(guard, __ATOMIC_RELAXED);
	do {
		err = mmu_range_protect(&vm->mmu, GFN(RAM_BASE + page), 1, on, &done);
	} while (err == ERR_NOMEM);
	if (err)
		machine_fail("protect: %s", error_name(err));
	__atomic_store_n(guard, taken + (((taken + 1) % 4 == 2) == on ? 1 : 3), __ATOMIC_RELAXED);
}

/* All of a region is dropped, and touched again: in one piece. */
static void renew(u64 first)
{
	struct machine_page *page = &ram->page[first];
	u64 mine, done = 0;

	for (mine = 0; mine < GMEM_LARGE_PAGES && machine_drop_begins(&page[mine]); mine++)
		;
	if (mine == GMEM_LARGE_PAGES)
		gmem_drop_range(ram->gmem, first, mine, &done);
	while (mine--)
		machine_drop_ended(&page[mine], mine < done);
	touch(first, done);
}

/* A region's pages go to other frames, or are put away; the next time it is made anew. */
static void take(u64 *random)
{
	u64 region = random_below(random, RAM_PAGES / GMEM_LARGE_PAGES);
	u64 page = region * GMEM_LARGE_PAGES + machine_hot_page(random);
	pfn_t pfn;

	if (!gmem_large(ram->gmem, page, &pfn)) {
		renew(region * GMEM_LARGE_PAGES);
		return;
	}
	/* Most of the time the regions are whole. */
	if (!random_one_in(random, 4))
		return;
	if (random_below(random, 2))
		machine_reclaim_pages(ram, page, 1 + random_below(random, 8));
	else
		machine_put_away_pages(ram, page, 1 + random_below(random, 64),
				       random_next(random));
}

static const struct machine_scenario scenario = {
	.name = "large",
	.memory = MIB(32),
	.vms = 2,
	.guests = 3,
	.accesses = 400,
	.rounds = 200,
	.logs = true,
	.races_lost = 45,
	.meets = {.kicks = 5, .large = 3, .split = 1, .collapsed = 1},
	.set_up = set_up,
	.jobs = {{"drop", drop},
		 {"unmap", unmap},
		 {"age", age},
		 {"slots", change_slots},
		 {"protect", protect},
		 {"take", take}},
};

static void guests_against_splits(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_splits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
