/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * A copy of guest memory is kept up by the dirty log alone, as a migration does, while guests and
 * devices write and pages move: whenever all stand still, copy and memory are the same. The logs
 * come and go, by write protection or by PML, over pages of both sizes. R21; R07, R14, R18, R35.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES   200
#define ALIAS_PAGES 64
#define BIG_PAGES   1024
#define WORDS	    (BIG_PAGES / 64)

static struct copy {
	u32 slot;
	u64 base, pages;
	u64 *count;
} copies[] = {
	{.slot = 1, .base = 0x400, .pages = RAM_PAGES},
	{.slot = 2, .base = 0x7fff0, .pages = ALIAS_PAGES},
	{.slot = 3, .base = 0x1000, .pages = BIG_PAGES},
};

static u64 ram_copy[RAM_PAGES], large_copy[BIG_PAGES];
static struct machine_object *ram, *large;
static u32 logged; /* slots that are */

static void set_up(u64 *random)
{
	struct machine_object *objects[3];

	objects[0] = objects[1] = ram = machine_object_new(RAM_PAGES, 0);
	objects[2] = large = machine_object_new(BIG_PAGES, GMEM_LARGE_ORDER);
	copies[0].count = copies[1].count = ram_copy;
	copies[2].count = large_copy;
	for (u32 i = 0; i < ARRAY_SIZE(copies); i++) {
		struct copy *c = &copies[i];
		struct machine_slot s = {c->base, c->pages, 0, c->slot, 0, objects[i]};

		machine_may_fail(machine_slot_create(&machine.vm[0], &s), 0);
	}
}

/* As a migration reads what it sends: through the slot, beside the guests. */
static u64 count_of(const struct copy *c, u64 page)
{
	u64 count = 0;

	while (machine_may_fail(gpa_read(&machine.vm[0].mmu,
					 GPA(((c->base + page) << PAGE_SHIFT) + MACHINE_COUNT_AT),
					 &count, sizeof(count)),
				0))
		;
	return count;
}

static void take_log(const struct copy *c)
{
	u64 bitmap[WORDS];

	machine_may_fail(mmu_dirty_get_and_clear(&machine.vm[0].mmu, c->slot, bitmap, WORDS), 0);
	for (u64 i = 0; i < c->pages; i++) {
		if (bitmap[i / 64] & BIT(i % 64))
			c->count[i] = count_of(c, i);
	}
}

static void take_logs(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(copies); i++)
		take_log(&copies[i]);
}

/* What is written from here on is in a log: so all that is written later than it is copied. */
static void begin(void)
{
	struct copy *c = &copies[logged];

	if (machine_may_fail(machine_slot_flags(&machine.vm[0], c->slot, MEMSLOT_LOG_DIRTY), 0))
		return;
	if (++logged < ARRAY_SIZE(copies))
		return;
	for (u32 i = 0; i < ARRAY_SIZE(copies); i++) {
		for (u64 page = 0; page < copies[i].pages; page++)
			copies[i].count[page] = count_of(&copies[i], page);
	}
}

static void compare(void)
{
	machine_stop();
	take_logs();
	for (u32 i = 0; i < ARRAY_SIZE(copies); i++) {
		const struct copy *c = &copies[i];

		for (u64 page = 0; page < c->pages; page++) {
			if (c->count[page] != count_of(c, page))
				machine_fail("R21: page %llu of slot %u was written %llu times, "
					     "and copied after %llu",
					     (unsigned long long)page, c->slot,
					     (unsigned long long)count_of(c, page),
					     (unsigned long long)c->count[page]);
		}
	}
	machine_resume();
}

static void end(void)
{
	while (logged) {
		if (!machine_may_fail(
			    machine_slot_flags(&machine.vm[0], copies[logged - 1].slot, 0), 0))
			logged--;
	}
}

static void log_pages(u64 *random)
{
	if (logged < ARRAY_SIZE(copies)) {
		begin();
		return;
	}
	take_logs();
	if (random_below(random, 3))
		return;
	compare();
	if (random_one_in(random, 6))
		end();
}

static void reclaim(u64 *random)
{
	machine_reclaim(ram, random);
}

static void age(u64 *random)
{
	machine_age(random_below(random, 2) ? large : ram, random);
}

static const struct machine_scenario scenario = {
	.name = "dirty",
	.memory = MIB(32),
	.vms = 1,
	.guests = 3,
	.accesses = 400,
	.rounds = 120,
	.races_lost = 45,
	.meets = {.kicks = 10, .large = 3, .split = 2},
	.set_up = set_up,
	.jobs = {{"log", log_pages}, {"reclaim", reclaim}, {"age", age}},
	.logs = true,
};

static void guests_against_the_dirty_log(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_the_dirty_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
