/* SPDX-License-Identifier: MIT */
#include "mem/reclaim.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"
#include "mem/share.h"
#include "mem/swap.h"
#include "mem/vector.h"
#include "smp/thread.h"

#define TRIES	      512u    /* pages that are tried for a batch: not all of them pack */
#define LOOKS	      BIT(18) /* entries looked at for it: those of 1 GiB */
#define AGES	      64u     /* chunks aged for it: 128 MiB */
#define SPLITS	      4u      /* mappings of 2 MiB that are split for it */
#define SPANS	      4u      /* of the pool that are emptied for it */
#define BARREN_ROUNDS 3u      /* looks at all there is, after which nothing is to be had */
#define TRICKLE	      8u      /* fewer frames may be of no use to anybody */
#define HELP_WAIT_NS  10000000ull
#define REST_ROUND_NS 10000000000ull
#define RETRY_NS      50000000ull /* after a try in vain; doubled for each that follows, up to */
#define RETRY_MOST_NS 1600000000ull

static struct wait_queue kaged_wait, progress_wait;
/* atomic */
static struct thread *kaged_thread; /* once it runs */
static bool woken;		    /* memory is low, */
static bool asked;		    /* or somebody waits for kaged to take */
static bool vcpu_ran;		    /* after none had for a round */
static u64 progress;		    /* counts efforts that freed something */

/* --- An effort ------------------------------------------------------------------------------ */

/* By one at a time; others go without. */
static void compact(struct reclaim_effort *e)
{
	u64 freed;

	if (__atomic_exchange_n(&reclaim.compacting, true, __ATOMIC_ACQUIRE))
		return;
	freed = pool_compact(SPANS);
	__atomic_store_n(&reclaim.compacting, false, __ATOMIC_RELEASE);
	reclaim_count(&reclaim.stats.compacted, freed);
	e->freed += freed;
}

/* What was looked at since something was freed last, of all or of the effort's own target. */
static u64 *barren_of(const struct reclaim_effort *e)
{
	return e->only ? &e->only->barren : &reclaim.barren;
}

/* In chunks, no more than those that have a page. */
static u64 chunks_there(const struct reclaim_effort *e)
{
	struct reclaim_target *t;
	u64 chunks = 0;

	spin_lock(&reclaim.lock);
	list_for_each_entry (t, &reclaim.targets, link) {
		u64 resident = __atomic_load_n(&t->object->resident, __ATOMIC_RELAXED);

		if (!t->object->order && (!e->only || e->only == t))
			chunks += min(reclaim_chunks(t), resident);
	}
	spin_unlock(&reclaim.lock);
	return chunks;
}

/*
 * Its bounds end an effort long before it has seen all of a large machine, so that there is always
 * more to look at. Where all has been seen as often as it takes a page to grow old, and none was
 * freed, another effort will find nothing, either.
 */
static bool is_barren(const struct reclaim_effort *e)
{
	return __atomic_load_n(barren_of(e), __ATOMIC_RELAXED) >= BARREN_ROUNDS * chunks_there(e);
}

