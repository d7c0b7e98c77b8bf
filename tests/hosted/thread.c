/* SPDX-License-Identifier: MIT */
/*
 * smp/thread.h on host threads, for the real wait queues and locks above it. A thread's sleep is
 * a condition variable of its own, and a wake that comes first is remembered.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "smp/timer.h"
#include "tests/hosted/host_thread.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/hosted/points_off.h"

#define NS_PER_SECOND 1000000000ull
#define LOOK_AGAIN_NS 1000000ull /* a test may set the clock while someone sleeps */

struct host_thread {
	struct thread thread;
	pthread_t handle;
	u32 cpu;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	/* mutex */
	bool woken;
	bool ended, detached;
};

#define HOST_THREAD_INIT                                                              \
	{                                                                             \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, \
		.thread = {.state = THREAD_RUNNING},                                  \
	}

static _Thread_local struct host_thread found = HOST_THREAD_INIT;
static _Thread_local struct host_thread *created;

struct thread *host_thread_of_caller(void)
{
	return created ? &created->thread : &found.thread;
}

static struct host_thread *host_of(struct thread *t)
{
	return container_of(t, struct host_thread, thread);
}

struct thread *thread_current(void)
{
	return this_cpu()->current;
}

/* How long a host's thread has run is the host's business; a test may say something else. */
__attribute__((weak)) u64 thread_run_ns(const struct thread *t)
{
	return __atomic_load_n(&t->run_ns, __ATOMIC_RELAXED);
}

void thread_wake(struct thread *t)
{
	struct host_thread *h = host_of(t);

	pthread_mutex_lock(&h->mutex);
	h->woken = true;
	pthread_cond_signal(&h->cond);
	pthread_mutex_unlock(&h->mutex);
}

/* A job of a serial run gives its turn away until it is woken or may go on. */
static void sleep_in_turn(struct host_thread *h, u64 deadline_ns)
{
	if (hosted_on_sleep)
		hosted_on_sleep(&h->woken, deadline_ns);
}

void thread_block(void)
{
	struct host_thread *h = host_of(thread_current());

	lock_order_may_sleep("thread_block");
	sleep_in_turn(h, ~0ull);
	pthread_mutex_lock(&h->mutex);
	while (!h->woken)
		pthread_cond_wait(&h->cond, &h->mutex);
	h->woken = false;
	pthread_mutex_unlock(&h->mutex);
}

static struct timespec after(u64 ns)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	ns += (u64)t.tv_nsec;
	t.tv_sec += (time_t)(ns / NS_PER_SECOND);
	t.tv_nsec = (long)(ns % NS_PER_SECOND);
	return t;
}

bool thread_block_until(u64 deadline_ns)
{
	struct host_thread *h = host_of(thread_current());
	bool woken;
	u64 now;

	lock_order_may_sleep("thread_block_until");
	sleep_in_turn(h, deadline_ns);
	pthread_mutex_lock(&h->mutex);
	while (!h->woken && (now = clock_ns()) < deadline_ns) {
		struct timespec until = after(min(deadline_ns - now, LOOK_AGAIN_NS));

		pthread_cond_timedwait(&h->cond, &h->mutex, &until);
	}
	woken = h->woken;
	h->woken = false;
	pthread_mutex_unlock(&h->mutex);
	return woken;
}

void thread_sleep_until(u64 deadline_ns)
{
	bool woken = false;

	while (clock_ns() < deadline_ns)
		woken |= thread_block_until(deadline_ns);
	if (woken)
		thread_wake(thread_current());
}

void thread_yield(void)
{
	hosted_relax();
}

/* Weak: a test may have its own of these. */
void __attribute__((weak)) thread_yield_to(struct thread *t)
{
	(void)t;
	hosted_relax();
}

/* As if others waited for each CPU. */
bool __attribute__((weak)) thread_is_slow(void)
{
	const struct sched_group *g = thread_current()->group;

	return g && g->weight < WEIGHT_SLOW * max(g->runnable, 1u);
}

bool __attribute__((weak)) thread_waits_here(const struct thread *t)
{
	(void)t;
	return false;
}

bool __attribute__((weak)) thread_waits_elsewhere(const struct thread *t)
{
	(void)t;
	return false;
}

void __attribute__((weak)) thread_lift(struct thread *t, u32 by)
{
	(void)t;
	(void)by;
}

void __attribute__((weak)) thread_lower(struct thread *t, u32 by)
{
	(void)t;
	(void)by;
}

void __attribute__((weak)) thread_hurry(struct thread *t, enum hurry how)
{
	(void)t;
	(void)how;
}

void __attribute__((weak)) thread_hurry_no_more(struct thread *t)
{
	(void)t;
}

u32 __attribute__((weak)) thread_lend(struct thread *t)
{
	(void)t;
	return 1;
}

void __attribute__((weak)) thread_rest_init(void (*ends)(void))
{
	(void)ends;
}

u64 __attribute__((weak)) thread_group_turns(void)
{
	return 0;
}

bool __attribute__((weak)) thread_groups_rest(u64 turns)
{
	(void)turns;
	return false;
}

static void forget(struct host_thread *h)
{
	pthread_mutex_destroy(&h->mutex);
	pthread_cond_destroy(&h->cond);
	free(h);
}

static void *run(void *arg)
{
	struct host_thread *h = arg;
	bool detached;

	created = h;
	if (h->cpu != THREAD_ANY_CPU)
		hosted_cpu_set(h->cpu);
	h->thread.fn(h->thread.arg);
	BUG_ON(hosted_locks_held());
	pthread_mutex_lock(&h->mutex);
	h->ended = true;
	detached = h->detached;
	pthread_mutex_unlock(&h->mutex);
	if (detached)
		forget(h);
	return NULL;
}

int thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg, u32 cpu)
{
	struct host_thread *h = hosted_should_fail() ? NULL : malloc(sizeof(*h));

	if (!h)
		return ERR_NOMEM;
	*h = (struct host_thread)HOST_THREAD_INIT;
	strlcpy(h->thread.name, name, sizeof(h->thread.name));
	h->thread.fn = fn;
	h->thread.arg = arg;
	h->cpu = cpu;
	*out = &h->thread;
	BUG_ON(pthread_create(&h->handle, NULL, run, h));
	return 0;
}

int __attribute__((weak))
thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
		   const struct thread_options *options)
{
	return thread_create(out, name, fn, arg, THREAD_ANY_CPU);
}

void thread_join(struct thread *t)
{
	pthread_join(host_of(t)->handle, NULL);
	forget(host_of(t));
}

void thread_detach(struct thread *t)
{
	struct host_thread *h = host_of(t);
	bool ended;

	pthread_detach(h->handle);
	pthread_mutex_lock(&h->mutex);
	h->detached = true;
	ended = h->ended;
	pthread_mutex_unlock(&h->mutex);
	if (ended)
		forget(h);
}
