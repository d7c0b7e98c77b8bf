/* SPDX-License-Identifier: MIT */
/*
 * The thread that runs callbacks of RCU and SRCU. It never waits for one domain's readers, who may
 * sleep for long, while another's callbacks could run: it looks, and is kicked when one leaves.
 */
#include "smp/rcu_private.h"
#include "smp/thread.h"

static struct wait_queue wake = WAIT_QUEUE_INIT(wake);
static bool kicked; /* atomic */

static struct wait_queue turn = WAIT_QUEUE_INIT(turn);
/* turn.lock */
static struct thread *running; /* who is in rcu_work; atomic, too */
static u32 lent;	       /* to that one, by those that wait */

struct rcu_stats rcu_stats;

static const struct stat_desc stat_descs[] = {RCU_STATS(STAT_DESC)};
STAT_CHECK(rcu_stats, stat_descs);

struct stat_group rcu_stat_group = {
	.scope = "",
	.name = "rcu",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = stat_read_field,
	.owner = &rcu_stats,
};

void rcu_kick(void)
{
	/* Set: the worker has yet to clear it, and looks at everything after that. */
	if (!__atomic_load_n(&kicked, __ATOMIC_SEQ_CST) &&
	    !__atomic_exchange_n(&kicked, true, __ATOMIC_SEQ_CST))
		wait_wake_one(&wake);
}

/* Who waits lends what it counts for, as for a mutex: the worker may be in the middle of its own. */
static bool take_turn(void)
{
	if (running) {
		lent += thread_lend(running);
		return false;
	}
	__atomic_store_n(&running, thread_current(), __ATOMIC_RELAXED);
	return true;
}

void rcu_work(void)
{
	u32 back;
	bool on;

	lock_order_may_sleep("rcu_work");
	/* A callback that waits for callbacks. */
	BUG_ON(__atomic_load_n(&running, __ATOMIC_RELAXED) == thread_current());
	wait_event(&turn, take_turn());
	rcu_work_calls();
	srcu_work_calls();
	on = wait_lock(&turn);
	back = lent;
	lent = 0;
	__atomic_store_n(&running, NULL, __ATOMIC_RELAXED);
	wait_wake_one_locked(&turn);
	wait_unlock(&turn, on);
	if (unlikely(back))
		thread_lower(thread_current(), back);
}

void rcu_run(struct rcu_head *first)
{
	struct rcu_head *next;
	u64 count = 0;

	for (; first; first = next, count++) {
		next = first->next;
		first->fn(first);
	}
	__atomic_fetch_add(&rcu_stats.callbacks, count, __ATOMIC_RELAXED);
}

void rcu_get_stats(struct rcu_stats *out)
{
	out->grace_periods = __atomic_load_n(&rcu_stats.grace_periods, __ATOMIC_RELAXED);
	out->callbacks = __atomic_load_n(&rcu_stats.callbacks, __ATOMIC_RELAXED);
}

void rcu_work_when_kicked(void)
{
	wait_event(&wake, __atomic_exchange_n(&kicked, false, __ATOMIC_SEQ_CST));
	rcu_work();
}

static void __noreturn work_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		rcu_work_when_kicked();
}

int rcu_start(void)
{
	struct thread_options options = {.weight = WEIGHT_DAEMON};
	struct thread *t;
	int err;

	cpu_set_fill(&options.allowed);
	err = thread_create_with(&t, "rcu", work_for_ever, NULL, &options);
	if (!err)
		thread_detach(t);
	return err;
}
