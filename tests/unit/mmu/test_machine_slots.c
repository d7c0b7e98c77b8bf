/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Guests on all CPUs fault while slots are created, moved, deleted and made over, their objects
 * with them, and pages that slots show are put away and on their way to a disk; what was freed is
 * poisoned. R03, R13, R22 to R24, R26, R27, R29, R30.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/machine/machine.h"

#define STEADY	     1
#define ALIAS	     2
#define ROM	     3
#define LARGE	     4
#define FLEETING     5 /* and up */
#define FLEETING_MAX 3

#define RAM_PAGES 96
#define BLOCKS	  500

static u32 next_id;
static struct machine_object *ram;

/* Close to one another, across tables of each level, and at the edges of large pages. */
static u64 place(u64 *random)
{
	static const u64 places[] = {0x400, 0x7f0,  0x800,   0xa00,	0xc00,
				     0x1ff, 0x2010, 0x3fff0, 0x7fffff0, 0x8000200};

	return places[random_below(random, ARRAY_SIZE(places))] + random_below(random, 3) * 8;
}

static void set_up(u64 *random)
{
	struct machine_vm *vm = &machine.vm[0];
	struct machine_object *large = machine_object_new(1024, GMEM_LARGE_ORDER);

	ram = machine_object_new(RAM_PAGES, 0);
	machine_disk_attach(BLOCKS, random);
	fake_disk_hold_writes();
	next_id = FLEETING;
	machine_may_fail(
		machine_slot_create(vm, &(struct machine_slot){0x400, 96, 0, STEADY, 0, ram}), 0);
	machine_may_fail(
		machine_slot_create(vm, &(struct machine_slot){0x480, 48, 16, ALIAS, 0, ram}), 0);
	machine_may_fail(machine_slot_create(vm, &(struct machine_slot){0x500, 32, 60, ROM,
									MEMSLOT_READONLY, ram}),
			 0);
	machine_may_fail(
		machine_slot_create(vm, &(struct machine_slot){0x1400, 1024, 0, LARGE, 0, large}),
		0);
}

static const struct machine_slot *pick_slot(struct machine_vm *vm, u64 *random)
{
	const struct machine_view *v = machine_slots(vm);

	return &v->slot[random_below(random, v->count)];
}

/* A slot with an object of its own, or with one that another shows already. */
static void create(struct machine_vm *vm, u64 *random)
{
	struct machine_slot s = {.base = place(random), .id = next_id++};
	bool own = random_below(random, 2);

	s.object = own ? machine_object_new(16 + random_below(random, 80), 0)
		       : pick_slot(vm, random)->object;
	if (!s.object)
		return;
	if (s.object->pages > 512)
		s.base &= ~511ull;
	s.pages = s.object->pages;
	if (machine_may_fail(machine_slot_create(vm, &s), ERR_EXIST) && own)
		machine_object_free(s.object);
}

static void move(struct machine_vm *vm, u64 *random)
{
	const struct machine_slot *s = pick_slot(vm, random);
	u64 base = place(random);

	/* Half of the moves overlap where it was. */
	if (random_below(random, 2))
		base = s->base + 1 + random_below(random, 20);
	if (s->object->pages > 512)
		base = (base + 512) & ~511ull;
	machine_may_fail(machine_slot_move(vm, s->id, base), ERR_EXIST);
}

/* Gone, and back where it was. */
static void replace(struct machine_vm *vm, u64 *random)
{
	struct machine_slot s = *pick_slot(vm, random);

	if (machine_may_fail(machine_slot_delete(vm, s.id), 0))
		return;
	machine_pause(random);
	while (machine_may_fail(machine_slot_create(vm, &s), 0))
		;
}

static u32 shown(struct machine_vm *vm, const struct machine_object *o)
{
	const struct machine_view *v = machine_slots(vm);
	u32 n = 0;

	for (u32 i = 0; i < v->count; i++)
		n += v->slot[i].object == o;
	return n;
}

static void delete_one(struct machine_vm *vm, u64 *random)
{
	const struct machine_slot *s = pick_slot(vm, random);

	if (s->id >= FLEETING)
		machine_may_fail(shown(vm, s->object) == 1 ? machine_slot_delete_last(vm, s->id)
							   : machine_slot_delete(vm, s->id),
				 0);
}

static void change_slots(u64 *random)
{
	struct machine_vm *vm = &machine.vm[0];
	u32 count = machine_slots(vm)->count;

	switch (random_below(random, 4)) {
	case 0:
		if (count < LARGE + FLEETING_MAX && machine.objects < MACHINE_OBJECTS / 2)
			create(vm, random);
		break;
	case 1:
		move(vm, random);
		break;
	case 2:
		replace(vm, random);
		break;
	default:
		delete_one(vm, random);
	}
}

/* What a neighbour's table needs to be taken out when its other slot goes: nothing left in it. */
static void unmap(u64 *random)
{
	mmu_unmap(&machine.vm[0].mmu, GFN(0x400), GMEM_LARGE_PAGES);
}

static void put_away(u64 *random)
{
	machine_put_away_hard(ram, random);
}

static void tear_down(void)
{
	machine_disk_end(ram);
}

static bool was_used(void)
{
	struct swap_stats s;

	swap_get_stats(&s);
	return machine.failing || (s.writes && s.reads);
}

static const struct machine_scenario scenario = {
	.name = "slots",
	.memory = MIB(32),
	.vms = 1,
	.guests = 3,
	.accesses = 400,
	.rounds = 120,
	.set_up = set_up,
	.jobs = {{"slots", change_slots},
		 {"unmap", unmap},
		 {"put away", put_away},
		 {"disk", machine_disk, true}},
	.enough = was_used,
	.tear_down = tear_down,
	/* By faults that met a table which was being taken out. */
	.races_lost = 25,
	.meets = {.invalid = 80, .kicks = 20},
};

static void guests_against_slots(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
