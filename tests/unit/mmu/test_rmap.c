/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* Chains of sptes against a set of numbers, the lock bit, and the flags beside them. */
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mmu/rmap.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define FLAGS (RMAP_PINNED | RMAP_PROTECTED | RMAP_YOUNG)

static u64 free_at_start;
static struct rmap_cache cache;
static u64 *sptes; /* a page of them: only where they are counts */
static u64 word;
static u32 members; /* bit i: sptes[i] is in the chain */

static int setup(void **state)
{
	machine_start(MIB(16));
	free_at_start = frames_free();
	sptes = frame_alloc_page(FRAME_ZERO);
	assert_int_equal(rmap_cache_fill(&cache), 0);
	word = FLAGS;
	members = 0;
	irq_disable();
	rmap_lock(&word);
	return 0;
}

static int teardown(void **state)
{
	rmap_clear(&word, 0);
	rmap_unlock(&word);
	assert_int_equal(word, FLAGS);
	irq_enable();
	rmap_cache_free(&cache);
	frame_free_page(sptes);
	assert_int_equal(frames_free(), free_at_start);
	assert_int_equal(hosted_locks_held(), 0);
	return 0;
}

/* The chain has each member once, and all else about the word is as it was. */
static void compare(void)
{
	u32 seen = 0, count = (u32)__builtin_popcount(members);
	struct rmap_cursor at;
	u64 *spte, *next = rmap_first(&word, &at);

	for (u32 i = 0; i < count; i++) {
		spte = rmap_spte(&word, i);
		assert_ptr_equal(next, spte);
		next = rmap_next(&at);
		assert_non_null(spte);
		assert_true(spte >= sptes && spte < sptes + 32);
		assert_false(seen & BIT(spte - sptes));
		seen |= BIT(spte - sptes);
	}
	assert_int_equal(seen, members);
	assert_null(next);
	assert_null(rmap_spte(&word, count));
	assert_null(rmap_spte(&word, count + 1));
	assert_null(rmap_spte(&word, ~0u));
	assert_int_equal(rmap_empty(&word), count == 0);
	assert_int_equal(word & (FLAGS | RMAP_LOCKED), FLAGS | RMAP_LOCKED);
	assert_int_equal(!!(word & RMAP_MANY), count > 1);
}

static void add(u32 i)
{
	assert_int_equal(rmap_add(&word, &sptes[i], &cache), 0);
	members |= BIT(i);
	compare();
}

static void remove_one(u32 i)
{
	rmap_remove(&word, &sptes[i]);
	members &= ~(u32)BIT(i);
	compare();
}

/* --- one after the other --- */

static void chains_from_end_to_end(void **state)
{
	const u64 *spte;
	struct rmap_cursor at;

	for (u32 length = 0; length <= RMAP_CHAIN_MAX; length++) {
		u32 n = 0;
		bool seen[RMAP_CHAIN_MAX] = {false};

		rmap_for_each (spte, &word, &at) {
			assert_true(spte >= sptes && spte < sptes + length);
			assert_false(seen[spte - sptes]);
			seen[spte - sptes] = true;
			n++;
		}
		assert_int_equal(n, length);
		assert_null(rmap_next(&at));
		assert_int_equal(rmap_cache_fill(&cache), 0);
		assert_int_equal(rmap_add(&word, &sptes[length], &cache), 0);
	}
}

/* --- in every order --- */

static u32 factorial(u32 n)
{
	return n ? n * factorial(n - 1) : 1;
}

/* Order number k of n things, into out. */
static void permutation(u32 n, u32 k, u32 *out)
{
	u32 left[8];

	for (u32 i = 0; i < n; i++)
		left[i] = i;
	for (u32 i = 0; i < n; i++) {
		u32 which = k % (n - i);

		k /= n - i;
		out[i] = left[which];
		left[which] = left[n - i - 1];
	}
}

/* Descriptors for a chain that was only added to. */
static u32 descriptors(u32 n)
{
	return n <= 1 ? 0 : (n + RMAP_DESC_SPTES - 1) / RMAP_DESC_SPTES;
}

static void chains_in_every_order(void **state)
{
	static const u32 lengths[] = {1, 2, 3, 4, 7};

	for (u32 c = 0; c < ARRAY_SIZE(lengths); c++) {
		u32 n = lengths[c], order[8];

		for (u32 k = 0; k < factorial(n); k++) {
			assert_int_equal(rmap_cache_fill(&cache), 0);
			for (u32 i = 0; i < n; i++)
				add(i);
			assert_int_equal(cache.count, RMAP_CACHE_MAX - descriptors(n));
			permutation(n, k, order);
			for (u32 i = 0; i < n; i++)
				remove_one(order[i]);
			assert_int_equal(word, FLAGS | RMAP_LOCKED);
		}
	}
}

static void adding_and_removing_at_random(void **state)
{
	srand(3);
	for (u32 round = 0; round < 30000; round++) {
		u32 i = rand() % 10;

		assert_int_equal(rmap_cache_fill(&cache), 0);
		if (members & BIT(i))
			remove_one(i);
		else
			add(i);
	}
}

