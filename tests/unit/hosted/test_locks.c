/* SPDX-License-Identifier: MIT */
/* unit-sanitizer: thread */
/* The fake machine's locks exclude, wake and check their order. */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "smp/mutex.h"
#include "smp/cpu.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"

#define THREADS 4
#define ROUNDS	2000

static struct spinlock spin;
static struct mutex mutex;
static struct rwsem sem;
static u64 spin_sum, mutex_sum, sem_sum;

static void *worker(void *arg)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		mutex_lock(&mutex);
		mutex_sum++;
		spin_lock(&spin);
		spin_sum++;
		spin_unlock(&spin);
		mutex_unlock(&mutex);
		if (i % 4) {
			rwsem_read_lock(&sem);
			*(volatile u64 *)arg = sem_sum;
			rwsem_read_unlock(&sem);
		} else {
			rwsem_write_lock(&sem);
			sem_sum++;
			rwsem_write_unlock(&sem);
		}
	}
	assert_int_equal(hosted_locks_held(), 0);
	return NULL;
}

static void they_exclude(void **state)
{
	pthread_t threads[THREADS];
	u64 seen[THREADS];

	spin_init(&spin, "spin", LOCK_MMU);
	mutex_init(&mutex, "mutex", LOCK_VM);
	rwsem_init(&sem, "sem", LOCK_MEM_SEM);
	for (u32 i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, &seen[i]), 0);
	for (u32 i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(spin_sum, THREADS * ROUNDS);
	assert_int_equal(mutex_sum, THREADS * ROUNDS);
	assert_int_equal(sem_sum, THREADS * ROUNDS / 4);
}

static void lock_downwards(void *arg)
{
	spin_lock(&spin);
	mutex_lock(&mutex);
}

static void unlock_twice(void *arg)
{
	spin_lock(&spin);
	spin_unlock(&spin);
	spin_unlock(&spin);
}

static void wrong_order_panics(void **state)
{
	spin_init(&spin, "inner", LOCK_MMU);
	mutex_init(&mutex, "outer", LOCK_VM);
	assert_true(hosted_catch_panic(lock_downwards, NULL));
	assert_non_null(strstr(hosted_panic_text(), "outer"));
	assert_non_null(strstr(hosted_panic_text(), "inner"));
	assert_int_equal(hosted_locks_held(), 1);
	hosted_locks_forget();
	spin_init(&spin, "inner", LOCK_MMU);
	assert_true(hosted_catch_panic(unlock_twice, NULL));
}

static void waiting_ends_at_the_deadline(void **state)
{
	struct wait_queue q;

	wait_queue_init(&q);
	assert_false(wait_event_until(&q, false, clock_ns() + 1000000));
	assert_true(wait_event_until(&q, true, clock_ns()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_exclude),
		cmocka_unit_test(wrong_order_panics),
		cmocka_unit_test(waiting_ends_at_the_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
