/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/trace.c */
/* The rings of the trace: what is kept, in which order it is shown, and what writers do to it. */
#include "kernel/base/trace.h"
#include "kernel/base/string.h"

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>

u32 log_cpu_id(void);
u64 log_clock_ns(void);

static _Thread_local u32 cpu;
static u64 now;

u32 log_cpu_id(void)
{
	return cpu;
}

u64 log_clock_ns(void)
{
	return __atomic_add_fetch(&now, 1, __ATOMIC_RELAXED);
}

static struct {
	u64 count, last_ns;
	u32 cpus[4];
	u64 first_a, last_a;
} seen;

static bool note(u32 of_cpu, const struct trace_record *r, void *arg)
{
	assert_true(r->ns > seen.last_ns);
	if (!seen.count++)
		seen.first_a = r->a;
	seen.last_ns = r->ns;
	seen.last_a = r->a;
	seen.cpus[of_cpu]++;
	assert_int_equal(r->b, r->a * 3 + of_cpu);
	return !arg || seen.count < *(u32 *)arg;
}

static void show(u64 count, u32 *enough)
{
	memset(&seen, 0, sizeof(seen));
	trace_for_each(count, note, enough);
}

static void put(u64 a)
{
	TRACE(TRACE_FAULT, 0, a, a * 3 + cpu, "a name that is too long for a record", 0);
}

static void test_off_and_without_rings(void **state)
{
	put(1);
	show(100, NULL);
	assert_int_equal(seen.count, 0);
	trace_switch(true);
	put(1); /* no ring yet */
	show(100, NULL);
	assert_int_equal(seen.count, 0);
	assert_false(trace_has_ring(0));
	for (u32 i = 0; i < 3; i++)
		trace_set_ring(i, calloc(1, TRACE_RING_SIZE));
	assert_true(trace_has_ring(2));
	trace_set_ring(TRACE_CPUS_MAX, NULL); /* out of range: nothing */
	trace_switch(false);
	put(1);
	show(100, NULL);
	assert_int_equal(seen.count, 0);
}

static void test_order_and_count(void **state)
{
	u32 enough = 2;

	trace_switch(true);
	for (u64 i = 0; i < 10; i++) {
		cpu = i % 3;
		put(i);
	}
	show(100, NULL);
	assert_int_equal(seen.count, 10);
	assert_int_equal(seen.first_a, 0);
	assert_int_equal(seen.cpus[0], 4);
	show(3, NULL);
	assert_int_equal(seen.count, 3);
	assert_int_equal(seen.first_a, 7);
	show(5, &enough);
	assert_int_equal(seen.count, 2);
	show(0, NULL);
	assert_int_equal(seen.count, 0);
	cpu = 0;
}

/* The newest take the place of the oldest; the one that may be half written is not shown. */
static void test_wraps(void **state)
{
	trace_switch(true);
	for (u64 i = 0; i < 3 * TRACE_RING_RECORDS + 5; i++)
		put(i);
	cpu = 0;
	show(~0ull, NULL);
	assert_int_equal(seen.cpus[0], TRACE_KEPT);
	assert_int_equal(seen.last_a, 3 * TRACE_RING_RECORDS + 4);
}

static bool stop;

/* All of a record says which it is: a, b and each letter of the name. */
static void *writer(void *arg)
{
	char who[TRACE_WHO_MAX] = "";

	cpu = (u32)(uintptr_t)arg;
	for (u64 i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		memset(who, 'a' + (int)(i % 26), TRACE_WHO_MAX - 1);
		TRACE(TRACE_FAULT, 0, i, i * 3 + cpu, who, 0);
	}
	return NULL;
}

static bool note_torn(u32 of_cpu, const struct trace_record *r, void *arg)
{
	bool whole = r->b == r->a * 3 + of_cpu;

	if (of_cpu < 3)
		return true; /* of the tests before */
	seen.count++;
	for (u32 i = 0; i < TRACE_WHO_MAX - 1; i++)
		whole = whole && r->who[i] == (char)('a' + r->a % 26);
	*(u64 *)arg += !whole;
	return true;
}

/* What is shown while CPUs write is whole. */
static void test_writers_beside(void **state)
{
	pthread_t threads[2];
	u64 torn = 0;

	for (u32 i = 3; i < 5; i++)
		trace_set_ring(i, calloc(1, TRACE_RING_SIZE));
	trace_switch(true);
	for (uintptr_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *)(i + 3)), 0);
	seen.count = 0;
	for (u32 i = 0; i < 300; i++)
		trace_for_each(~0ull, note_torn, &torn);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (u32 i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(seen.count > 0);
	assert_int_equal(torn, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off_and_without_rings),
		cmocka_unit_test(test_order_and_count),
		cmocka_unit_test(test_wraps),
		cmocka_unit_test(test_writers_beside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
