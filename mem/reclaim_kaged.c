/* SPDX-License-Identifier: MIT */
/*
 * kaged: a thread for each memory node, near its memory where that has CPUs. It fills its node up when
 * memory is low, and between times looks at what is used. Where a node has nothing more to give the
 * others go on beyond what is theirs to do, until enough is free in all.
 */
#include "mem/reclaim_private.h"
#include "smp/thread.h"

#define AGES	      64u /* chunks aged at a time, as in an effort */
#define REST_ROUND_NS 10000000000ull
#define RETRY_NS      50000000ull /* after a try in vain; doubled for each that follows, up to */
#define RETRY_MOST_NS 1600000000ull

static struct kaged {
	struct wait_queue wait;
	u32 node;
	u64 counted_ns; /* of its time on a CPU; its own */
	/* atomic */
	struct thread *thread; /* once it runs */
	bool woken;	       /* memory is low, */
	bool asked;	       /* or somebody waits for it to take */
	bool in_vain;	       /* it lacks frames, and found none when it looked last */
	bool vcpu_ran;	       /* after none had for a round */
} kageds[FRAME_NODES_MAX];

/* --- Waking it ------------------------------------------------------------------------------ */

static void wake(struct kaged *k)
{
	if (!__atomic_exchange_n(&k->woken, true, __ATOMIC_SEQ_CST))
		wait_wake_all(&k->wait);
}

static bool is_in_vain(u32 node)
{
	return __atomic_load_n(&kageds[node].in_vain, __ATOMIC_RELAXED);
}

/* Another node lacks frames, and cannot get them. */
static bool others_lack(u32 node)
{
	for (u32 i = 0; i < frame_node_count; i++) {
		if (i != node && is_in_vain(i) && reclaim_node_lacks(i, watermarks.high))
			return true;
	}
	return false;
}

void reclaim_wake(void)
{
	for (u32 node = 0; node < frame_node_count; node++) {
		if (frame_node_count == 1 || reclaim_node_lacks(node, watermarks.low) ||
		    others_lack(node))
			wake(&kageds[node]);
	}
}

/* The one whose node lacks most, if it can help itself; any that there is. NULL: none runs. */
static struct kaged *whom_to_ask(void)
{
	u32 first = reclaim_neediest_node();
	struct kaged *found = NULL;

	for (u32 i = 0; i < frame_node_count; i++) {
		struct kaged *k = &kageds[(first + i) % frame_node_count];

		if (!__atomic_load_n(&k->thread, __ATOMIC_ACQUIRE))
			continue;
		if (!is_in_vain(k->node))
			return k;
		if (!found)
			found = k;
	}
	return found;
}

bool reclaim_ask_kaged(bool *again)
{
	struct kaged *k = thread_is_slow() ? whom_to_ask() : NULL;
	u64 before = reclaim_progress();
	u32 lent;

	if (!k)
		return false;
	lent = thread_lend(k->thread);
	reclaim_count(&reclaim.stats.asked, 1);
	__atomic_store_n(&k->asked, true, __ATOMIC_SEQ_CST);
	wait_wake_all(&k->wait);
	*again = reclaim_wait_progress(before);
	thread_lower(k->thread, lent);
	return true;
}

void reclaim_wait_unused(struct reclaim_target *t)
{
	struct thread *helpers[FRAME_NODES_MAX];
	u32 lent[FRAME_NODES_MAX];

	if (__atomic_load_n(&t->users, __ATOMIC_ACQUIRE) == 0)
		return;
	for (u32 i = 0; i < frame_node_count; i++) {
		helpers[i] = __atomic_load_n(&kageds[i].thread, __ATOMIC_ACQUIRE);
		lent[i] = helpers[i] ? thread_lend(helpers[i]) : 0;
	}
	wait_event(&reclaim.unused, __atomic_load_n(&t->users, __ATOMIC_ACQUIRE) == 0);
	for (u32 i = 0; i < frame_node_count; i++) {
		if (helpers[i])
			thread_lower(helpers[i], lent[i]);
	}
}

/* --- Filling up ----------------------------------------------------------------------------- */

