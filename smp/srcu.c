/* SPDX-License-Identifier: MIT */
/*
 * SRCU with two pairs of counters. New readers count on the pair that `index` names; a grace
 * period waits for the other pair, flips the index, and waits for the pair it flipped from.
 *
 * Why two waits: a reader may read the index, be delayed, and count on that pair long after the
 * index has moved on (R28). The next grace period would flip back to a pair that is still in use
 * if it did not wait for it first.
 *
 * Every count is a locked instruction, and so is the flip: each is a full barrier (SDM 3A 9.2.3.9).
 * A reader whose count the writer missed therefore loads its pointer after the writer's store,
 * and sees the new one.
 *
 * A grace period is not a thread: it is a step that whoever waits for one, or the worker, takes
 * further when it looks, under drain.lock. tests/models/srcu.pml is its model.
 */
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "smp/lock_order.h"
#include "smp/rcu_private.h"
#include "smp/srcu.h"

static struct spinlock call_lock = SPINLOCK_INIT("srcu_call", LOCK_SRCU);
static struct list called = LIST_INIT(called);	 /* call_lock: domains that came to have work */
static struct list waiting = LIST_INIT(waiting); /* rcu_work's: domains that have some */

void srcu_init(struct srcu *s)
{
	memset(s, 0, sizeof(*s));
	wait_queue_init(&s->drain);
	list_init(&s->work_link);
	s->calls_end = &s->calls;
}

u32 srcu_read_lock(struct srcu *s)
{
	u32 index = __atomic_load_n(&s->index, __ATOMIC_RELAXED) & 1;

	__atomic_fetch_add(&s->cpu[cpu_index()].lock[index], 1, __ATOMIC_SEQ_CST);
	lock_order_sleep_taken(s, "an SRCU reader", LOCK_SRCU_READ);
	return index;
}

static void reader_left(struct srcu *s)
{
	wait_wake_all(&s->drain);
	if (__atomic_load_n(&s->calls_wait, __ATOMIC_SEQ_CST))
		rcu_kick();
}

void srcu_read_unlock(struct srcu *s, u32 index)
{
	ASSERT(srcu_read_held(s));
	lock_order_sleep_dropped(s);
	__atomic_fetch_add(&s->cpu[cpu_index()].unlock[index], 1, __ATOMIC_SEQ_CST);
	/* Either the next look at the sums sees this count, or this load sees that one is due. */
	if (unlikely(__atomic_load_n(&s->draining, __ATOMIC_SEQ_CST) == index + 1))
		reader_left(s);
}

bool srcu_read_held(const struct srcu *s)
{
	return lock_order_sleep_held(s);
}

/*
 * Unlocks are summed before locks: a reader that comes and goes in between then makes the sums
 * differ, which costs another look. The other way round its unlock would be counted without its
 * lock, and could stand in for that of a reader that is still there.
 */
static bool sums_agree(struct srcu *s, u32 pair)
{
	u32 cpus = cpu_count();
	u64 unlocks = 0, locks = 0;

	for (u32 i = 0; i < cpus; i++)
		unlocks += __atomic_load_n(&s->cpu[i].unlock[pair], __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < cpus; i++)
		locks += __atomic_load_n(&s->cpu[i].lock[pair], __ATOMIC_SEQ_CST);
	return locks == unlocks;
}

/* false: a reader of the pair is there, and will say when it leaves. */
static bool drained(struct srcu *s, u32 pair)
{
	if (!sums_agree(s, pair)) {
		__atomic_store_n(&s->draining, pair + 1, __ATOMIC_SEQ_CST);
		if (!sums_agree(s, pair))
			return false;
	}
	__atomic_store_n(&s->draining, 0, __ATOMIC_RELAXED);
	return true;
}

/*
 * drain.lock held. Takes the grace period that is under way, and those that others wait for, as
 * far as readers allow. Returns whether number target has ended.
 */
static bool advance(struct srcu *s, u64 target)
{
	u32 pair;

	s->wanted = max(s->wanted, target);
	while (s->grace_periods < s->wanted) {
		s->under_way = true;
		/* Nobody new counts here: before the flip as well as after it. */
		pair = ~__atomic_load_n(&s->index, __ATOMIC_RELAXED) & 1;
		if (!drained(s, pair))
			break;
		if (!s->flipped) {
			/* Full barrier: after the sums above, before those of the next round. */
			__atomic_fetch_xor(&s->index, 1, __ATOMIC_SEQ_CST);
			s->flipped = true;
			continue;
		}
		s->flipped = false;
		s->under_way = false;
		__atomic_fetch_add(&s->grace_periods, 1, __ATOMIC_SEQ_CST);
		wait_wake_all_locked(&s->drain);
	}
	return s->grace_periods >= target;
}

/*
 * drain.lock held. The first grace period that begins from now on; the one under way may have
 * let through a reader that saw what the caller has just taken away.
 */
