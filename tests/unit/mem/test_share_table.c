/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c mem/watermark.c
   mem/share_table.c */
/* unit-sanitizer: thread */
/*
 * The table of contents by itself: what is put there is found however the number of buckets changes
 * meanwhile, it takes few bytes for each, and an empty one is as small as it began.
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
#define STEP	 0x20000001ull /* between places, so that they have bits above 32, too */
#define LAST	 (BIT(44) - 1) /* the most that a bucket has room for */

static u64 keys[CONTENTS], evicted, before;

/* A place: that of the contents of this number. */
static u64 place_of(u32 i)
{
	return (u64)(i + 1) * STEP;
}

u64 share_key_at(u64 place)
{
	assert_int_equal(place % STEP, 0);
	assert_in_range(place / STEP, 1, CONTENTS);
	return keys[place / STEP - 1];
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

static void begin(u64 end)
{
	static struct memmap map;
	u64 random = 1;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_locks_forget();
	hosted_arena_init(MIB(256));
	memset(&map, 0, sizeof(map));
	map.count = 1;
	map.ranges[0] = (struct mem_range){MIB(1), end};
	assert_int_equal(frame_init(&map), 0);
	evicted = 0;
	for (u32 i = 0; i < CONTENTS; i++)
		keys[i] = (random_next(&random) & (BIT(SHARE_HASH_BITS) - 1)) |
			  (u64)(1 + i % 3) << SHARE_HASH_BITS;
	assert_int_equal(share_table_init(LAST), 0);
	before = free_now();
}

static int setup(void **state)
{
	begin(MIB(256));
	return 0;
}

static void insert(u32 i)
{
	share_table_add(keys[i], place_of(i));
}

static void remove(u32 i)
{
	struct spinlock *lock = share_lock_of(keys[i]);

	spin_lock(lock);
	share_table_remove(keys[i], place_of(i));
	spin_unlock(lock);
	share_table_fit();
}

/* No two have one key here. */
static bool is_there(u32 i)
{
	struct spinlock *lock = share_lock_of(keys[i]);
	u64 place;

	spin_lock(lock);
	place = share_table_find(keys[i]);
	spin_unlock(lock);
	assert_true(!place || place == place_of(i));
	return place;
}

static u32 count(void)
{
	u32 n = 0;

	for (u32 i = 0; i < CONTENTS; i++)
		n += is_there(i);
	return n;
}

/* Of random contents hardly one loses its place, though some four places of five are taken. */
static void grows_and_shrinks(void **state)
{
	u64 size = share_table_size();

	for (u32 i = 0; i < CONTENTS; i++) {
		insert(i);
		assert_true(share_table_size() <= max(KIB(64), 8ull * i) + 3 * PAGE_SIZE);
	}
	assert_int_equal(count(), CONTENTS - evicted);
	assert_int_equal(share_table_taken(), CONTENTS - evicted);
	assert_true(evicted < CONTENTS / 200);
	assert_int_equal(free_now(), before - (share_table_size() - size) / PAGE_SIZE);
	for (u32 i = 0; i < CONTENTS / 2; i++)
		remove(2 * i);
	assert_true(count() >= CONTENTS / 2 - evicted);
	for (u32 i = 0; i < CONTENTS / 2; i++)
		remove(2 * i + 1);
	assert_true(evicted < CONTENTS / 200);
	assert_int_equal(count(), 0);
	assert_int_equal(share_table_taken(), 0);
	assert_int_equal(share_table_size(), size);
	assert_int_equal(free_now(), before);
}

/*
 * What is done at random, and what is there by it: more often put there than taken away, or less, by
 * turns. Allocations fail at times.
 */
static void as_if_in_an_array(void **state)
{
	static bool there[CONTENTS];
	u64 random = 7;
	u32 n = 0;

	memset(there, 0, sizeof(there));
	for (u32 step = 0; step < 20 * CONTENTS; step++) {
		u32 i = (u32)random_below(&random, CONTENTS);
		bool more = step / (2 * CONTENTS) % 2 == 0;

		if (step % CONTENTS == 0)
			hosted_fail_often(step / CONTENTS % 3 == 1, 3);
		if (there[i] && !is_there(i)) {
			assert_true(evicted > 0);
			evicted--;
			there[i] = false;
			n--;
		} else if (!there[i]) {
			assert_false(is_there(i));
		}
		if (!there[i] && (more || random_below(&random, 8) == 0)) {
			insert(i);
			there[i] = true;
			n++;
		} else if (there[i] && (!more || random_below(&random, 8) == 0)) {
			remove(i);
			assert_false(is_there(i));
			there[i] = false;
			n--;
		}
		assert_int_equal(share_table_taken(), n - evicted);
	}
	hosted_fail_often(0, 0);
	for (u32 i = 0; i < CONTENTS; i++)
		remove(i);
	assert_int_equal(free_now(), before);
}

/*
 * Where there is no room for more, those that were found stay, and others go; also where buckets were
 * split since, and what was beside them removed.
 */
static void found_ones_stay(void **state)
{
	u32 known = CONTENTS / 3, n = 0;

	for (u32 i = 0; i < known; i++) {
		insert(i);
		if (i % 16 == 0)
			n += is_there(i);
	}
	assert_int_equal(n, known / 16);
	for (u32 i = 0; i < known; i++) {
		if (i % 4 == 1)
			remove(i);
	}
	hosted_fail_often(1, 1);
	for (u32 i = known; i < CONTENTS; i++)
		insert(i);
	hosted_fail_often(0, 0);
	assert_true(evicted > CONTENTS / 8);
	for (u32 i = 0; i < known; i += 16)
		assert_true(is_there(i));
	assert_int_equal(share_table_taken(), CONTENTS - known / 4 - evicted);
}

/* Contents of one lock are in one bucket in the end: in the smallest table. Others of them go. */
static void too_many_for_the_smallest(void **state)
{
	u64 size = share_table_size();
	u32 n = 0;

	for (u32 i = 0; i < CONTENTS; i++)
		insert(i);
	evicted = 0;
	for (u32 i = 0; i < CONTENTS; i++) {
		if (n < 3 * SHARE_PLACES && is_there(i) &&
		    share_lock_of(keys[i]) == share_lock_of(keys[0]))
			n++;
		else
			remove(i);
	}
	assert_int_equal(n, 3 * SHARE_PLACES);
	assert_int_equal(share_table_size(), size);
	assert_int_equal(share_table_taken(), SHARE_PLACES);
	assert_int_equal(count(), SHARE_PLACES);
	assert_int_equal(evicted, 2 * SHARE_PLACES);
}

/* Where all were found, even those lose their places. */
static void all_found(void **state)
{
	hosted_fail_often(1, 1);
	for (u32 i = 0; i < CONTENTS; i++) {
		insert(i);
		assert_true(is_there(i));
	}
	hosted_fail_often(0, 0);
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

/* Of little memory it takes no more than its part, though there is more, and goes on with that. */
static void no_more_than_its_part(void **state)
{
	struct frame_stats frames;

	begin(MIB(5));
	frame_get_stats(&frames);
	for (u32 i = 0; i < CONTENTS; i++)
		insert(i);
	assert_int_equal(share_table_size(), frames.total / 128 * PAGE_SIZE);
	assert_int_equal(share_table_taken(), CONTENTS - evicted);
	assert_int_equal(count(), CONTENTS - evicted);
	for (u32 i = 0; i < CONTENTS; i++)
		remove(i);
	assert_int_equal(share_table_taken(), 0);
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
		if (share_table_init(LAST)) {
			assert_false(share_table_is_there());
			assert_int_equal(free_now(), before);
		}
		hosted_fail_after(0);
	}
}

/* Each allocation fails once: what is known is found, and the table grows a little later. */
static void every_allocation_fails_once(void **state)
{
	u32 n = 0;
	bool failed = true;

	while (failed) {
		evicted = 0;
		hosted_fail_after(++n);
		for (u32 i = 0; i < CONTENTS / 4; i++)
			insert(i);
		failed = hosted_fail_happened();
		hosted_fail_after(0);
		assert_int_equal(count(), CONTENTS / 4 - evicted);
		assert_int_equal(share_table_taken(), CONTENTS / 4 - evicted);
		assert_true(evicted < CONTENTS / 800);
		for (u32 i = 0; i < CONTENTS / 4; i++)
			remove(i);
		assert_int_equal(free_now(), before);
	}
	assert_true(n > 10);
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
		cmocka_unit_test_setup(as_if_in_an_array, setup),
		cmocka_unit_test_setup(found_ones_stay, setup),
		cmocka_unit_test_setup(too_many_for_the_smallest, setup),
		cmocka_unit_test_setup(all_found, setup),
		cmocka_unit_test(no_more_than_its_part),
		cmocka_unit_test_setup(nothing_below_min, setup),
		cmocka_unit_test_setup(nothing_that_is_promised, setup),
		cmocka_unit_test_setup(without_memory, setup),
		cmocka_unit_test_setup(every_allocation_fails_once, setup),
		cmocka_unit_test_setup(all_at_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
