/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* unit-cflags: -include tests/hosted/points.h */
/* The pool of packed pages: what is stored is found again, and spans are emptied and given back. */
#include <string.h>
#include "kernel/base/error.h"
#include "mem/pool.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mem/fixture.h"

#define OBJECTS 2000
#define STEPS	60000

static struct {
	u64 handle;
	u32 size; /* 0: none */
	u32 seed;
} objects[OBJECTS];

static u64 begin(void)
{
	u64 before = start(MIB(32));

	pool_init();
	memset(objects, 0, sizeof(objects));
	return before;
}

static void fill_bytes(u8 *bytes, u32 size, u32 seed)
{
	for (u32 i = 0; i < size; i++)
		bytes[i] = (u8)(seed * 31 + i * (seed | 1) + (i >> 5));
}

static void check_object(u32 i)
{
	u8 expected[POOL_OBJECT_MAX], bytes[POOL_OBJECT_MAX];

	fill_bytes(expected, objects[i].size, objects[i].seed);
	assert_int_equal(pool_size(objects[i].handle), objects[i].size);
	assert_int_equal(pool_copy(objects[i].handle, bytes), objects[i].size);
	assert_memory_equal(bytes, expected, objects[i].size);
}

static int store(u32 i, u32 size, u32 seed)
{
	u8 bytes[POOL_OBJECT_MAX];
	int err;

	fill_bytes(bytes, size, seed);
	err = pool_store(bytes, size, &objects[i].handle);
	if (err)
		return err;
	assert_true(objects[i].handle < BIT(POOL_HANDLE_BITS));
	assert_int_equal(pool_share(objects[i].handle)->refs, 1);
	objects[i].size = size;
	objects[i].seed = seed;
	return 0;
}

static void drop(u32 i)
{
	check_object(i);
	pool_free(objects[i].handle);
	objects[i].size = 0;
}

/* Whatever is left goes, and all of the pool's memory with it. */
static void drop_all(u64 before)
{
	struct pool_stats s;

	for (u32 i = 0; i < OBJECTS; i++) {
		if (objects[i].size)
			drop(i);
	}
	pool_get_stats(&s);
	assert_int_equal(s.objects + s.bytes + s.frames, 0);
	assert_int_equal(free_now(), before);
}

static void sizes(void **state)
{
	u64 before = begin();
	u64 handle;

	assert_int_equal(pool_store("", 0, &handle), ERR_RANGE);
	assert_int_equal(pool_store("", POOL_OBJECT_MAX + 1, &handle), ERR_RANGE);
	for (u32 size = 1; size <= POOL_OBJECT_MAX; size += 1 + size / 50) {
		u32 n = size % OBJECTS;

		while (objects[n].size)
			n = (n + 1) % OBJECTS;
		assert_int_equal(store(n, size, size), 0);
	}
	drop_all(before);
}

/* Of each size by itself: what its class rounds it to, and what a span has left. */
static void classes_are_close(void **state)
{
	for (u32 size = 240; size <= POOL_OBJECT_MAX; size += 13) {
		struct pool_stats s;

		begin();
		for (u32 i = 0; i < OBJECTS; i++)
			assert_int_equal(store(i, size, i), 0);
		pool_get_stats(&s);
		/* The last span may be empty but for one. */
		assert_in_range((s.frames - 7) * PAGE_SIZE * 100 / (OBJECTS * (size + 8)), 96, 109);
	}
}

/* Of many sizes each class has few, and no large spans for them. */
static void few_take_little(void **state)
{
	u64 random = 20261128;
	struct pool_stats s;

	begin();
	for (u32 i = 0; i < 500; i++)
		assert_int_equal(store(i, 20 + random_below(&random, 981), i), 0);
	pool_get_stats(&s);
	assert_in_range(s.frames, s.bytes / PAGE_SIZE, 125);
	begin();
	for (u32 size = 20; size <= POOL_OBJECT_MAX; size += 13)
		assert_int_equal(store(size / 13, size, size), 0);
	pool_get_stats(&s);
	assert_in_range(s.frames, s.bytes / PAGE_SIZE, 235);
}