static void count_barren(const struct reclaim_effort *e)
{
	u64 chunks = AGES - e->ages + (LOOKS - e->looks) / GMEM_LARGE_PAGES;

	/* Old pages, which do not pack: behind them may be some that do. */
	if (!e->tries)
		chunks = TRIES / GMEM_LARGE_PAGES;
	if (e->freed)
		__atomic_store_n(barren_of(e), 0, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(barren_of(e), chunks, __ATOMIC_RELAXED);
}

/* Memory is there: what is short the next time is another matter. */
static void forget_barren(void)
{
	if (__atomic_load_n(&reclaim.barren, __ATOMIC_RELAXED))
		__atomic_store_n(&reclaim.barren, 0, __ATOMIC_RELAXED);
}

/*
 * Nothing old is left; or it looked or tried as long as it may and none went: what the last round
 * counted may have changed since, and the next counts anew.
 */
static bool wants_round(const struct reclaim_effort *e)
{
	return e->freed < e->want && (!e->more || !e->freed);
}

/*
 * A few frames that are not enough for anybody to get one: the pages that a VM runs on, taken and
 * wanted back at once, can go on for ever, and whoever waits would never be seen to wait in vain.
 */
static bool is_trickle(const struct reclaim_effort *e)
{
	return !e->only && e->freed < TRICKLE && watermark_free() < watermarks.min;
}

/* Somebody waits, and any page will do: others may be wanted less. With looks of its own. */
static void take_any(struct reclaim_effort *e)
{
	e->tries = TRIES;
	e->looks = LOOKS;
	e->ages = AGES;
	reclaim_take(e, 0);
	count_barren(e);
	e->more = e->more && !is_barren(e);
}

/*
 * Guests are refused for what is free for all, and CPUs have some frames for themselves: many of
 * those where there are many CPUs. No memory is made by that, so it counts only where it ends the
 * need.
 */
static u64 fetch_from_cpus(void)
{
	u32 drained;

	if (watermark_free() >= watermarks.min)
		return 0;
	drained = frame_drain();
	return watermark_free() >= watermarks.min ? drained : 0;
}

/*
 * A round of aging costs a look at every page, so it is made when what the last one found is used
 * up.
 */
static void make_effort(struct reclaim_effort *e)
{
	e->tries = TRIES;
	e->looks = LOOKS;
	e->ages = AGES;
	e->splits = SPLITS;
	reclaim_take(e, 1);
	if (wants_round(e) && reclaim_age(e)) {
		e->more = false;
		reclaim_take(e, 1);
		e->more |= e->ages == 0;
	}
	reclaim_write_packed(e);
	if (e->freed < e->want && !e->only)
		compact(e);
	count_barren(e);
	e->more = e->more && !is_barren(e);
	if (e->freed == 0 && e->urgent && !e->more)
		take_any(e);
	/* What was kept as pages went may be more than anybody lacks now. */
	reclaim_count_owed();
	if (e->freed == 0 && !e->more && !e->only)
		e->freed = fetch_from_cpus();
	e->trickles = is_trickle(e);
	if (e->freed && !e->trickles) {
		__atomic_fetch_add(&progress, 1, __ATOMIC_RELEASE);
		wait_wake_all(&progress_wait);
	} else if (!e->more) {
		reclaim_count(&reclaim.stats.fruitless, 1);
	}
}

/* While the disk is busy it is waited for, rather than that all is looked at again. */
static bool is_worth_another(const struct reclaim_effort *e)
{
	return (e->freed && !e->trickles) || (e->more && !swap_is_busy());
}

/* --- Who needs a frame ---------------------------------------------------------------------- */

void reclaim_wake(void)
{
	if (__atomic_exchange_n(&woken, true, __ATOMIC_SEQ_CST))
		return;
	wait_wake_all(&kaged_wait);
}

/*
 * Pages are BUSY while they are taken, and other VMs may wait for those: a thread that gets little
 * of the CPU does not do it.
 */
static bool is_slow(void)
{
	return thread_is_slow() && __atomic_load_n(&kaged_thread, __ATOMIC_RELAXED);
}

static bool ask_kaged(void)
{
	u64 before = __atomic_load_n(&progress, __ATOMIC_ACQUIRE);
	struct thread *t = __atomic_load_n(&kaged_thread, __ATOMIC_ACQUIRE);
	u32 lent = thread_lend(t);
	bool freed;

	reclaim_count(&reclaim.stats.asked, 1);
	__atomic_store_n(&asked, true, __ATOMIC_SEQ_CST);
	wait_wake_all(&kaged_wait);
	freed = wait_event_until(&progress_wait,
				 __atomic_load_n(&progress, __ATOMIC_ACQUIRE) != before,
				 clock_ns() + HELP_WAIT_NS);
	thread_lower(t, lent);
	return freed;
}

void reclaim_wait_unused(struct reclaim_target *t)
{
	struct thread *helper = __atomic_load_n(&kaged_thread, __ATOMIC_ACQUIRE);
	u32 lent;

	if (__atomic_load_n(&t->users, __ATOMIC_ACQUIRE) == 0)
		return;
	lent = helper ? thread_lend(helper) : 0;
	wait_event(&reclaim.unused, __atomic_load_n(&t->users, __ATOMIC_ACQUIRE) == 0);
	if (helper)
		thread_lower(helper, lent);
}

/* Memory is there, but not for this one, which may not have more than it has. */
static bool make_own_room(struct reclaim_target *t)
{
	struct reclaim_effort e = {.want = RECLAIM_BATCH, .urgent = true, .only = t};

	reclaim_count(&reclaim.stats.own, 1);
	make_effort(&e);
	return is_worth_another(&e) || swap_wait_written(clock_ns() + HELP_WAIT_NS);
}

/* By counting anew, where all was taken that had been counted: it need not wait for others. */
static bool is_given_copies(const struct reclaim_target *t)
{
	const struct gmem *g = t ? t->object : NULL;
	bool had = g && watermark_has_copy(g->share_group);

	reclaim_count_owed();
	return g && !had && watermark_has_copy(g->share_group) && gmem_lacks(g);
}

bool reclaim_help(struct reclaim_target *t, u32 order)
{
	struct reclaim_effort e = {.want = RECLAIM_BATCH, .urgent = true};
	bool again;

	if (!watermarks.min)
		return false;
	/* Before it makes room: a copy is no page more. For a page that is new it is told so once. */
	if (is_given_copies(t))
		return true;
	if (t && t->object && !gmem_may_grow(t->object, 1))
		return make_own_room(t);
	/* Another may have done it meanwhile; but more small frames make no large one. */
	if (!reclaim_is_short()) {
		forget_barren();
		again = order == 0;
	} else if (is_slow()) {
		again = ask_kaged();
	} else {
		reclaim_count(&reclaim.stats.direct, 1);
		make_effort(&e);
		again = is_worth_another(&e);
	}
	reclaim_tell_state();
	return again || swap_wait_written(clock_ns() + HELP_WAIT_NS);
}

/* --- kaged ---------------------------------------------------------------------------------- */

static void count_time(void)
{
	u64 ns = thread_run_ns(thread_current());

	__atomic_store_n(&reclaim.stats.kaged, ns, __ATOMIC_RELAXED);
}

/*
 * What may be under way to the disk at a time is, and there is nothing else. Where nothing of it ends
 * it is looked at all again less and less often. False: nothing is under way.
 */
static bool wait_for_disk(u64 *pause)
{
	u64 before = swap_written(), until = clock_ns() + *pause;

	do {
		if (!swap_wait_written(clock_ns() + HELP_WAIT_NS))
			return false;
		if (swap_written() != before) {
			*pause = HELP_WAIT_NS;
			return true;
		}
	} while (clock_ns() < until && !__atomic_load_n(&asked, __ATOMIC_SEQ_CST));
	*pause = min(2 * *pause, (u64)RETRY_MOST_NS);
	return true;
}

/* From low to high, a batch after the other. False: in vain. */
static bool fill(void)
{
	u64 free, pause = HELP_WAIT_NS;
	struct reclaim_effort e;

	do {
		e = (struct reclaim_effort){
			.urgent = __atomic_exchange_n(&asked, false, __ATOMIC_SEQ_CST)};
		reclaim_count_owed();
		free = watermark_free();
		e.want = free < watermarks.high ? min(watermarks.high - free, (u64)RECLAIM_BATCH)
						: 0;
		if (e.want)
			make_effort(&e);
		reclaim_tell_state();
		count_time();
	} while (is_worth_another(&e) || (e.want && wait_for_disk(&pause)));
	if (free < watermarks.low)
		return false;
	forget_barren();
	return true;
}

/* Pages are BUSY while it takes them, and any VM may wait for those. */
bool reclaim_fill_up(void)
{
	bool lifted = watermark_free() < watermarks.high, enough;

	if (lifted)
		thread_lift(thread_current(), WEIGHT_LIFT);
	enough = fill();
	if (lifted)
		thread_lower(thread_current(), WEIGHT_LIFT);
	return enough;
}

static bool is_called(void)
{
	return __atomic_load_n(&woken, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&asked, __ATOMIC_SEQ_CST);
}

/*
 * At rest, so that it is known what is idle before memory is short. Over much memory a round takes
 * long, and may take until the next is due.
 */
static void look_around(void)
{
	struct reclaim_effort e;

	do {
		e = (struct reclaim_effort){
			.ages = AGES, .gap_ns = REST_ROUND_NS / 2, .rest = !reclaim_is_short()};
	} while (!is_called() && reclaim_age(&e));
}

static void rest_ends(void)
{
	__atomic_store_n(&vcpu_ran, true, __ATOMIC_SEQ_CST);
	wait_wake_all(&kaged_wait);
}

/*
 * kaged's rounds at rest since a vCPU ran last. What was used just before the first counts as used in
 * the next, too, and the working set falls from round to round: when it falls no more, another round
 * would find what the last one found.
 */
struct rest {
	u64 turns;   /* thread_group_turns as the last of them began */
	u32 further; /* complete ones after the first */
};

#define STILL_USED 2u /* of these, before those that were used are known not to be */

static void rest_round(struct rest *r)
{
	u64 turns = thread_group_turns(), begun = clock_ns();

	__atomic_store_n(&reclaim.found_other, false, __ATOMIC_RELAXED);
	look_around();
	if (turns != r->turns || !reclaim_aged_since(begun))
		r->further = 0;
	else
		r->further++;
	r->turns = turns;
}

static bool may_rest(const struct rest *r)
{
	return r->further >= STILL_USED &&
	       !__atomic_load_n(&reclaim.found_other, __ATOMIC_RELAXED) &&
	       reclaim_state_is_told() && thread_groups_rest(r->turns);
}

/*
 * Until a round is due; where nothing new is to be found the next is due some time after a vCPU runs
 * again. False: somebody called.
 */
static bool wait_for_round(const struct rest *r)
{
	__atomic_store_n(&vcpu_ran, false, __ATOMIC_SEQ_CST);
	if (may_rest(r))
		wait_event(&kaged_wait,
			   is_called() || __atomic_load_n(&vcpu_ran, __ATOMIC_SEQ_CST));
	return !wait_event_until(&kaged_wait, is_called(), clock_ns() + REST_ROUND_NS);
}

/* Less than low is free, or was, and high is not reached since. */
static bool is_low(void)
{
	reclaim_count_owed();
	return reclaim_tell_state() != RECLAIM_ENOUGH;
}

/* Nothing is taken for time alone: what is there of above low suffices. */
static bool has_enough(bool called)
{
	if (called || is_low())
		return false;
	forget_barren();
	count_time();
	return true;
}

static void kaged(void *arg)
{
	struct rest last = {0};
	u64 pause = RETRY_NS;
	bool called;

	(void)arg;
	__atomic_store_n(&kaged_thread, thread_current(), __ATOMIC_RELEASE);
	for (;;) {
		if (wait_for_round(&last))
			rest_round(&last);
		called = __atomic_exchange_n(&woken, false, __ATOMIC_SEQ_CST) || is_called();
		if (has_enough(called) || reclaim_fill_up()) {
			pause = RETRY_NS;
			continue;
		}
		/* Time may make pages old. */
		(void)wait_event_until(&kaged_wait, __atomic_load_n(&asked, __ATOMIC_SEQ_CST),
				       clock_ns() + pause);
		pause = min(2 * pause, (u64)RETRY_MOST_NS);
	}
}

int reclaim_init(const struct reclaim_options *o)
{
	int err;

	memset(&reclaim, 0, sizeof(reclaim));
	spin_init(&reclaim.lock, "reclaim", LOCK_GENERATION);
	wait_queue_init(&reclaim.unused);
	wait_queue_init(&kaged_wait);
	wait_queue_init(&progress_wait);
	list_init(&reclaim.targets);
	reclaim.tax = o->tax;
	pool_init();
	err = vector_init();
	if (err)
		return err;
	(void)share_init(); /* without a table nothing is shared */
	reclaim_set_watermarks(o);
	return err;
}

int reclaim_start(const struct reclaim_options *o)
{
	struct thread_options options = {.weight = WEIGHT_DAEMON};
	struct thread *thread;
	int err = reclaim_init(o);

	cpu_set_fill(&options.allowed);
	thread_rest_init(rest_ends);
	if (!err)
		err = thread_create_with(&thread, "kaged", kaged, NULL, &options);
	if (!err)
		thread_detach(thread);
	return err;
}