static void clearing_drops_all_and_sets_flags(void **state)
{
	for (u32 n = 0; n < 9; n++) {
		u64 free;

		word = RMAP_LOCKED | RMAP_PINNED;
		assert_int_equal(rmap_cache_fill(&cache), 0);
		free = frames_free();
		for (u32 i = 0; i < n; i++)
			assert_int_equal(rmap_add(&word, &sptes[i], &cache), 0);
		rmap_clear(&word, n & 1 ? RMAP_YOUNG : 0);
		assert_int_equal(word, RMAP_LOCKED | RMAP_PINNED | (n & 1 ? RMAP_YOUNG : 0));
		assert_int_equal(rmap_cache_fill(&cache), 0);
		assert_int_equal(frames_free(), free);
	}
	rmap_flag(&word, RMAP_PROTECTED, RMAP_PINNED);
	assert_int_equal(word, RMAP_LOCKED | RMAP_PROTECTED);
	rmap_flag(&word, FLAGS, 0);
}

/* --- no descriptor --- */

static void without_descriptors_nothing_changes(void **state)
{
	struct rmap_cache empty = {0};

	/* The first needs none. */
	assert_int_equal(rmap_add(&word, &sptes[0], NULL), 0);
	members = BIT(0);
	for (u32 n = 1; n < 8; n++) {
		u64 before = word;
		int want = n % RMAP_DESC_SPTES == 0 || n == 1 ? ERR_TOO_HARD : 0;

		assert_int_equal(rmap_add(&word, &sptes[n], NULL), want);
		if (want) {
			assert_int_equal(word, before);
			compare();
			assert_int_equal(rmap_add(&word, &sptes[n], &empty), ERR_TOO_HARD);
			assert_int_equal(word, before);
			compare();
			add(n);
		}
		members |= BIT(n);
		compare();
	}
}

static void a_cache_is_filled_as_far_as_memory_goes(void **state)
{
	u32 n, failed = 0;

	for (n = 1;; n++) {
		u32 before;
		int err;

		rmap_cache_free(&cache);
		assert_int_equal(cache.count, 0);
		hosted_fail_after(n);
		err = rmap_cache_fill(&cache);
		if (!hosted_fail_happened())
			break;
		hosted_fail_after(0);
		assert_int_equal(err, ERR_NOMEM);
		before = cache.count;
		assert_true(before >= failed && before < RMAP_CACHE_MAX);
		failed = before;
		assert_int_equal(rmap_cache_fill(&cache), 0);
		assert_int_equal(cache.count, RMAP_CACHE_MAX);
	}
	hosted_fail_after(0);
	assert_int_equal(failed, RMAP_CACHE_MAX - 1);
}

/* --- misuse is caught --- */

static void remove_the_last(void *arg)
{
	rmap_remove(&word, &sptes[9]);
}

static void removing_what_is_not_there(void **state)
{
	for (u32 n = 0; n < 6; n++) {
		assert_true(hosted_catch_panic(remove_the_last, NULL));
		compare();
		add(n);
	}
}

static void add_one(void *arg)
{
	(void)rmap_add(arg, &sptes[0], NULL);
}

static void lock(void *arg)
{
	rmap_lock(arg);
}

static void unlock(void *arg)
{
	rmap_unlock_tried(arg);
}

static void the_lock_bit(void **state)
{
	u64 other = FLAGS;

	assert_true(hosted_catch_panic(add_one, &other));
	assert_true(hosted_catch_panic(unlock, &other));
	/* R35: who has one only tries for others. */
	assert_true(hosted_catch_panic(lock, &other));
	assert_int_equal(other, FLAGS);
	assert_true(rmap_trylock(&other));
	assert_int_equal(other, FLAGS | RMAP_LOCKED);
	assert_false(rmap_trylock(&other));
	assert_int_equal(hosted_locks_held(), 1);
	rmap_unlock_tried(&other);
	assert_int_equal(other, FLAGS);
	rmap_unlock(&word);
	irq_enable();
	assert_true(hosted_catch_panic(lock, &other));
	irq_disable();
	rmap_lock(&word);
}

static u64 shared_word, counted; /* counted: shared_word */

static void *count(void *arg)
{
	hosted_cpu_set((u32)(u64)arg);
	irq_disable();
	for (u32 i = 0; i < 2000; i++) {
		if (i & 1)
			rmap_lock(&shared_word);
		while (!(i & 1) && !rmap_trylock(&shared_word))
			;
		counted++;
		if (i & 1)
			rmap_unlock(&shared_word);
		else
			rmap_unlock_tried(&shared_word);
	}
	irq_enable();
	return NULL;
}

static void it_keeps_others_out(void **state)
{
	pthread_t threads[3];

	shared_word = counted = 0;
	for (u64 i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, count, (void *)(i + 1));
	for (u32 i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counted, 6000);
	assert_int_equal(shared_word, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(chains_from_end_to_end, setup, teardown),
		cmocka_unit_test_setup_teardown(chains_in_every_order, setup, teardown),
		cmocka_unit_test_setup_teardown(adding_and_removing_at_random, setup, teardown),
		cmocka_unit_test_setup_teardown(clearing_drops_all_and_sets_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(without_descriptors_nothing_changes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_cache_is_filled_as_far_as_memory_goes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(removing_what_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(the_lock_bit, setup, teardown),
		cmocka_unit_test_setup_teardown(it_keeps_others_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
