/* SPDX-License-Identifier: MIT */
/* The ticket lock with really parallel threads, watched by the thread sanitizer. */
/* unit-sanitizer: thread */
#include <cmocka.h>
#include <pthread.h>
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "smp/spinlock.h"
#include "tests/hosted/hosted.h"

#define THREADS 4
#define ROUNDS	2000

static struct spinlock outer, inner;
static u64 outer_count, inner_count, tried; /* plain on purpose: the locks guard them */
static u64 order[THREADS * 64];

static void *contend(void *arg)
{
	hosted_cpu_set((u32)(u64)arg);
	irq_enable();
	for (u32 i = 0; i < ROUNDS; i++) {
		bool on = spin_lock_irqsave(&outer);

		outer_count++;
		if (i % 2) {
			spin_lock(&inner);
			inner_count++;
			spin_unlock(&inner);
		}
		spin_unlock_irqrestore(&outer, on);
		on = irq_save();
		if (spin_trylock(&inner)) {
			inner_count++;
			tried++;
			spin_unlock(&inner);
		}
		irq_restore(on);
	}
	return NULL;
}

static void test_exclusion(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	spin_init(&outer, "outer", LOCK_MMU);
	spin_init(&inner, "inner", LOCK_RMAP);
	for (u64 i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, contend, (void *)i);
	for (u32 i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(outer_count, THREADS * ROUNDS);
	assert_int_equal(inner_count, THREADS * ROUNDS / 2 + tried);
	assert_true(tried > 0);
	assert_int_equal(outer.next, outer.owner);
}

static u32 drawn; /* atomic: how many stand in the queue */
static u32 position;

static void *queue_up(void *arg)
{
	hosted_cpu_set((u32)(u64)arg + 1);
	irq_enable();
	while (__atomic_load_n(&drawn, __ATOMIC_SEQ_CST) != (u64)arg)
		cpu_relax();
	spin_lock(&outer);
	order[position++] = (u64)arg;
	spin_unlock(&outer);
	return NULL;
}

/* Who came first is served first. */
static void test_fair(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	spin_init(&outer, "outer", LOCK_MMU);
	irq_enable();
	spin_lock(&outer);
	for (u64 i = 0; i < THREADS; i++) {
		u32 next = __atomic_load_n(&outer.next, __ATOMIC_SEQ_CST);

		pthread_create(&threads[i], NULL, queue_up, (void *)i);
		while (__atomic_load_n(&outer.next, __ATOMIC_SEQ_CST) == next)
			cpu_relax();
		__atomic_store_n(&drawn, (u32)i + 1, __ATOMIC_SEQ_CST);
	}
	spin_unlock(&outer);
	for (u32 i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (u32 i = 0; i < THREADS; i++)
		assert_int_equal(order[i], i);
}

/* Tickets are 32 bits and wrap. */
static void test_wrap(void **state)
{
	(void)state;
	spin_init(&outer, "outer", LOCK_MMU);
	outer.next = outer.owner = ~0u;
	spin_lock(&outer);
	assert_false(spin_trylock(&outer));
	spin_unlock(&outer);
	assert_int_equal(outer.owner, 0);
	assert_true(spin_trylock(&outer));
	spin_unlock(&outer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exclusion),
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_wrap),
	};

	hosted_cpu_set(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
