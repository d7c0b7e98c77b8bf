/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/*
 * R03: locked accesses that Weir makes for a guest, beside a vCPU that makes its own: neither loses what the
 * other adds, wherever in its cache line the word lies. Over a line's end a host may make a process wait
 * for seconds: the guest `real` does that.
 */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/exchange_page.h"

#define TURNS	  20000
#define CONTENDED 50 /* exchanges at least that the vCPU was ahead of */

static int setup(void **state)
{
	exchange_page_start();
	return 0;
}

static int teardown(void **state)
{
	exchange_page_end();
	return 0;
}

/* --- the vCPU --- */

struct adder {
	u8 *at;
	u32 size;
	bool started, stop;
	u64 added;
};

struct anywhere {
	u8 bytes[8];
};

static void *add(void *arg)
{
	struct adder *a = arg;
	struct anywhere *at = (struct anywhere *)a->at;

	__atomic_store_n(&a->started, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&a->stop, __ATOMIC_ACQUIRE)) {
		if (a->size == 2)
			__asm__ volatile("lock addw $1, %0" : "+m"(*at));
		else if (a->size == 4)
			__asm__ volatile("lock addl $1, %0" : "+m"(*at));
		else
			__asm__ volatile("lock addq $1, %0" : "+m"(*at));
		a->added++;
	}
	return NULL;
}

static pthread_t start_adder(struct adder *a)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, add, a), 0);
	while (!__atomic_load_n(&a->started, __ATOMIC_ACQUIRE))
		;
	return thread;
}

static void stop_adder(struct adder *a, pthread_t thread)
{
	__atomic_store_n(&a->stop, true, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* --- Weir --- */

/* How often the vCPU was ahead. */
static u64 add_one(u32 offset, u32 size)
{
	u64 old = 0, again = 0;
	int err;

	memcpy(&old, page + offset, size);
	while ((err = gpa_cmpxchg(&vm, GPA((BASE << PAGE_SHIFT) + offset), size, &old, old + 1)) ==
	       ERR_AGAIN)
		again++;
	assert_int_equal(err, 0);
	return again;
}

static void check(u32 offset, u32 size)
{
	struct adder a = {.at = page + offset, .size = size};
	u64 sum = 0, turns, contended = 0;
	pthread_t thread;

	memset(page, 0, PAGE_SIZE);
	thread = start_adder(&a);
	for (turns = 0; turns < TURNS || contended < CONTENDED; turns++)
		contended += add_one(offset, size);
	stop_adder(&a, thread);
	memcpy(&sum, page + offset, size);
	/* Of a word, what fits in it. */
	assert_true(!((sum ^ (turns + a.added)) & (~0ull >> (64 - 8 * size))));
	assert_int_equal(page[offset - 1] | page[offset + size], 0);
}

static void nothing_is_lost(void **state)
{
	for (u32 size = 2; size <= 8; size *= 2) {
		check(LINE, size);     /* aligned */
		check(LINE + 1, size); /* within a line */
		check(2 * LINE - size - 1, size);
	}
}

/* How often the vCPU was ahead, in the upper half. */
static u64 add_one_below(const u64 *words)
{
	u64 old[2], becomes[2], again = 0;
	int err;

	memcpy(old, words, sizeof(old));
	for (;; again++) {
		becomes[0] = old[0] + 1;
		becomes[1] = old[1];
		err = gpa_cmpxchg16(&vm, GPA((BASE << PAGE_SHIFT) + 0x40), old, becomes);
		if (err != ERR_AGAIN)
			break;
	}
	assert_int_equal(err, 0);
	return again;
}

static void the_other_half_stays(void **state)
{
	u64 *words = (u64 *)(void *)(page + 0x40), turns, contended = 0;
	struct adder a = {.at = (u8 *)(words + 1), .size = 8};
	pthread_t thread = start_adder(&a);

	/* Without LOCK few of them lose something. */
	for (turns = 0; turns < TURNS || contended < 10 * CONTENDED; turns++)
		contended += add_one_below(words);
	stop_adder(&a, thread);
	assert_true(words[0] == turns && words[1] == a.added);
}

/* In two pages no access of the host's is one. */
static void over_two_pages_is_refused(void **state)
{
	u64 old = 0, both[2] = {0};

	for (u32 size = 2; size <= 8; size *= 2)
		assert_int_equal(
			gpa_cmpxchg(&vm, GPA((BASE << PAGE_SHIFT) + PAGE_SIZE - 1), size, &old, 1),
			ERR_ALIGN);
	assert_int_equal(gpa_cmpxchg16(&vm, GPA((BASE << PAGE_SHIFT) + 8), both, both), ERR_ALIGN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(the_other_half_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(over_two_pages_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
