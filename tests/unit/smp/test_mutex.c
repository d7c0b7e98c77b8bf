/* SPDX-License-Identifier: MIT */
/* Mutex, rw-semaphore and wait queue on host threads, watched by the thread sanitizer. */
/* unit-sanitizer: thread */
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include "smp/mutex.h"
#include "smp/thread.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"

#define WORKERS 4
#define ROUNDS	4000

static struct mutex mutex;
static struct rwsem sem;
static u64 guarded; /* plain on purpose */
static u32 readers_most;
static struct wait_queue queue;

/* What a thread counts for is the scheduler's: here it is only told. */
void thread_lift(struct thread *t, u32 by)
{
	__atomic_fetch_add(&t->lifted, (s32)by, __ATOMIC_SEQ_CST);
}

void thread_lower(struct thread *t, u32 by)
{
	__atomic_fetch_sub(&t->lifted, (s32)by, __ATOMIC_SEQ_CST);
}

u32 thread_lend(struct thread *t)
{
	thread_lift(t, 30);
	return 30;
}

void thread_hurry(struct thread *t, enum hurry how)
{
	assert_int_equal(how, HURRY_A_WHILE);
	__atomic_fetch_add(&t->hurried, 1, __ATOMIC_SEQ_CST);
}

void thread_hurry_no_more(struct thread *t)
{
	__atomic_fetch_sub(&t->hurried, 1, __ATOMIC_SEQ_CST);
}

static s32 hurried(const struct thread *t)
{
	return __atomic_load_n(&t->hurried, __ATOMIC_SEQ_CST);
}

static s32 lifted(void)
{
	return __atomic_load_n(&thread_current()->lifted, __ATOMIC_SEQ_CST);
}

static void run_workers(void *(*fn)(void *))
{
	pthread_t handles[WORKERS];

	for (u64 i = 0; i < WORKERS; i++)
		pthread_create(&handles[i], NULL, fn, (void *)i);
	for (u32 i = 0; i < WORKERS; i++)
		pthread_join(handles[i], NULL);
}

static void *mutex_worker(void *arg)
{
	hosted_cpu_set((u32)(u64)arg);
	if ((u64)arg % 2)
		thread_current()->group = (struct sched_group *)&queue;
	for (u32 i = 0; i < ROUNDS; i++) {
		if (i % 4 == 0 && !mutex_trylock(&mutex))
			continue;
		else if (i % 4)
			mutex_lock(&mutex);
		guarded++;
		assert_true(mutex_held(&mutex));
		mutex_unlock(&mutex);
		assert_int_equal(lifted(), 0);
	}
	hosted_wait_until(hurried(thread_current()) == 0);
	return NULL;
}

static void test_mutex(void **state)
{
	guarded = 0;
	mutex_init(&mutex, "mutex", LOCK_VM);
	run_workers(mutex_worker);
	assert_in_range(guarded, WORKERS * ROUNDS * 3 / 4, WORKERS * ROUNDS);
	assert_false(mutex.held);
	assert_null(mutex.hurried);
	assert_true(list_empty(&mutex.waiters.waiters));
}

static u32 turns_of_other; /* atomic */

static void *lock_once(void *arg)
{
	hosted_cpu_set(0);
	mutex_lock(arg);
	__atomic_fetch_add(&turns_of_other, 1, __ATOMIC_SEQ_CST);
	mutex_unlock(arg);
	return NULL;
}

static bool somebody_waits(struct mutex *m)
{
	bool on = wait_lock(&m->waiters), waits = !list_empty(&m->waiters.waiters);

	wait_unlock(&m->waiters, on);
	return waits;
}

/*
 * One that lets go and takes it again at once comes before who was woken meanwhile: once, no more.
 */
static void test_mutex_is_handed_over(void **state)
{
	u32 turns = 0, lost = 0;

	mutex_init(&mutex, "mutex", LOCK_VM);
	for (u32 i = 0; i < 200; i++) {
		pthread_t other;

		turns_of_other = 0;
		mutex_lock(&mutex);
		pthread_create(&other, NULL, lock_once, &mutex);
		for (turns = 0; !__atomic_load_n(&turns_of_other, __ATOMIC_SEQ_CST); turns++) {
			while (!somebody_waits(&mutex))
				sched_yield();
			mutex_unlock(&mutex);
			mutex_lock(&mutex);
		}
		/* It may have taken it by itself, or lost once. */
		assert_in_range(turns, 1, 2);
		lost += turns == 2;
		mutex_unlock(&mutex);
		pthread_join(other, NULL);
	}
	print_message("lost and handed over: %u of 200 times\n", lost);
	assert_true(lost > 0);
	assert_int_equal(mutex.losers, 0);
}

