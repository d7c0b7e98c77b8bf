/* SPDX-License-Identifier: MIT */
/* unit-sources: smp/srcu.c */
/* SRCU, one rule at a time. test_srcu_threads.c has many readers at once. */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "smp/srcu.h"
#include "tests/hosted/hosted.h"

static struct srcu srcu;
static bool done; /* atomic */

/* Long enough for a grace period that does not wait as it should to be over. */
#define GRACE_US 50000

static void *synchronize(void *arg)
{
	hosted_cpu_set(9);
	srcu_synchronize(&srcu);
	__atomic_store_n(&done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static pthread_t start_writer(void)
{
	pthread_t t;

	done = false;
	pthread_create(&t, NULL, synchronize, NULL);
	return t;
}

static bool finished_soon(void)
{
	usleep(GRACE_US);
	return __atomic_load_n(&done, __ATOMIC_SEQ_CST);
}

static int setup(void **state)
{
	hosted_cpu_set(0);
	srcu_init(&srcu);
	return 0;
}

static void no_reader_no_wait(void **state)
{
	for (u32 i = 0; i < 100; i++)
		srcu_synchronize(&srcu);
	assert_int_equal(srcu.grace_periods, 100);
	assert_int_equal(srcu.index & 1, 0);
}

static void waits_for_a_reader(void **state)
{
	/* On both indices. */
	for (u32 i = 0; i < 2; i++) {
		u32 reader = srcu_read_lock(&srcu);
		pthread_t writer = start_writer();

		assert_int_equal(reader, i);
		assert_true(srcu_read_held(&srcu));
		assert_false(finished_soon());
		srcu_read_unlock(&srcu, reader);
		assert_false(srcu_read_held(&srcu));
		pthread_join(writer, NULL);
	}
}

/* R28: it read the index before a grace period and counts itself only after that. */
static void waits_for_a_reader_with_the_old_index(void **state)
{
	pthread_t writer;

	srcu_synchronize(&srcu);
	assert_int_equal(srcu.index & 1, 1);
	__atomic_fetch_add(&srcu.cpu[0].lock[0], 1, __ATOMIC_SEQ_CST);
	writer = start_writer();
	assert_false(finished_soon());
	srcu_read_unlock(&srcu, 0);
	pthread_join(writer, NULL);
}

/* One that began after the flip is no concern of the grace period's. */
static void does_not_wait_for_new_readers(void **state)
{
	u32 old = srcu_read_lock(&srcu), new;
	pthread_t writer = start_writer();

	while ((__atomic_load_n(&srcu.index, __ATOMIC_SEQ_CST) & 1) == old)
		usleep(100);
	new = srcu_read_lock(&srcu);
	assert_int_not_equal(new, old);
	srcu_read_unlock(&srcu, old);
	pthread_join(writer, NULL);
	assert_true(srcu_read_held(&srcu));
	srcu_read_unlock(&srcu, new);
}

static void unlocked_on_another_cpu(void **state)
{
	u32 a, b;

	hosted_cpu_set(1);
	a = srcu_read_lock(&srcu);
	hosted_cpu_set(2);
	b = srcu_read_lock(&srcu);
	hosted_cpu_set(1);
	srcu_read_unlock(&srcu, b);
	hosted_cpu_set(2);
	srcu_read_unlock(&srcu, a);
	srcu_synchronize(&srcu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(no_reader_no_wait, setup),
		cmocka_unit_test_setup(waits_for_a_reader, setup),
		cmocka_unit_test_setup(waits_for_a_reader_with_the_old_index, setup),
		cmocka_unit_test_setup(does_not_wait_for_new_readers, setup),
		cmocka_unit_test_setup(unlocked_on_another_cpu, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