static void count_time(struct kaged *k)
{
	u64 ns = thread_run_ns(thread_current());

	reclaim_count(&reclaim.stats.kaged, ns - k->counted_ns);
	k->counted_ns = ns;
}

/*
 * What may be under way to the disk at a time is, and there is nothing else. Where nothing of it ends
 * it is looked at all again less and less often. False: nothing is under way.
 */
static bool wait_for_disk(struct kaged *k, u64 *pause)
{
	u64 before = swap_written(), until = clock_ns() + *pause;

	do {
		if (!swap_wait_written(clock_ns() + RECLAIM_HELP_WAIT_NS))
			return false;
		if (swap_written() != before) {
			*pause = RECLAIM_HELP_WAIT_NS;
			return true;
		}
	} while (clock_ns() < until && !__atomic_load_n(&k->asked, __ATOMIC_SEQ_CST));
	*pause = min(2 * *pause, (u64)RETRY_MOST_NS);
	return true;
}

/* Until high is reached there or in all: what is free on one node does for everybody. */
static u64 wanted(u32 node)
{
	u64 free = watermark_free(), lacks;

	if (free >= watermarks.high)
		return 0;
	lacks = reclaim_node_lacks(node, watermarks.high);
	if (!lacks && others_lack(node))
		lacks = watermarks.high - free;
	return min(lacks, (u64)RECLAIM_BATCH);
}

/* Others are to take what it cannot. */
static void set_in_vain(struct kaged *k, bool in_vain)
{
	if (__atomic_exchange_n(&k->in_vain, in_vain, __ATOMIC_SEQ_CST) == in_vain || !in_vain)
		return;
	for (u32 node = 0; node < frame_node_count; node++) {
		if (node != k->node)
			wake(&kageds[node]);
	}
}

/* From low to high, a batch after the other. False: in vain. */
static bool fill(struct kaged *k)
{
	u64 pause = RECLAIM_HELP_WAIT_NS;
	struct reclaim_effort e;
	bool lacks;

	do {
		e = (struct reclaim_effort){
			.node = k->node,
			.urgent = __atomic_exchange_n(&k->asked, false, __ATOMIC_SEQ_CST)};
		reclaim_count_owed();
		e.want = wanted(k->node);
		if (e.want)
			reclaim_make_effort(&e);
		reclaim_tell_state();
		count_time(k);
	} while (reclaim_is_worth_another(&e) || (e.want && wait_for_disk(k, &pause)));
	lacks = watermark_free() < watermarks.low && reclaim_node_lacks(k->node, watermarks.low);
	/* Until high: the others are to go on that far. */
	set_in_vain(k, e.want && watermark_free() < watermarks.high &&
			       reclaim_node_lacks(k->node, watermarks.high));
	if (watermark_free() >= watermarks.low)
		reclaim_forget_barren();
	return !lacks && !(e.want && reclaim_is_short());
}

/* Pages are BUSY while it takes them, and any VM may wait for those. Whether it does it counts first. */
bool reclaim_fill_up(u32 node)
{
	bool enough;

	thread_lift(thread_current(), WEIGHT_LIFT);
	enough = fill(&kageds[node]);
	thread_lower(thread_current(), WEIGHT_LIFT);
	return enough;
}

static bool is_called(const struct kaged *k)
{
	return __atomic_load_n(&k->woken, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&k->asked, __ATOMIC_SEQ_CST);
}

/* --- At rest -------------------------------------------------------------------------------- */

/*
 * So that it is known what is idle before memory is short. Over much memory a round takes long, and may
 * take until the next is due.
 */
static void look_around(struct kaged *k)
{
	struct reclaim_effort e;

	do {
		e = (struct reclaim_effort){.node = k->node,
					    .own = true,
					    .ages = AGES,
					    .gap_ns = REST_ROUND_NS / 2,
					    .rest = !reclaim_is_short()};
	} while (!is_called(k) && reclaim_age(&e));
}

static void rest_ends(void)
{
	for (u32 node = 0; node < frame_node_count; node++) {
		__atomic_store_n(&kageds[node].vcpu_ran, true, __ATOMIC_SEQ_CST);
		wait_wake_all(&kageds[node].wait);
	}
}

