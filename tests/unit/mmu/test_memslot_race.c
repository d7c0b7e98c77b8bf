/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * A change of the slots is stopped at each of its points in turn, and there another CPU looks at the
 * array: what it shows is told by its generation alone (R30), and it is there no later than its
 * generation is announced.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/fixture.h"

#define BASE	 GFN(0x140)
#define NEW_BASE GFN(0x540)
#define PAGES	 4
#define STEPS	 3 /* of a generation: as it was, INVALID, as it is to be */

enum {
	CHANGES,
	LOOKS,
	JOBS
};

struct view {
	int old, new; /* of the two places: what memslot_look_up says */
};

static struct gmem *ram;
static bool begun; /* atomic */
static u64 announced, generation;
static struct view seen;

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	return 0;
}

static int teardown(void **state)
{
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void changes(void *arg)
{
	__atomic_store_n(&begun, true, __ATOMIC_RELEASE);
	hosted_count_points();
	((void (*)(void))arg)();
	hosted_count_no_more();
}

static void looks(void *arg)
{
	const struct memslot *s;
	u64 of_new;
	u32 reader;

	while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		hosted_stand(1);
	announced = __atomic_load_n(&vm.slots_generation, __ATOMIC_SEQ_CST);
	reader = srcu_read_lock(&vm.srcu);
	seen.old = memslot_look_up(&vm, BASE, false, &s, &generation);
	seen.new = memslot_look_up(&vm, NEW_BASE, false, &s, &of_new);
	srcu_read_unlock(&vm.srcu, reader);
	/* Stopped, the change publishes nothing in between; else this looks again. */
	if (of_new != generation)
		looks(arg);
}

/* `prepare` makes the slots as they are before. `views`: what each generation shows, from there on. */
static void at_each_point(void (*prepare)(void), void (*change)(void),
			  const struct view views[STEPS])
{
	const struct hosted_job jobs[JOBS] = {
		[CHANGES] = {"change", changes, (void *)change},
		[LOOKS] = {"look", looks, NULL},
	};
	u32 met[STEPS] = {0};

	for (u32 point = 1;; point++) {
		struct hosted_way way = {.directed = true, .period = 1, .stop = {{CHANGES, point}}};
		u64 before;

		prepare();
		before = vm.slots_generation;
		begun = false;
		hosted_run(jobs, JOBS, &way);
		if (hosted_points_counted(CHANGES) < point)
			break;
		assert_true(generation >= announced);
		assert_in_range(generation - before, 0, STEPS - 1);
		assert_int_equal(seen.old, views[generation - before].old);
		assert_int_equal(seen.new, views[generation - before].new);
		met[generation - before]++;
	}
	assert_true(met[0] && met[2]);
	assert_int_equal(!!met[1], views[1].old != 0);
}

static void none(void)
{
	if (vm.slots->count)
		assert_int_equal(memslot_delete(&vm, 1), 0);
	grace();
}

static void one(void)
{
	none();
	assert_int_equal(memslot_create(&vm, 1, BASE, PAGES, ram, 0, 0), 0);
}

static void create(void)
{
	assert_int_equal(memslot_create(&vm, 1, BASE, PAGES, ram, 0, 0), 0);
}

static void delete (void)
{
	assert_int_equal(memslot_delete(&vm, 1), 0);
}

static void move(void)
{
	assert_int_equal(memslot_move(&vm, 1, NEW_BASE), 0);
}

static void a_slot_that_comes(void **state)
{
	static const struct view views[STEPS] = {{ERR_NOSLOT, ERR_NOSLOT}, {0, 0}, {0, ERR_NOSLOT}};

	at_each_point(none, create, views);
}

static void a_slot_that_goes(void **state)
{
	static const struct view views[STEPS] = {
		{0, ERR_NOSLOT}, {ERR_AGAIN, ERR_NOSLOT}, {ERR_NOSLOT, ERR_NOSLOT}};

	at_each_point(one, delete, views);
}

static void a_slot_that_moves(void **state)
{
	static const struct view views[STEPS] = {
		{0, ERR_NOSLOT}, {ERR_AGAIN, ERR_NOSLOT}, {ERR_NOSLOT, 0}};

	at_each_point(one, move, views);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_slot_that_comes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slot_that_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slot_that_moves, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
