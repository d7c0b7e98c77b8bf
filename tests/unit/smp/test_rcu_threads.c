/* SPDX-License-Identifier: MIT */
/* unit-sanitizer: thread */
/*
 * R32: readers walk tables that others take out and free through rcu_call, while the worker runs.
 * A table is poisoned before it is freed, and ThreadSanitizer watches for an access that nothing
 * orders before the free.
 */
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include "kernel/base/x86.h"
#include "smp/rcu.h"
#include "tests/hosted/hosted.h"

#define READERS 3
#define WRITERS 2
#define CHANGES 4000
#define ENTRIES 8
#define POISON	0xf5f5f5f5f5f5f5f5ull
#define TABLES	4

struct table {
	struct rcu_head rcu;
	u64 number;
	u64 entry[ENTRIES];
};

static struct table *published[TABLES];
static bool stop;		   /* atomic */
static u64 breaches, freed, walks; /* atomic */

static struct table *table_new(u64 number)
{
	struct table *t = malloc(sizeof(*t));

	t->number = number;
	for (u32 i = 0; i < ENTRIES; i++)
		t->entry[i] = number + i;
	return t;
}

static void table_free(struct rcu_head *h)
{
	struct table *t = container_of(h, struct table, rcu);

	for (u32 i = 0; i < ENTRIES; i++)
		t->entry[i] = POISON;
	free(t);
	__atomic_fetch_add(&freed, 1, __ATOMIC_RELAXED);
}

static void walk(u32 at, bool yield)
{
	const struct table *t = rcu_dereference(published[at]);
	u64 number = t->number;

	if (yield)
		cpu_relax();
	for (u32 i = 0; i < ENTRIES; i++) {
		if (t->entry[i] != number + i)
			__atomic_fetch_add(&breaches, 1, __ATOMIC_RELAXED);
	}
}

static void *reader(void *arg)
{
	u32 me = (u32)(uintptr_t)arg;

	hosted_cpu_set(me);
	irq_disable();
	for (u64 i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		rcu_read_lock();
		walk(i % TABLES, me == 1);
		if (i % 3 == 0) {
			rcu_read_lock();
			walk((i + 1) % TABLES, false);
			rcu_read_unlock();
			walk(i % TABLES, me == 2);
		}
		rcu_read_unlock();
		__atomic_fetch_add(&walks, 1, __ATOMIC_RELAXED);
	}
	irq_enable();
	return NULL;
}

/* Every other table is freed after a grace period of the writer's own. */
static void *writer(void *arg)
{
	hosted_cpu_set(READERS + 1 + (u32)(uintptr_t)arg);
	for (u64 i = 1; i <= CHANGES; i++) {
		struct table *old, *new = table_new(i << 8);

		old = __atomic_exchange_n(&published[i % TABLES], new, __ATOMIC_ACQ_REL);
		if (i % 64 == 0) {
			rcu_synchronize();
			table_free(&old->rcu);
		} else {
			rcu_call(&old->rcu, table_free);
		}
	}
	return NULL;
}

static void readers_see_no_freed_table(void **state)
{
	pthread_t readers[READERS], writers[WRITERS];
	struct rcu_stats stats;

	hosted_cpu_set(0);
	for (u32 i = 0; i < TABLES; i++)
		published[i] = table_new(i << 8);
	assert_int_equal(rcu_start(), 0);
	for (u64 i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reader, (void *)(i + 1));
	for (u64 i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, writer, (void *)i);
	for (u32 i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	rcu_barrier();
	assert_int_equal(__atomic_load_n(&freed, __ATOMIC_RELAXED), WRITERS * CHANGES);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (u32 i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(breaches, 0);
	assert_true(walks > 0);
	rcu_get_stats(&stats);
	print_message("%lu walks, %u tables freed in %lu grace periods\n", walks, WRITERS * CHANGES,
		      stats.grace_periods);
	/* R29 */
	assert_true(stats.grace_periods < WRITERS * CHANGES);
	for (u32 i = 0; i < TABLES; i++)
		free(published[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_see_no_freed_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
