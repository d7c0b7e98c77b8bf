/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* The pool of packed pages: what is stored is found again, and spans are emptied and given back. */
#include <string.h>
#include "kernel/base/error.h"
#include "mem/pool.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define OBJECTS 2000
#define STEPS	60000

static struct {
	u64 handle;
	u32 size; /* 0: none */
	u32 seed;
} objects[OBJECTS];

static struct gmem *const owner_object = (struct gmem *)0x1000;

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
	struct pool_bytes b = pool_read(objects[i].handle);
	u8 expected[POOL_OBJECT_MAX];

	fill_bytes(expected, objects[i].size, objects[i].seed);
	assert_int_equal(b.first_size + b.second_size, objects[i].size);
	assert_memory_equal(b.first, expected, b.first_size);
	if (b.second_size)
		assert_memory_equal(b.second, expected + b.first_size, b.second_size);
}

static int store(u32 i, u32 size, u32 seed)
{
	const struct pool_owner owner = {owner_object, i};
	u8 bytes[POOL_OBJECT_MAX];
	int err = pool_alloc(size, &owner, &objects[i].handle);

	if (err)
		return err;
	assert_true(objects[i].handle < BIT(POOL_HANDLE_BITS));
	fill_bytes(bytes, size, seed);
	pool_write(objects[i].handle, bytes);
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

static void sizes(void **state)
{
	u64 before = begin();
	const struct pool_owner owner = {owner_object, 0};
	struct pool_stats s;
	u64 handle;

	assert_int_equal(pool_alloc(0, &owner, &handle), ERR_RANGE);
	assert_int_equal(pool_alloc(POOL_OBJECT_MAX + 1, &owner, &handle), ERR_RANGE);
	for (u32 size = 1; size <= POOL_OBJECT_MAX; size += 1 + size / 50) {
		u32 n = size % OBJECTS;

		while (objects[n].size)
			n = (n + 1) % OBJECTS;
		assert_int_equal(store(n, size, size), 0);
	}
	for (u32 i = 0; i < OBJECTS; i++) {
		if (objects[i].size)
			drop(i);
	}
	pool_get_stats(&s);
	assert_int_equal(s.objects + s.bytes + s.frames, 0);
	assert_int_equal(free_now(), before);
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

static bool move(const struct pool_owner *owner, u64 handle, void *arg)
{
	u32 i = (u32)owner->index;
	u64 old = objects[i].handle;

	assert_ptr_equal(owner->object, owner_object);
	assert_int_equal(handle, old);
	assert_true(objects[i].size);
	if (arg && i % 7 == 0)
		return false;
	check_object(i);
	if (store(i, objects[i].size, objects[i].seed))
		return false;
	pool_free(old);
	return true;
}

/* Random life; what is live is as it was, whatever moves. */
static void random_life(void **state)
{
	u64 before = begin(), random = 20261126, compacted = 0;
	struct pool_stats s;

	for (u32 step = 0; step < STEPS; step++) {
		u32 i = random_below(&random, OBJECTS);

		if (objects[i].size)
			drop(i);
		else
			assert_int_equal(store(i, 1 + random_below(&random, POOL_OBJECT_MAX), step),
					 0);
		if (step % 5000 == 4999) {
			bool some_stay = step % 10000 == 9999;

			compacted += pool_compact(move, some_stay ? &some_stay : NULL, ~0u);
			for (u32 k = 0; k < OBJECTS; k++) {
				if (objects[k].size)
					check_object(k);
			}
		}
	}
	assert_true(compacted > 0);
	for (u32 i = 0; i < OBJECTS; i++) {
		if (objects[i].size)
			drop(i);
	}
	pool_get_stats(&s);
	assert_int_equal(s.objects + s.bytes + s.frames, 0);
	assert_int_equal(free_now(), before);
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
	freed = pool_compact(move, NULL, ~0u);
	pool_get_stats(&after);
	assert_int_equal(after.objects, OBJECTS / 10);
	assert_int_equal(sparse.frames - after.frames, freed);
	assert_true(after.frames <= full.frames / 10 + 4);
	for (u32 i = 0; i < OBJECTS; i += 10)
		drop(i);
	assert_int_equal(free_now(), before);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),       cmocka_unit_test(little_is_wasted),
		cmocka_unit_test(random_life), cmocka_unit_test(compaction_gives_back),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