static u64 next_to_begin(const struct srcu *s)
{
	return s->grace_periods + (s->under_way ? 2 : 1);
}

/* Whoever waits for readers is none, and holds no lock that one may be waiting for. */
static void check_may_wait(void)
{
	lock_order_sleep_check("waiting for SRCU readers", LOCK_SRCU_READ);
}

void srcu_synchronize(struct srcu *s)
{
	u64 target;
	bool on;

	check_may_wait();
	on = wait_lock(&s->drain);
	target = next_to_begin(s);
	while (!advance(s, target))
		wait_sleep(&s->drain, &on);
	wait_unlock(&s->drain, on);
	if (__atomic_load_n(&s->calls_wait, __ATOMIC_SEQ_CST))
		rcu_kick();
}

void srcu_call(struct srcu *s, struct rcu_head *h, void (*fn)(struct rcu_head *h))
{
	bool on;

	h->fn = fn;
	h->next = NULL;
	on = spin_lock_irqsave(&call_lock);
	*s->calls_end = h;
	s->calls_end = &h->next;
	if (!s->has_work) {
		s->has_work = true;
		list_add_tail(&s->work_link, &called);
	}
	spin_unlock_irqrestore(&call_lock, on);
	rcu_kick();
}

/* The calls so far become the batch that the next grace period to begin is for. */
static void form_batch(struct srcu *s)
{
	bool on = spin_lock_irqsave(&call_lock);

	s->batch = s->calls;
	s->calls = NULL;
	s->calls_end = &s->calls;
	spin_unlock_irqrestore(&call_lock, on);
	on = wait_lock(&s->drain);
	s->batch_target = next_to_begin(s);
	wait_unlock(&s->drain, on);
}

static bool batch_is_due(struct srcu *s)
{
	bool due, on;

	__atomic_store_n(&s->calls_wait, true, __ATOMIC_SEQ_CST);
	on = wait_lock(&s->drain);
	due = advance(s, s->batch_target);
	wait_unlock(&s->drain, on);
	if (due)
		__atomic_store_n(&s->calls_wait, false, __ATOMIC_SEQ_CST);
	return due;
}

/* true: there are more calls already. Else nothing here knows s any more. */
static bool leave_unless_called(struct srcu *s)
{
	bool more, on = spin_lock_irqsave(&call_lock);

	more = s->calls != NULL;
	if (!more) {
		list_del(&s->work_link);
		s->has_work = false;
	}
	spin_unlock_irqrestore(&call_lock, on);
	return more;
}

static void work_on(struct srcu *s)
{
	struct rcu_head *batch;

	if (!s->batch)
		form_batch(s);
	if (!batch_is_due(s))
		return;
	batch = s->batch;
	s->batch = NULL;
	if (leave_unless_called(s))
		rcu_kick();
	/* The last of them may be a barrier's, after which s may go. */
	rcu_run(batch);
}

void srcu_work_calls(void)
{
	struct list *link, *next;
	bool on = spin_lock_irqsave(&call_lock);

	while (!list_empty(&called)) {
		link = called.next;
		list_del(link);
		list_add_tail(link, &waiting);
	}
	spin_unlock_irqrestore(&call_lock, on);
	/* The next one stays while it has work, whatever the callbacks of this one do. */
	for (link = waiting.next; link != &waiting; link = next) {
		next = link->next;
		work_on(list_entry(link, struct srcu, work_link));
	}
}

struct barrier {
	struct rcu_head head;
	bool passed; /* atomic */
};

static void barrier_passed(struct rcu_head *h)
{
	__atomic_store_n(&container_of(h, struct barrier, head)->passed, true, __ATOMIC_RELEASE);
}

/* It lends the worker a hand rather than wait for it. */
void srcu_barrier(struct srcu *s)
{
	struct barrier b = {.passed = false};

	check_may_wait();
	srcu_call(s, &b.head, barrier_passed);
	while (!__atomic_load_n(&b.passed, __ATOMIC_ACQUIRE)) {
		srcu_synchronize(s);
		rcu_work();
	}
}

void srcu_destroy(struct srcu *s)
{
	ASSERT(sums_agree(s, 0) && sums_agree(s, 1));
	ASSERT(list_empty(&s->drain.waiters));
	/* A callback that has not run would find its domain gone: srcu_barrier comes first. */
	ASSERT(!s->has_work);
}

const struct stat_desc srcu_stat_descs[] = {SRCU_STATS(STAT_DESC)};
STAT_CHECK(srcu_stats, srcu_stat_descs);

u64 srcu_stat_read(const void *owner, u32 i)
{
	const struct srcu *s = owner;
	struct srcu_stats now = {
		.grace_periods = __atomic_load_n(&s->grace_periods, __ATOMIC_RELAXED),
	};

	return stat_read_field(&now, i);
}
