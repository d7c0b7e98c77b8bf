/* SPDX-License-Identifier: MIT */
/* unit-sanitizer: thread */
/*
 * Readers that follow a pointer while writers replace what it points to and free it, some after
 * a grace period and some by a callback of the worker. A reader that sees a freed array finds
 * poison in it, and ThreadSanitizer sees the two accesses besides.
 */
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#include "smp/srcu.h"
#include "tests/hosted/hosted.h"

#define READERS 4
#define WRITERS 2
#define CHANGES 200
#define WORDS	16

struct array {
	struct rcu_head head;
	u64 word[WORDS];
};

static struct srcu srcu;
static struct array *published;
static pthread_mutex_t writer_lock = PTHREAD_MUTEX_INITIALIZER;
static bool stop;      /* atomic */
static u64 breaches;   /* atomic */
static u64 reads_done; /* atomic */

static struct array *array_new(u64 value)
{
	struct array *a = malloc(sizeof(*a));

	for (u32 i = 0; i < WORDS; i++)
		a->word[i] = value;
	return a;
}

static void array_free(struct array *a)
{
	for (u32 i = 0; i < WORDS; i++)
		a->word[i] = ~0ull - i;
	free(a);
}

static u64 called_back; /* atomic */

static void array_called_back(struct rcu_head *h)
{
	array_free(container_of(h, struct array, head));
	__atomic_fetch_add(&called_back, 1, __ATOMIC_RELAXED);
}

static void *reader(void *arg)
{
	u64 wait = (uintptr_t)arg;

	hosted_cpu_set(10 + wait);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		u32 index = srcu_read_lock(&srcu), inner;
		const struct array *a = rcu_dereference(published);
		u64 first = a->word[0];

		/* Nested, and one that sleeps. */
		inner = srcu_read_lock(&srcu);
		if (wait == 0)
			usleep(50);
		else if (wait == 1)
			sched_yield();
		for (u32 i = 0; i < WORDS; i++) {
			if (a->word[i] != first)
				__atomic_fetch_add(&breaches, 1, __ATOMIC_RELAXED);
		}
		srcu_read_unlock(&srcu, inner);
		srcu_read_unlock(&srcu, index);
		__atomic_fetch_add(&reads_done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *writer(void *arg)
{
	hosted_cpu_set(20 + (uintptr_t)arg);
	for (u64 i = 1; i <= CHANGES; i++) {
		struct array *new = array_new(i), *old;

		pthread_mutex_lock(&writer_lock);
		old = published;
		rcu_assign_pointer(published, new);
		pthread_mutex_unlock(&writer_lock);
		if (i % 2) {
			srcu_call(&srcu, &old->head, array_called_back);
			continue;
		}
		srcu_synchronize(&srcu);
		array_free(old);
	}
	return NULL;
}

static void readers_see_no_freed_array(void **state)
{
	pthread_t readers[READERS], writers[WRITERS];

	hosted_cpu_set(0);
	srcu_init(&srcu);
	published = array_new(0);
	assert_int_equal(rcu_start(), 0);
	for (u64 i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reader, (void *)(uintptr_t)i);
	for (u64 i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, writer, (void *)(uintptr_t)i);
	for (u64 i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	/* With readers about. */
	srcu_barrier(&srcu);
	assert_int_equal(__atomic_load_n(&called_back, __ATOMIC_RELAXED), WRITERS * CHANGES / 2);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (u64 i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(breaches, 0);
	assert_true(reads_done >= READERS);
	/* R29 */
	assert_in_range(srcu.grace_periods, 1, WRITERS * CHANGES);
	assert_false(srcu_read_held(&srcu));
	srcu_destroy(&srcu);
	free(published);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_see_no_freed_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