/* Until it lets go; who waits then lends the next one his, if that came before him. */
static void test_who_waits_lends(void **state)
{
	pthread_t others[3];

	mutex_init(&mutex, "mutex", LOCK_VM);
	turns_of_other = 0;
	mutex_lock(&mutex);
	assert_int_equal(lifted(), 0);
	for (u32 i = 0; i < 3; i++)
		pthread_create(&others[i], NULL, lock_once, &mutex);
	hosted_wait_until(lifted() >= 3 * 30);
	mutex_unlock(&mutex);
	assert_int_equal(lifted(), 0);
	for (u32 i = 0; i < 3; i++)
		pthread_join(others[i], NULL);
	assert_int_equal(turns_of_other, 3);
	assert_int_equal(mutex.lent, 0);
}

/* Threads of a group, each on a CPU of its own, and what each does once it has the mutex. */
static struct thread *waiting[3]; /* atomic */
static u32 let_go;		  /* atomic: how many may go on */

static void *lock_as_a_vcpu(void *arg)
{
	u32 i = (u32)(u64)arg;

	hosted_cpu_set(i);
	thread_current()->group = (struct sched_group *)&queue;
	__atomic_store_n(&waiting[i], thread_current(), __ATOMIC_SEQ_CST);
	mutex_lock(&mutex);
	hosted_wait_until(__atomic_load_n(&let_go, __ATOMIC_SEQ_CST) > i);
	mutex_unlock(&mutex);
	hosted_wait_until(__atomic_load_n(&let_go, __ATOMIC_SEQ_CST) > ARRAY_SIZE(waiting));
	return NULL;
}

static u32 count_waiters(struct mutex *m)
{
	bool on = wait_lock(&m->waiters);
	struct waiter *w;
	u32 n = 0;

	list_for_each_entry (w, &m->waiters.waiters, link)
		n++;
	wait_unlock(&m->waiters, on);
	return n;
}

/*
 * A vCPU has its VM's weight, and is hurried: once for all that wait, and as it lets go the next, as soon
 * as that is woken, while others wait behind it.
 */
static void test_a_vcpu_is_hurried(void **state)
{
	struct thread *me = thread_current();
	pthread_t others[3];

	mutex_init(&mutex, "mutex", LOCK_VM);
	let_go = 0;
	me->group = (struct sched_group *)&queue;
	mutex_lock(&mutex);
	assert_int_equal(hurried(me), 0);
	for (u64 i = 0; i < 3; i++) {
		pthread_create(&others[i], NULL, lock_as_a_vcpu, (void *)i);
		hosted_wait_until(count_waiters(&mutex) == i + 1);
		assert_int_equal(hurried(me), 1);
	}
	assert_int_equal(lifted(), 0);
	mutex_unlock(&mutex);
	assert_int_equal(hurried(me), 0);
	me->group = NULL;
	/* It has it, or has yet to wake up. */
	assert_int_equal(hurried(waiting[0]), 1);
	assert_int_equal(hurried(waiting[1]), 0);
	__atomic_store_n(&let_go, 1, __ATOMIC_SEQ_CST);
	hosted_wait_until(hurried(waiting[1]) == 1);
	assert_int_equal(hurried(waiting[0]), 0);
	__atomic_store_n(&let_go, 2, __ATOMIC_SEQ_CST);
	/* Nobody waits for the last. */
	hosted_wait_until(count_waiters(&mutex) == 0 && hurried(waiting[1]) == 0);
	assert_int_equal(hurried(waiting[2]), 0);
	__atomic_store_n(&let_go, 4, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < 3; i++)
		pthread_join(others[i], NULL);
	assert_null(mutex.hurried);
}

/* Takes the mutex from who was just woken for it, until that has lost often enough. Rounds that it lost. */
static u32 outrun(void)
{
	u32 n = 0;

	while (!mutex.losers) {
		mutex_unlock(&mutex);
		if (!mutex_trylock(&mutex))
			return n;
		/* The one that was woken is back among them. */
		hosted_wait_until(count_waiters(&mutex) == 2);
		assert_null(mutex.hurried);
		assert_int_equal(hurried(waiting[0]) + hurried(waiting[1]), 0);
		n++;
	}
	mutex_unlock(&mutex);
	return n;
}