/* A span costs little more than what is in it. */
static void little_is_wasted(void **state)
{
	for (u32 size = 100; size <= POOL_OBJECT_MAX; size += 170) {
		struct pool_stats s;

		begin();
		for (u32 i = 0; i < 480; i++)
			assert_int_equal(store(i, size, i), 0);
		pool_get_stats(&s);
		assert_int_equal(s.bytes, 480 * size);
		assert_true(s.frames * PAGE_SIZE < s.bytes * 5 / 4 + 480 * 80);
	}
}

/* Random life; what is live is as it was, whatever moves. */
static void random_life(void **state)
{
	u64 before = begin(), random = 20261126, compacted = 0;

	for (u32 step = 0; step < STEPS; step++) {
		u32 i = random_below(&random, OBJECTS);

		if (objects[i].size)
			drop(i);
		else
			assert_int_equal(store(i, 1 + random_below(&random, POOL_OBJECT_MAX), step),
					 0);
		if (step % 5000 == 4999) {
			compacted += pool_compact(step % 10000 == 9999 ? ~0u : 2);
			for (u32 k = 0; k < OBJECTS; k++) {
				if (objects[k].size)
					check_object(k);
			}
		}
	}
	assert_true(compacted > 0);
	drop_all(before);
}

/* Nearly all of one class goes: what is left needs no more spans than it fills. */
static void compaction_gives_back(void **state)
{
	u64 before = begin(), freed;
	struct pool_stats full, sparse, after;

	for (u32 i = 0; i < OBJECTS; i++)
		assert_int_equal(store(i, 700, i), 0);
	pool_get_stats(&full);
	for (u32 i = 0; i < OBJECTS; i++) {
		if (i % 10)
			drop(i);
	}
	pool_get_stats(&sparse);
	assert_true(sparse.frames > full.frames * 8 / 10);
	freed = pool_compact(~0u);
	pool_get_stats(&after);
	assert_int_equal(after.objects, OBJECTS / 10);
	assert_int_equal(sparse.frames - after.frames, freed);
	assert_true(after.frames <= full.frames / 10 + 4);
	for (u32 i = 0; i < OBJECTS; i += 10)
		drop(i);
	assert_int_equal(free_now(), before);
}

/*
 * Five to a small span and 26 to a large one, of 5 frames. The large one has the fewest, and no other has
 * room for them; but it has room for those of a small one.
 */
static void small_ones_go_into_large_ones(void **state)
{
	const u32 small = 16, in_small = 5;
	u64 before = begin();
	struct pool_stats s;

	for (u32 i = 0; i < small * in_small + 3; i++)
		assert_int_equal(store(i, 776, i), 0);
	pool_get_stats(&s);
	assert_int_equal(s.frames, small + 5);
	drop(0);
	assert_int_equal(pool_compact(1), 1);
	for (u32 i = 1; i < small * in_small + 3; i++)
		check_object(i);
	drop_all(before);
}

/* --- Objects are read, freed and stored by others while they move --- */

#define LIVERS	   2u
#define LIFE	   (OBJECTS / 16) /* objects of each */
#define LIFE_STEPS 600u

static u32 living; /* atomic */

static void live(void *arg)
{
	u64 random = (u64)arg + 1;
	u32 first = (u32)(u64)arg * LIFE;

	for (u32 step = 0; step < LIFE_STEPS; step++) {
		u32 i = first + random_below(&random, LIFE);
		bool few = step / 100 % 2;

		if (objects[i].size && random_below(&random, 8) < (few ? 4 : 1))
			drop(i);
		else if (objects[i].size)
			check_object(i);
		else if (random_below(&random, 8) < (few ? 1 : 4))
			assert_int_equal(store(i, 1 + random_below(&random, 2) * 1500, step), 0);
	}
	__atomic_fetch_sub(&living, 1, __ATOMIC_RELEASE);
}

