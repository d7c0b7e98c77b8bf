/* SPDX-License-Identifier: MIT */
/*
 * Threads from creation to the return of their memory, and their sleeps with a deadline. Nobody
 * can free the stack it stands on: who joins does it, and for detached threads the reaper.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "smp/thread_private.h"
#include "smp/timer.h"

static struct {
	struct wait_queue wait;
	struct list zombies;   /* wait.lock; detached threads that have ended */
	struct thread *thread; /* made with the first thread that is detached or created */
	u32 started;	       /* atomic */
} reaper;

void thread_reaper_init(void)
{
	wait_queue_init(&reaper.wait);
	list_init(&reaper.zombies);
}

static void free_thread(struct thread *t)
{
	const struct smp_hooks *hooks = smp_hooks_get();

	hooks->stack_free(t->stack, STACK_PAGES);
	hooks->free(t);
}

static void reap(void *arg)
{
	struct thread *t;

	(void)arg;
	for (;;) {
		wait_event(&reaper.wait,
			   list_empty(&reaper.zombies)
				   ? false
				   : (t = list_first(&reaper.zombies, struct thread, zombie_link),
				      list_del(&t->zombie_link), true));
		free_thread(t);
	}
}

static void give_to_reaper(struct thread *t)
{
	bool on = wait_lock(&reaper.wait);

	list_add_tail(&t->zombie_link, &reaper.zombies);
	wait_wake_all_locked(&reaper.wait);
	wait_unlock(&reaper.wait, on);
}

void thread_bury(struct thread *t)
{
	bool detached, on;

	if (t->group)
		sched_group_remove(t->group);
	on = wait_lock(&t->exit_wait);
	/* Once who joins sees it the group may go, too. */
	t->exited = true;
	detached = t->detached;
	wait_wake_all_locked(&t->exit_wait);
	/* Once the lock is free, who joins may free the thread. */
	wait_unlock(&t->exit_wait, on);
	if (detached)
		give_to_reaper(t);
}

/* Of those it may run on, one that is online: where it goes from there is decided as it wakes. */
static struct cpu *first_cpu(const struct cpu_set *allowed)
{
	for (u32 id = 0; id < cpu_count(); id++) {
		if (cpu_set_has(allowed, id))
			return cpu_get(id);
	}
	return NULL;
}

static int make(struct thread **out, const char *name, void (*fn)(void *), void *arg,
		const struct thread_options *options)
{
	const struct smp_hooks *hooks = smp_hooks_get();
	struct cpu *cpu = first_cpu(&options->allowed);
	struct thread *t;

	if (!cpu)
		return ERR_RANGE;
	t = hooks->alloc(sizeof(*t));
	if (!t)
		return ERR_NOMEM;
	t->stack = hooks->stack_alloc(STACK_PAGES);
	if (!t->stack) {
		hooks->free(t);
		return ERR_NOMEM;
	}
	strlcpy(t->name, name, sizeof(t->name));
	t->cpu = cpu;
	t->allowed = options->allowed;
	t->group = options->group;
	t->number = options->number;
	if (t->group)
		sched_group_add(t->group);
	t->weight = options->weight;
	t->fn = fn;
	t->arg = arg;
	t->state = THREAD_NEW;
	list_init(&t->move_link);
	list_init(&t->zombie_link);
	wait_queue_init(&t->exit_wait);
	thread_set_first_frame(t);
	*out = t;
	return 0;
}

static int start_reaper(void)
{
	struct thread_options options = {.weight = WEIGHT_DAEMON};
	u32 expected = 0;
	int err;

	if (!__atomic_compare_exchange_n(&reaper.started, &expected, 1, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return 0;
	cpu_set_fill(&options.allowed);
	err = make(&reaper.thread, "reaper", reap, NULL, &options);
	if (err)
		__atomic_store_n(&reaper.started, 0, __ATOMIC_SEQ_CST);
	else
		thread_start(reaper.thread);
	return err;
}

int thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
		       const struct thread_options *options)
{
	int err = start_reaper();

	if (!err)
		err = make(out, name, fn, arg, options);
	if (!err)
		thread_start(*out);
	return err;
}

int thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg, u32 cpu)
{
	struct thread_options options = {.weight = WEIGHT_DEFAULT};

	if (cpu == THREAD_ANY_CPU)
		cpu_set_fill(&options.allowed);
	else if (cpu < CPU_MAX)
		cpu_set_add(&options.allowed, cpu);
	return thread_create_with(out, name, fn, arg, &options);
}

void thread_join(struct thread *t)
{
	BUG_ON(t == thread_current());
	wait_event(&t->exit_wait, t->exited);
	free_thread(t);
}

void thread_detach(struct thread *t)
{
	bool exited, on = wait_lock(&t->exit_wait);

	BUG_ON(t->detached);
	t->detached = true;
	exited = t->exited;
	wait_unlock(&t->exit_wait, on);
	if (exited)
		give_to_reaper(t);
}

struct alarm {
	struct timer timer;
	struct thread *thread;
	bool fired; /* atomic */
};

static void alarm_fired(struct timer *timer)
{
	struct alarm *a = container_of(timer, struct alarm, timer);

	__atomic_store_n(&a->fired, true, __ATOMIC_RELEASE);
	thread_wake(a->thread);
}

bool thread_block_until(u64 deadline_ns)
{
	struct alarm a = {.thread = thread_current()};

	timer_init(&a.timer, alarm_fired);
	timer_arm(&a.timer, deadline_ns);
	thread_block();
	timer_cancel(&a.timer);
	return !__atomic_load_n(&a.fired, __ATOMIC_ACQUIRE);
}

void thread_sleep_until(u64 deadline_ns)
{
	bool woken = false;

	while (clock_ns() < deadline_ns)
		woken |= thread_block_until(deadline_ns);
	/* That wake was meant for someone who looks at more than the clock: hand it on. */
	if (woken)
		thread_wake(thread_current());
}
