/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c mem/watermark.c
   mem/share_table.c */
/* unit-sanitizer: thread */
/*
 * The table of contents by itself: what is put there is found however the number of buckets changes
 * meanwhile, and an empty table is as small as it began.
 */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/share_table.h"
#include "mem/watermark.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"

#define CONTENTS 24000u
#define THREADS	 3u
#define SHIFT	 12 /* a place: the number of the contents, from 1 on */

static u64 keys[CONTENTS], evicted, before;
static bool lost[CONTENTS]; /* whoever has the lock of the key */

u64 share_key_at(u64 place)
{
	return keys[(place >> SHIFT) - 1];
}

void share_count_evicted(void)
{
	__atomic_fetch_add(&evicted, 1, __ATOMIC_RELAXED);
}

static u64 free_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

static int setup(void **state)
{
	static struct memmap map;
	u64 random = 1;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_locks_forget();
	hosted_arena_init(MIB(256));
	memset(&map, 0, sizeof(map));
	map.count = 1;
	map.ranges[0] = (struct mem_range){MIB(1), MIB(256)};
	assert_int_equal(frame_init(&map), 0);
	memset(lost, 0, sizeof(lost));
	evicted = 0;
	for (u32 i = 0; i < CONTENTS; i++)
		keys[i] = (random_next(&random) & (BIT(SHARE_HASH_BITS) - 1)) |
			  (u64)(1 + i % 3) << SHARE_HASH_BITS;
	assert_int_equal(share_table_init(), 0);
	before = free_now();
	return 0;
}

/* In its bucket; NULL: it is not. */
static u64 *find(u64 *bucket, u64 place)
{
	for (u32 i = 0; i < SHARE_PLACES; i++) {
		if (bucket[i] == place)
			return &bucket[i];
	}
	return NULL;
}

static u64 place_of(u32 i)
{
	return (u64)(i + 1) << SHIFT;
}

/* Another's place is taken where there is no room. */
static void insert(u32 i)
{
	struct spinlock *lock = share_lock_of(keys[i]);
	u64 *bucket, *free;

	spin_lock(lock);
	bucket = share_bucket_of(keys[i]);
	free = find(bucket, 0);
	if (free) {
		share_count_place(1);
	} else {
		free = &bucket[i % SHARE_PLACES];
		share_count_evicted();
		lost[(*free >> SHIFT) - 1] = true;
	}
	*free = place_of(i);
	lost[i] = false;
	spin_unlock(lock);
	share_table_fit();
}

/* What was there is there, or lost its place. */
static void remove(u32 i)
{
	struct spinlock *lock = share_lock_of(keys[i]);
	u64 *at;

	spin_lock(lock);
	at = find(share_bucket_of(keys[i]), place_of(i));
	if (at) {
		*at = 0;
		share_count_place(-1);
	}
	assert_true(at || lost[i] || __atomic_load_n(&evicted, __ATOMIC_RELAXED));
	spin_unlock(lock);
	share_table_fit();
}

static bool is_there(u32 i)
{
	struct spinlock *lock = share_lock_of(keys[i]);
	bool there;

	spin_lock(lock);
	there = find(share_bucket_of(keys[i]), place_of(i)) != NULL;
	spin_unlock(lock);
	return there;
}

static u32 count(void)
{
	u32 n = 0;

	for (u32 i = 0; i < CONTENTS; i++)
		n += is_there(i);
	return n;
}

/* Of random contents few lose their place, and no others are lost; a third of the places is taken. */
static void grows_and_shrinks(void **state)
{
	u64 size = share_table_size();

	for (u32 i = 0; i < CONTENTS; i++)
		insert(i);
	assert_int_equal(count(), CONTENTS - evicted);
	assert_true(evicted < CONTENTS / 25);
	assert_true(share_table_size() > 8 * CONTENTS && share_table_size() < 24 * CONTENTS);
	assert_int_equal(free_now(), before - (share_table_size() - size) / PAGE_SIZE);
	evicted = 0;
	for (u32 i = 0; i < CONTENTS / 2; i++)
		remove(2 * i);
	for (u32 i = 0; i < CONTENTS / 2; i++)
		assert_true(is_there(2 * i + 1) || lost[2 * i + 1] || evicted);
	for (u32 i = 0; i < CONTENTS / 2; i++)
		remove(2 * i + 1);
	assert_int_equal(count(), 0);
	assert_int_equal(share_table_size(), size);
	assert_int_equal(free_now(), before);
}

static void takes_nothing(u64 min, u64 owed)
{
	u64 size = share_table_size();

	watermarks.min = min;
	watermarks.owed = owed;
	for (u32 i = 0; i < CONTENTS / 2; i++)
		insert(i);
	assert_int_equal(share_table_size(), size);
	watermarks.min = watermarks.owed = 0;
	for (u32 i = CONTENTS / 2; i < CONTENTS; i++)
		insert(i);
	assert_true(share_table_size() > size);
	for (u32 i = 0; i < CONTENTS; i++)
		remove(i);
	assert_int_equal(free_now(), before);
}

/* R38: it takes nothing of what is left for reclaim. */
static void nothing_below_min(void **state)
{
	takes_nothing(before, 0);
}

/* Nor of what VMs were promised and have not touched yet. */
static void nothing_that_is_promised(void **state)
{
	takes_nothing(20, before - 10);
}

/* Without memory it stays as it is; where there is some again, it grows. */
static void without_memory(void **state)
{
	u64 size = share_table_size(), stuck;

	for (u32 i = 0; i < CONTENTS / 4; i++)
		insert(i);
	stuck = share_table_size();
	assert_true(stuck > size);
	hosted_fail_often(1, 1);
	for (u32 i = CONTENTS / 4; i < CONTENTS / 2; i++)
		insert(i);
	assert_int_equal(share_table_size(), stuck);
	hosted_fail_often(0, 0);
	for (u32 i = CONTENTS / 2; i < CONTENTS; i++)
		insert(i);
	assert_true(share_table_size() > stuck);
	for (u32 i = 0; i < CONTENTS; i++)
		remove(i);
	assert_int_equal(free_now(), before);
	for (u32 n = 1; n < 4; n++) {
		hosted_fail_after(n);
		if (share_table_init()) {
			assert_false(share_table_is_there());
			assert_int_equal(free_now(), before);
		}
		hosted_fail_after(0);
	}
}

static void *worker(void *arg)
{
	u32 id = (u32)(u64)arg;
	u64 random = id;

	hosted_cpu_set(id);
	for (u32 round = 0; round < 3; round++) {
		for (u32 i = id; i < CONTENTS / 2; i += THREADS)
			insert(i);
		for (u32 i = 0; i < 1000; i++)
			(void)is_there(random_below(&random, CONTENTS));
		for (u32 i = id; i < CONTENTS / 2; i += THREADS)
			remove(i);
	}
	return NULL;
}

/* One adds buckets while others take them away, and look. */
static void all_at_once(void **state)
{
	pthread_t threads[THREADS];

	for (u64 i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, (void *)i), 0);
	for (u32 i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count(), 0);
	assert_int_equal(free_now(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(grows_and_shrinks, setup),
		cmocka_unit_test_setup(nothing_below_min, setup),
		cmocka_unit_test_setup(nothing_that_is_promised, setup),
		cmocka_unit_test_setup(without_memory, setup),
		cmocka_unit_test_setup(all_at_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