/*
 * kaged's rounds at rest since a vCPU ran last. What was used just before the first counts as used in
 * the next, too, and the working set falls from round to round: when it falls no more, another round
 * would find what the last one found.
 */
struct rest {
	u64 turns;   /* thread_group_turns as the last of them began, */
	u64 found;   /* and reclaim.found_other */
	u32 further; /* complete ones after the first */
};

#define STILL_USED 2u /* of these, before those that were used are known not to be */

static void rest_round(struct kaged *k, struct rest *r)
{
	u64 turns = thread_group_turns(), begun = clock_ns();

	r->found = __atomic_load_n(&reclaim.found_other, __ATOMIC_RELAXED);
	look_around(k);
	if (turns != r->turns || !reclaim_aged_since(k->node, begun))
		r->further = 0;
	else
		r->further++;
	r->turns = turns;
}

static bool may_rest(const struct rest *r)
{
	return r->further >= STILL_USED &&
	       __atomic_load_n(&reclaim.found_other, __ATOMIC_RELAXED) == r->found &&
	       reclaim_state_is_told() && thread_groups_rest(r->turns);
}

/*
 * Until a round is due; where nothing new is to be found the next is due some time after a vCPU runs
 * again. False: somebody called.
 */
static bool wait_for_round(struct kaged *k, const struct rest *r)
{
	__atomic_store_n(&k->vcpu_ran, false, __ATOMIC_SEQ_CST);
	if (may_rest(r))
		wait_event(&k->wait,
			   is_called(k) || __atomic_load_n(&k->vcpu_ran, __ATOMIC_SEQ_CST));
	return !wait_event_until(&k->wait, is_called(k), clock_ns() + REST_ROUND_NS);
}

/* --- The thread ----------------------------------------------------------------------------- */

/* Less than low is free, or was, and high is not reached since. */
static bool is_low(void)
{
	reclaim_count_owed();
	return reclaim_tell_state() != RECLAIM_ENOUGH;
}

/* Nothing is taken for time alone: what is there of above low suffices. */
static bool has_enough(struct kaged *k, bool called)
{
	if (called || is_low())
		return false;
	reclaim_forget_barren();
	count_time(k);
	return true;
}

static void kaged(void *arg)
{
	struct kaged *k = arg;
	struct rest last = {0};
	u64 pause = RETRY_NS;
	bool called;

	__atomic_store_n(&k->thread, thread_current(), __ATOMIC_RELEASE);
	for (;;) {
		if (wait_for_round(k, &last))
			rest_round(k, &last);
		called = __atomic_exchange_n(&k->woken, false, __ATOMIC_SEQ_CST) || is_called(k);
		if (has_enough(k, called) || reclaim_fill_up(k->node)) {
			pause = RETRY_NS;
			continue;
		}
		/* Time may make pages old. */
		(void)wait_event_until(&k->wait, __atomic_load_n(&k->asked, __ATOMIC_SEQ_CST),
				       clock_ns() + pause);
		pause = min(2 * pause, (u64)RETRY_MOST_NS);
	}
}

void kaged_init(void)
{
	for (u32 node = 0; node < FRAME_NODES_MAX; node++) {
		kageds[node] = (struct kaged){.node = node};
		wait_queue_init(&kageds[node].wait);
	}
}

/* Of the node; all where it has none. */
static struct cpu_set cpus_of(u32 node)
{
	struct cpu_set cpus = {0};

	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		if (frame_node_of_cpu(cpu) == node)
			cpu_set_add(&cpus, cpu);
	}
	if (frame_node_count == 1 || cpu_set_is_empty(&cpus))
		cpu_set_fill(&cpus);
	return cpus;
}

int kaged_start(void)
{
	int err = 0;

	thread_rest_init(rest_ends);
	for (u32 node = 0; node < frame_node_count && !err; node++) {
		struct thread_options options = {.allowed = cpus_of(node),
						 .weight = WEIGHT_DAEMON,
						 .number = frame_node_count > 1 ? node + 1 : 0};
		struct thread *thread;

		err = thread_create_with(&thread, "kaged", kaged, &kageds[node], &options);
		if (!err)
			thread_detach(thread);
	}
	return err;
}
