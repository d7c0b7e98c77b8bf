/* SPDX-License-Identifier: MIT */
/*
 * SRCU, one rule at a time. test_srcu_threads.c has many readers at once.
 * Nobody else is there to wake a thread: what sleeps where it should not runs into the deadline.
 */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "smp/mutex.h"
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
	hosted_locks_forget();
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

/* What srcu_read_lock does after it has read the index, which it read long ago. */
static void count_with_index_0(void)
{
	__atomic_fetch_add(&srcu.cpu[0].lock[0], 1, __ATOMIC_SEQ_CST);
	lock_order_sleep_taken(&srcu, "an SRCU reader", LOCK_SRCU_READ);
}

/* R28: it read the index before a grace period and counts itself only after that. */
static void waits_for_a_reader_with_the_old_index(void **state)
{
	pthread_t writer;

	srcu_synchronize(&srcu);
	assert_int_equal(srcu.index & 1, 1);
	count_with_index_0();
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

static u64 wanted(void)
{
	bool on = wait_lock(&srcu.drain);
	u64 number = srcu.wanted;

	wait_unlock(&srcu.drain, on);
	return number;
}

/* Those who come while a grace period is under way share the one after it. */
static void writers_share_a_grace_period(void **state)
{
	u32 reader = srcu_read_lock(&srcu);
	pthread_t first = start_writer(), other[3];

	while (wanted() != 1)
		usleep(100);
	for (u32 i = 0; i < ARRAY_SIZE(other); i++)
		other[i] = start_writer();
	while (wanted() != 2)
		usleep(100);
	usleep(GRACE_US);
	srcu_read_unlock(&srcu, reader);
	pthread_join(first, NULL);
	for (u32 i = 0; i < ARRAY_SIZE(other); i++)
		pthread_join(other[i], NULL);
	assert_int_equal(srcu.grace_periods, 2);
}

/* Whoever leaves looks for a waiter only where one waits for its pair. */
static void only_old_readers_wake_the_writer(void **state)
{
	u32 old = srcu_read_lock(&srcu), new;
	pthread_t writer = start_writer();

	while (__atomic_load_n(&srcu.draining, __ATOMIC_SEQ_CST) != old + 1)
		usleep(100);
	new = srcu_read_lock(&srcu);
	assert_int_not_equal(new, old);
	srcu_read_unlock(&srcu, new);
	assert_int_equal(srcu.draining, old + 1);
	srcu_read_unlock(&srcu, old);
	pthread_join(writer, NULL);
	assert_int_equal(srcu.draining, 0);
}

#define CALLS 1000

struct item {
	struct rcu_head head;
	struct srcu *domain;
	u32 number;
};

static struct item items[CALLS];
static u32 ran[CALLS], ran_count;

static void run_item(struct rcu_head *h)
{
	ran[__atomic_fetch_add(&ran_count, 1, __ATOMIC_SEQ_CST)] =
		container_of(h, struct item, head)->number;
	memset(h, 0x5a, sizeof(*h));
}

static void call_items(struct srcu *s, u32 first, u32 count)
{
	for (u32 i = first; i < first + count; i++) {
		items[i].number = i;
		srcu_call(s, &items[i].head, run_item);
	}
}

static u32 items_run(void)
{
	return __atomic_load_n(&ran_count, __ATOMIC_SEQ_CST);
}

/* R29: and in the order of the calls. */
static void many_calls_to_one_grace_period(void **state)
{
	ran_count = 0;
	call_items(&srcu, 0, CALLS);
	assert_int_equal(srcu.grace_periods, 0);
	rcu_work();
	assert_int_equal(srcu.grace_periods, 1);
	assert_int_equal(ran_count, CALLS);
	for (u32 i = 0; i < CALLS; i++)
		assert_int_equal(ran[i], i);
	srcu_destroy(&srcu);
}

/* R29: those that come while the first wait run one grace period later, together. */
static void calls_wait_for_readers(void **state)
{
	u32 reader = srcu_read_lock(&srcu);

	ran_count = 0;
	call_items(&srcu, 0, 10);
	rcu_work();
	call_items(&srcu, 10, 10);
	rcu_work();
	assert_int_equal(ran_count, 0);
	srcu_read_unlock(&srcu, reader);
	rcu_work();
	assert_int_equal(ran_count, 10);
	assert_int_equal(srcu.grace_periods, 1);
	rcu_work();
	assert_int_equal(ran_count, 20);
	assert_int_equal(srcu.grace_periods, 2);
	rcu_work();
	assert_int_equal(srcu.grace_periods, 2);
	srcu_destroy(&srcu);
}

/* R28: the batch's grace period waits for it as srcu_synchronize does. */
static void calls_wait_for_a_reader_with_the_old_index(void **state)
{
	srcu_synchronize(&srcu);
	count_with_index_0();
	ran_count = 0;
	call_items(&srcu, 0, 1);
	rcu_work();
	assert_int_equal(ran_count, 0);
	srcu_read_unlock(&srcu, 0);
	rcu_work();
	assert_int_equal(ran_count, 1);
}

static void a_reader_holds_up_its_own_domain_only(void **state)
{
	static struct srcu other;
	u32 reader = srcu_read_lock(&srcu);

	srcu_init(&other);
	ran_count = 0;
	call_items(&srcu, 0, 1);
	call_items(&other, 1, 1);
	rcu_work();
	assert_int_equal(ran_count, 1);
	assert_int_equal(ran[0], 1);
	srcu_read_unlock(&srcu, reader);
	srcu_barrier(&srcu);
	assert_int_equal(ran_count, 2);
	srcu_destroy(&srcu);
	srcu_destroy(&other);
}

static void call_once_more(struct rcu_head *h)
{
	struct item *item = container_of(h, struct item, head);

	ran_count++;
	srcu_call(item->domain, h, run_item);
}

static void callback_may_call(void **state)
{
	ran_count = 0;
	items[0].domain = &srcu;
	srcu_call(&srcu, &items[0].head, call_once_more);
	srcu_barrier(&srcu);
	assert_in_range(ran_count, 1, 2);
	srcu_barrier(&srcu);
	assert_int_equal(ran_count, 2);
	srcu_destroy(&srcu);
}

static void call_in_exit_context(void **state)
{
	struct spinlock lock;
	bool on;

	ran_count = 0;
	spin_init(&lock, "zone", LOCK_ZONE);
	on = spin_lock_irqsave(&lock);
	call_items(&srcu, 0, 2);
	spin_unlock_irqrestore(&lock, on);
	srcu_barrier(&srcu);
	assert_int_equal(ran_count, 2);
}

static void *barrier_thread(void *arg)
{
	hosted_cpu_set(9);
	srcu_barrier(&srcu);
	assert_int_equal(items_run(), 5);
	__atomic_store_n(&done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void barrier_waits_for_the_calls_before_it(void **state)
{
	u32 reader = srcu_read_lock(&srcu);
	pthread_t t;

	done = false;
	ran_count = 0;
	call_items(&srcu, 0, 5);
	pthread_create(&t, NULL, barrier_thread, NULL);
	assert_false(finished_soon());
	srcu_read_unlock(&srcu, reader);
	pthread_join(t, NULL);
	assert_int_equal(items_run(), 5);
}

static void synchronize_in(void *arg)
{
	srcu_synchronize(arg);
}

static void barrier_in(void *arg)
{
	srcu_barrier(arg);
}

static void lock_in(void *arg)
{
	mutex_lock(arg);
}

static void panics_naming(void (*fn)(void *), void *arg, const char *what)
{
	assert_true(hosted_catch_panic(fn, arg));
	assert_non_null(strstr(hosted_panic_text(), what));
}

/* R24: it would wait for itself. */
static void reader_that_waits_panics(void **state)
{
	u32 reader = srcu_read_lock(&srcu);

	panics_naming(synchronize_in, &srcu, "an SRCU reader");
	panics_naming(barrier_in, &srcu, "an SRCU reader");
	srcu_read_unlock(&srcu, reader);
	srcu_barrier(&srcu);
	srcu_synchronize(&srcu);
}

/* R24 by a detour: for the lock whose owner waits for readers. */
static void reader_that_takes_the_writers_lock_panics(void **state)
{
	struct mutex slots;
	u32 reader;

	mutex_init(&slots, "slots", LOCK_SLOTS);
	reader = srcu_read_lock(&srcu);
	panics_naming(lock_in, &slots, "an SRCU reader");
	srcu_read_unlock(&srcu, reader);
	mutex_lock(&slots);
	reader = srcu_read_lock(&srcu);
	srcu_read_unlock(&srcu, reader);
	srcu_synchronize(&srcu);
	mutex_unlock(&slots);
}

static void destroy(void *arg)
{
	srcu_destroy(arg);
}

static void destroy_before_the_callbacks_panics(void **state)
{
	ran_count = 0;
	call_items(&srcu, 0, 1);
	assert_true(hosted_catch_panic(destroy, &srcu));
	srcu_barrier(&srcu);
	assert_int_equal(ran_count, 1);
	srcu_destroy(&srcu);
}

static void destroy_before_the_readers_left_panics(void **state)
{
	u32 reader = srcu_read_lock(&srcu);

	assert_true(hosted_catch_panic(destroy, &srcu));
	srcu_read_unlock(&srcu, reader);
	srcu_destroy(&srcu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(no_reader_no_wait, setup),
		cmocka_unit_test_setup(waits_for_a_reader, setup),
		cmocka_unit_test_setup(waits_for_a_reader_with_the_old_index, setup),
		cmocka_unit_test_setup(does_not_wait_for_new_readers, setup),
		cmocka_unit_test_setup(unlocked_on_another_cpu, setup),
		cmocka_unit_test_setup(writers_share_a_grace_period, setup),
		cmocka_unit_test_setup(only_old_readers_wake_the_writer, setup),
		cmocka_unit_test_setup(many_calls_to_one_grace_period, setup),
		cmocka_unit_test_setup(calls_wait_for_readers, setup),
		cmocka_unit_test_setup(calls_wait_for_a_reader_with_the_old_index, setup),
		cmocka_unit_test_setup(a_reader_holds_up_its_own_domain_only, setup),
		cmocka_unit_test_setup(callback_may_call, setup),
		cmocka_unit_test_setup(call_in_exit_context, setup),
		cmocka_unit_test_setup(barrier_waits_for_the_calls_before_it, setup),
		cmocka_unit_test_setup(reader_that_waits_panics, setup),
		cmocka_unit_test_setup(reader_that_takes_the_writers_lock_panics, setup),
		cmocka_unit_test_setup(destroy_before_the_callbacks_panics, setup),
		cmocka_unit_test_setup(destroy_before_the_readers_left_panics, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