/* Who was woken for it, and came too late, is not hurried any more: who has it is waited for. */
static void test_a_loser_is_not_hurried(void **state)
{
	pthread_t others[2];
	u32 rounds = 0;

	/* Where it was as quick as we are there was nothing to be seen. */
	for (u32 tries = 0; tries < 1000 && !rounds; tries++) {
		mutex_init(&mutex, "mutex", LOCK_VM);
		let_go = 0;
		mutex_lock(&mutex);
		for (u64 i = 0; i < 2; i++) {
			pthread_create(&others[i], NULL, lock_as_a_vcpu, (void *)i);
			hosted_wait_until(count_waiters(&mutex) == i + 1);
		}
		rounds = outrun();
		__atomic_store_n(&let_go, 4, __ATOMIC_SEQ_CST);
		for (u32 i = 0; i < 2; i++)
			pthread_join(others[i], NULL);
		assert_null(mutex.hurried);
	}
	assert_int_not_equal(rounds, 0);
}

static void *rwsem_worker(void *arg)
{
	static u32 readers; /* atomic */

	hosted_cpu_set((u32)(u64)arg);
	for (u32 i = 0; i < ROUNDS; i++) {
		u32 now, most;

		if (i % 8 == (u64)arg) {
			rwsem_write_lock(&sem);
			assert_int_equal(__atomic_load_n(&readers, __ATOMIC_RELAXED), 0);
			guarded++;
			rwsem_write_unlock(&sem);
			continue;
		}
		rwsem_read_lock(&sem);
		now = __atomic_add_fetch(&readers, 1, __ATOMIC_RELAXED);
		assert_true(guarded <= WORKERS * ROUNDS);
		sched_yield();
		most = __atomic_load_n(&readers_most, __ATOMIC_RELAXED);
		if (now > most)
			__atomic_store_n(&readers_most, now, __ATOMIC_RELAXED);
		__atomic_sub_fetch(&readers, 1, __ATOMIC_RELAXED);
		rwsem_read_unlock(&sem);
	}
	return NULL;
}

static void test_rwsem(void **state)
{
	guarded = 0;
	rwsem_init(&sem, "sem", LOCK_MEM_SEM);
	run_workers(rwsem_worker);
	assert_int_equal(guarded, WORKERS * ROUNDS / 8);
	assert_int_equal(sem.readers, 0);
	assert_int_equal(sem.writers_waiting, 0);
	assert_true(readers_most > 1);
}

static u64 turn; /* queue.lock */

static void *turn_worker(void *arg)
{
	hosted_cpu_set((u32)(u64)arg);
	for (u32 i = 0; i < ROUNDS / 4; i++) {
		bool on;

		wait_event(&queue, turn % WORKERS == (u64)arg);
		on = wait_lock(&queue);
		turn++;
		wait_wake_all_locked(&queue);
		wait_unlock(&queue, on);
	}
	return NULL;
}

static void test_turns(void **state)
{
	turn = 0;
	wait_queue_init(&queue);
	run_workers(turn_worker);
	assert_int_equal(turn, WORKERS * ROUNDS / 4);
	assert_true(list_empty(&queue.waiters));
}

/* A wake for something else ends thread_block, and must not end the wait. */
static void test_stray_wake(void **state)
{
	u64 start = clock_ns();

	wait_queue_init(&queue);
	thread_wake(thread_current());
	thread_wake(thread_current());
	assert_false(wait_event_until(&queue, false, start + 2000000));
	assert_true(clock_ns() >= start + 2000000);
	assert_true(list_empty(&queue.waiters));
	assert_true(wait_event_until(&queue, true, 0));
	assert_false(wait_event_until(&queue, false, 0));
}

static void lock_mutex(void *arg)
{
	mutex_lock(arg);
}

static void unlock_mutex(void *arg)
{
	mutex_unlock(arg);
}

static void test_misuse(void **state)
{
	struct mutex first, second;

	mutex_init(&first, "first", LOCK_SLOTS);
	mutex_init(&second, "second", LOCK_VM);
	mutex_lock(&first);
	assert_true(hosted_catch_panic(lock_mutex, &second));
	assert_non_null(strstr(hosted_panic_text(), "first"));
	assert_non_null(strstr(hosted_panic_text(), "second"));
	mutex_unlock(&first);
	assert_true(hosted_catch_panic(unlock_mutex, &first));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutex),
		cmocka_unit_test(test_mutex_is_handed_over),
		cmocka_unit_test(test_who_waits_lends),
		cmocka_unit_test(test_a_vcpu_is_hurried),
		cmocka_unit_test(test_a_loser_is_not_hurried),
		cmocka_unit_test(test_rwsem),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_stray_wake),
		cmocka_unit_test(test_misuse),
	};

	hosted_cpu_set(WORKERS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
