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

static struct wait_queue progress_wait;
static u64 progress; /* atomic: counts efforts that freed something */

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
	return e->only ? &e->only->barren : &reclaim.barren[e->node];
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
	/* Its own target's are counted for all nodes. */
	u32 nodes = e->only ? frame_node_count : 1;

	return __atomic_load_n(barren_of(e), __ATOMIC_RELAXED) >=
	       BARREN_ROUNDS * chunks_there(e) * nodes;
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
void reclaim_forget_barren(void)
{
	for (u32 node = 0; node < frame_node_count; node++) {
		u64 *barren = &reclaim.barren[node];

		if (__atomic_load_n(barren, __ATOMIC_RELAXED))
			__atomic_store_n(barren, 0, __ATOMIC_RELAXED);
	}
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
	reclaim_count(&reclaim.taken[e->node], e->freed);
	if (e->freed && !e->trickles) {
		__atomic_fetch_add(&progress, 1, __ATOMIC_RELEASE);
		wait_wake_all(&progress_wait);
	} else if (!e->more) {
		reclaim_count(&reclaim.stats.fruitless, 1);
	}
}

void reclaim_make_effort(struct reclaim_effort *e)
{
	frame_reclaim_begin();
	make_effort(e);
	frame_reclaim_end();
}

/* While the disk is busy it is waited for, rather than that all is looked at again. */
bool reclaim_is_worth_another(const struct reclaim_effort *e)
{
	return (e->freed && !e->trickles) || (e->more && !swap_is_busy());
}

u64 reclaim_progress(void)
{
	return __atomic_load_n(&progress, __ATOMIC_ACQUIRE);
}

bool reclaim_wait_progress(u64 before)
{
	return wait_event_until(&progress_wait, reclaim_progress() != before,
				clock_ns() + RECLAIM_HELP_WAIT_NS);
}

/* --- Who needs a frame ---------------------------------------------------------------------- */

/* Where it has most pages that are not young, as far as that is known. */
static u32 node_of_most(const struct reclaim_target *t)
{
	u32 found = 0;
	s64 most = 0;

	spin_lock(&reclaim.lock);
	for (u32 node = 0; node < frame_node_count; node++) {
		s64 n = 0;

		for (u32 age = 1; age < RECLAIM_AGES; age++)
			n += t->in[node].by_age[age];
		if (n > most) {
			most = n;
			found = node;
		}
	}
	spin_unlock(&reclaim.lock);
	return found;
}

/*
 * One after the other is asked for frames of its own until one has some, first the one that lacks most of
 * what is to be free there; for a target's own frames that where it has most. Whether another try may
 * find something.
 */
static bool take_of_nodes(struct reclaim_target *only)
{
	u32 first = only ? node_of_most(only) : reclaim_neediest_node();
	bool more = false;

	for (u32 i = 0; i < frame_node_count; i++) {
		struct reclaim_effort e = {.node = (first + i) % frame_node_count,
					   .want = RECLAIM_BATCH,
					   .urgent = true,
					   .only = only};

		reclaim_make_effort(&e);
		if (e.freed && !e.trickles)
			return true;
		more |= reclaim_is_worth_another(&e);
	}
	return more;
}

/*
 * Of any. Others wait for pages that are BUSY, and for who is at an object; what a vCPU counts for may come
 * to be little meanwhile, or one that counts for much come to its CPU.
 */
static bool take_of_all(void)
{
	struct thread *me = thread_current();
	bool more;

	thread_hurry(me, HURRY_A_WHILE);
	more = take_of_nodes(NULL);
	thread_hurry_no_more(me);
	return more;
}

/* Memory is there, but not for this one, which may not have more than it has. */
static bool make_own_room(struct reclaim_target *t)
{
	reclaim_count(&reclaim.stats.own, 1);
	return take_of_nodes(t) || swap_wait_written(clock_ns() + RECLAIM_HELP_WAIT_NS);
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
		reclaim_forget_barren();
		again = order == 0;
	} else if (!reclaim_ask_kaged(&again)) {
		reclaim_count(&reclaim.stats.direct, 1);
		again = take_of_all();
	}
	reclaim_tell_state();
	return again || swap_wait_written(clock_ns() + RECLAIM_HELP_WAIT_NS);
}

int reclaim_init(const struct reclaim_options *o)
{
	int err;

	memset(&reclaim, 0, sizeof(reclaim));
	spin_init(&reclaim.lock, "reclaim", LOCK_GENERATION);
	wait_queue_init(&reclaim.unused);
	wait_queue_init(&progress_wait);
	kaged_init();
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
	int err = reclaim_init(o);

	return err ? err : kaged_start();
}
