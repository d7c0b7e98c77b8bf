/* SPDX-License-Identifier: MIT */
/* RCU, one rule at a time. test_rcu_threads.c has many readers at once. */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/x86.h"
#include "smp/rcu.h"
#include "smp/spinlock.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"

/* Long enough for a grace period that does not wait as it should to be over. */
#define GRACE_US 50000
#define CALLS	 1000

static bool done; /* atomic */

static int setup(void **state)
{
	hosted_locks_forget();
	hosted_cpu_set(0);
	rcu_readers[0].since = 0;
	rcu_readers[0].nest = 0;
	return 0;
}

static u64 grace_periods(void)
{
	struct rcu_stats s;

	rcu_get_stats(&s);
	return s.grace_periods;
}

static void *finish(void *fn)
{
	hosted_cpu_set(9);
	((void (*)(void))fn)();
	__atomic_store_n(&done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static pthread_t start(void (*fn)(void))
{
	pthread_t t;

	done = false;
	pthread_create(&t, NULL, finish, (void *)fn);
	return t;
}

static bool finished_soon(void)
{
	usleep(GRACE_US);
	return __atomic_load_n(&done, __ATOMIC_SEQ_CST);
}

static void no_reader_no_wait(void **state)
{
	u64 before = grace_periods();

	for (u32 i = 0; i < 100; i++)
		rcu_synchronize();
	assert_int_equal(grace_periods(), before + 100);
}

static void reader_says_since_when(void **state)
{
	u64 sequence = rcu_sequence;

	irq_disable();
	rcu_read_lock();
	assert_true(rcu_read_held());
	assert_int_equal(rcu_readers[0].since, sequence);
	rcu_sequence++;
	rcu_read_lock();
	assert_int_equal(rcu_readers[0].since, sequence);
	rcu_read_unlock();
	assert_int_equal(rcu_readers[0].since, sequence);
	rcu_read_unlock();
	assert_int_equal(rcu_readers[0].since, 0);
	assert_false(rcu_read_held());
	irq_enable();
}

/* R32: what a lockless walker may still see is not given away. */
static void waits_for_a_reader(void **state)
{
	pthread_t writer;

	hosted_cpu_set(3);
	preempt_disable();
	rcu_read_lock();
	rcu_read_lock();
	writer = start(rcu_synchronize);
	assert_false(finished_soon());
	rcu_read_unlock();
	assert_false(finished_soon());
	rcu_read_unlock();
	preempt_enable();
	pthread_join(writer, NULL);
}

/* One that begins while a grace period waits is no concern of it. */
static void does_not_wait_for_new_readers(void **state)
{
	u64 sequence = rcu_sequence;
	pthread_t writer;

	irq_disable();
	rcu_read_lock();
	writer = start(rcu_synchronize);
	while (__atomic_load_n(&rcu_sequence, __ATOMIC_SEQ_CST) == sequence)
		usleep(100);
	hosted_cpu_set(1);
	rcu_read_lock();
	hosted_cpu_set(0);
	assert_false(finished_soon());
	rcu_read_unlock();
	pthread_join(writer, NULL);
	hosted_cpu_set(1);
	assert_true(rcu_read_held());
	rcu_read_unlock();
	irq_enable();
}

struct item {
	struct rcu_head head;
	u32 number;
};

static struct item items[CALLS];
static u32 ran[CALLS], ran_count;

static void run_item(struct rcu_head *h)
{
	struct item *item = container_of(h, struct item, head);

	ran[__atomic_fetch_add(&ran_count, 1, __ATOMIC_SEQ_CST)] = item->number;
	h->next = (void *)0x5a5a5a5a5a5a5a5a;
	h->fn = NULL;
}

static void call_items(u32 first, u32 count)
{
	for (u32 i = first; i < first + count; i++) {
		items[i].number = i;
		rcu_call(&items[i].head, run_item);
	}
}

/* R29 */
static void many_calls_to_one_grace_period(void **state)
{
	u64 before = grace_periods();

	ran_count = 0;
	for (u32 cpu = 0; cpu < 4; cpu++) {
		hosted_cpu_set(cpu);
		call_items(cpu * CALLS / 4, CALLS / 4);
	}
	assert_int_equal(ran_count, 0);
	rcu_work();
	assert_int_equal(ran_count, CALLS);
	assert_int_equal(grace_periods(), before + 1);
	rcu_work();
	assert_int_equal(grace_periods(), before + 1);
}

/* Of one CPU: between CPUs there is none. */
static void calls_run_in_their_order(void **state)
{
	ran_count = 0;
	call_items(0, 50);
	rcu_barrier();
	assert_int_equal(ran_count, 50);
	for (u32 i = 0; i < 50; i++)
		assert_int_equal(ran[i], i);
}

/* R32 */
static void call_waits_for_a_reader(void **state)
{
	pthread_t worker;

	ran_count = 0;
	irq_disable();
	rcu_read_lock();
	call_items(0, 1);
	worker = start(rcu_barrier);
	assert_false(finished_soon());
	assert_int_equal(__atomic_load_n(&ran_count, __ATOMIC_SEQ_CST), 0);
	rcu_read_unlock();
	irq_enable();
	pthread_join(worker, NULL);
	assert_int_equal(ran_count, 1);
}

static void call_the_next(struct rcu_head *h)
{
	struct item *item = container_of(h, struct item, head);

	run_item(h);
	if (item->number < 2) {
		items[item->number + 1].number = item->number + 1;
		rcu_call(&items[item->number + 1].head, call_the_next);
	}
}

static void callback_may_call(void **state)
{
	u64 before = grace_periods();

	ran_count = 0;
	items[0].number = 0;
	rcu_call(&items[0].head, call_the_next);
	for (u32 i = 1; i <= 3; i++) {
		rcu_work();
		assert_int_equal(ran_count, i);
		assert_int_equal(grace_periods(), before + i);
	}
}

/* As when a fault's handler drops a table: interrupts off, a spin lock held. */
static void call_in_exit_context(void **state)
{
	struct spinlock lock;
	bool on;

	ran_count = 0;
	spin_init(&lock, "zone", LOCK_ZONE);
	on = spin_lock_irqsave(&lock);
	call_items(0, 2);
	spin_unlock_irqrestore(&lock, on);
	rcu_barrier();
	assert_int_equal(ran_count, 2);
}

/* atomic */
static bool slow_begun;
static u32 lent, lowered;

/* What a thread counts for is the scheduler's: here it is only told. */
u32 thread_lend(struct thread *t)
{
	assert_ptr_not_equal(t, thread_current());
	__atomic_fetch_add(&lent, 7, __ATOMIC_SEQ_CST);
	return 7;
}

void thread_lower(struct thread *t, u32 by)
{
	assert_ptr_equal(t, thread_current());
	__atomic_fetch_add(&lowered, by, __ATOMIC_SEQ_CST);
}

static void slow_item(struct rcu_head *h)
{
	__atomic_store_n(&slow_begun, true, __ATOMIC_SEQ_CST);
	hosted_wait_until(__atomic_load_n(&lent, __ATOMIC_SEQ_CST));
	usleep(GRACE_US);
	run_item(h);
}

/* What another thread has taken to run counts as well. It is not to wait for a turn of its own small weight. */
static void barrier_waits_for_who_runs_them(void **state)
{
	pthread_t worker;

	ran_count = 0;
	lent = lowered = 0;
	__atomic_store_n(&slow_begun, false, __ATOMIC_SEQ_CST);
	rcu_call(&items[0].head, slow_item);
	worker = start(rcu_work);
	while (!__atomic_load_n(&slow_begun, __ATOMIC_SEQ_CST))
		usleep(100);
	rcu_barrier();
	assert_int_equal(__atomic_load_n(&ran_count, __ATOMIC_SEQ_CST), 1);
	pthread_join(worker, NULL);
	assert_int_equal(lent, 7);
	assert_int_equal(lowered, 7);
}

static void worker_runs_them(void **state)
{
	assert_int_equal(rcu_start(), 0);
	for (u32 round = 0; round < 20; round++) {
		ran_count = 0;
		call_items(0, 10);
		while (__atomic_load_n(&ran_count, __ATOMIC_SEQ_CST) < 10)
			usleep(10);
	}
	rcu_barrier();
}

static void read_lock(void *arg)
{
	rcu_read_lock();
}

static void read_unlock(void *arg)
{
	rcu_read_unlock();
}

static void synchronize(void *arg)
{
	rcu_synchronize();
}

/* A reader that could be switched out would hold up everyone for as long as it pleased. */
static void reader_that_may_be_preempted_panics(void **state)
{
	assert_true(hosted_catch_panic(read_lock, NULL));
	irq_disable();
	rcu_read_lock();
	rcu_read_unlock();
	this_cpu()->interrupt_nest = 1;
	assert_true(hosted_catch_panic(read_lock, NULL));
	this_cpu()->interrupt_nest = 0;
	assert_true(hosted_catch_panic(read_unlock, NULL));
}

static void reader_that_waits_panics(void **state)
{
	irq_disable();
	rcu_read_lock();
	assert_true(hosted_catch_panic(synchronize, NULL));
	rcu_read_unlock();
	irq_enable();
}

static bool panicked;

static void call_barrier(void *arg)
{
	rcu_barrier();
}

static void wait_in_callback(struct rcu_head *h)
{
	panicked = hosted_catch_panic(call_barrier, NULL);
}

static void callback_that_waits_panics(void **state)
{
	rcu_call(&items[0].head, wait_in_callback);
	rcu_barrier();
	assert_true(panicked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(no_reader_no_wait, setup),
		cmocka_unit_test_setup(reader_says_since_when, setup),
		cmocka_unit_test_setup(waits_for_a_reader, setup),
		cmocka_unit_test_setup(does_not_wait_for_new_readers, setup),
		cmocka_unit_test_setup(many_calls_to_one_grace_period, setup),
		cmocka_unit_test_setup(calls_run_in_their_order, setup),
		cmocka_unit_test_setup(call_waits_for_a_reader, setup),
		cmocka_unit_test_setup(callback_may_call, setup),
		cmocka_unit_test_setup(call_in_exit_context, setup),
		cmocka_unit_test_setup(barrier_waits_for_who_runs_them, setup),
		cmocka_unit_test_setup(reader_that_may_be_preempted_panics, setup),
		cmocka_unit_test_setup(reader_that_waits_panics, setup),
		cmocka_unit_test_setup(callback_that_waits_panics, setup),
		cmocka_unit_test_setup(worker_runs_them, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