/* What comes free is others' at once. */
static void compact(void *arg)
{
	while (__atomic_load_n(&living, __ATOMIC_ACQUIRE)) {
		u64 freed = pool_compact(4);
		void *used[16];

		*(u64 *)arg += freed;
		for (u32 i = 0; i < min(freed, (u64)ARRAY_SIZE(used)); i++) {
			used[i] = frame_alloc_page(0);
			memset(used[i], 0xee, PAGE_SIZE);
		}
		hosted_point();
		for (u32 i = 0; i < min(freed, (u64)ARRAY_SIZE(used)); i++)
			frame_free_page(used[i]);
		hosted_relax();
	}
}

static void life_while_it_moves(void **state)
{
	u64 freed = 0;
	const struct hosted_job jobs[] = {{"first", live, (void *)0},
					  {"second", live, (void *)1},
					  {"compact", compact, &freed}};

	for (u64 seed = 1; seed <= 20; seed++) {
		const struct hosted_way way = {
			.serial = true, .seed = seed, .period = 1 + seed % 10};
		u64 before = begin();

		living = LIVERS;
		hosted_run(jobs, ARRAY_SIZE(jobs), &way);
		drop_all(before);
	}
	assert_true(freed > 100);
}

/* Who reads is stopped at each of its points while all else moves, and what came free is used. */
#define KEPT 5u /* one of so many */
#define MANY (8 * KEPT)

static void read_one(void *arg)
{
	hosted_count_points();
	check_object(*(const u32 *)arg);
	hosted_count_no_more();
}

static void move_all(void *arg)
{
	u64 freed = pool_compact(~0u);

	assert_true(freed > 0);
	for (u64 i = 0; i < freed; i++)
		memset(frame_alloc_page(0), 0xee, PAGE_SIZE);
}

static void read_while_it_moves(void **state)
{
	u32 points = 1;

	for (u32 object = 0; object < MANY; object += KEPT) {
		for (u32 stop = 1; stop <= points; stop++) {
			const struct hosted_job jobs[] = {{"read", read_one, &object},
							  {"move", move_all, NULL}};
			const struct hosted_way way = {
				.directed = true, .period = 1, .stop[0] = {0, stop}};

			begin();
			for (u32 i = 0; i < MANY; i++)
				assert_int_equal(store(i, 1501, i), 0);
			for (u32 i = 0; i < MANY; i++) {
				if (i % KEPT)
					drop(i);
			}
			hosted_run(jobs, ARRAY_SIZE(jobs), &way);
			points = hosted_points_counted(0);
			check_object(object);
		}
	}
	assert_true(points > 3);
}

/* Nothing is half done where memory ends. */
static void no_memory(void **state)
{
	u64 before = begin(), n;

	for (n = 1;; n++) {
		hosted_fail_after(n);
		if (!store(0, 2900, 5))
			break;
		assert_int_equal(free_now(), before);
	}
	hosted_fail_after(0);
	assert_in_range(n, 3, 8);
	drop(0);
	assert_int_equal(free_now(), before);
}

static bool is_level(const char *name)
{
	for (u32 i = 0; i < pool_stat_group.count; i++) {
		if (!strcmp(pool_stat_group.descs[i].name, name))
			return pool_stat_group.descs[i].level;
	}
	fail_msg("no counter %s", name);
	return false;
}

/* What comes and goes is no counter to who reads `metrics`: a fall would be a restart there. */
static void what_falls_is_a_level(void **state)
{
	assert_true(is_level("objects"));
	assert_true(is_level("bytes"));
	assert_true(is_level("frames"));
	assert_false(is_level("moved"));
	assert_false(is_level("emptied"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(classes_are_close),
		cmocka_unit_test(few_take_little),
		cmocka_unit_test(little_is_wasted),
		cmocka_unit_test(random_life),
		cmocka_unit_test(compaction_gives_back),
		cmocka_unit_test(small_ones_go_into_large_ones),
		cmocka_unit_test(life_while_it_moves),
		cmocka_unit_test(read_while_it_moves),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(what_falls_is_a_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
