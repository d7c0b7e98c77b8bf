/* SPDX-License-Identifier: MIT */
#include "mem/reclaim.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
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
#define HELP_WAIT_NS  10000000ull
#define REST_ROUND_NS 10000000000ull
#define RETRY_NS      50000000ull /* after a try in vain; doubled for each that follows, up to */
#define RETRY_MOST_NS 1600000000ull

/* A part of memory for each watermark, and bounds in frames. */
#define MIN_PART  256
#define MIN_LEAST 256u
#define MIN_MOST  16384u

struct reclaim reclaim = {.targets = LIST_INIT(reclaim.targets)};

static struct wait_queue kaged_wait, progress_wait;
/* atomic */
static bool kaged_runs;
static bool woken;   /* memory is low, */
static bool asked;   /* or somebody waits for kaged to take */
static u64 progress; /* counts efforts that freed something */

/* --- Targets -------------------------------------------------------------------------------- */

void reclaim_put(struct reclaim_target *t)
{
	if (__atomic_fetch_sub(&t->users, 1, __ATOMIC_RELEASE) == 1)
		wait_wake_all(&reclaim.unused);
}

void reclaim_add(struct reclaim_target *t, struct gmem *object, const struct reclaim_terms *terms)
{
	memset(t, 0, sizeof(*t));
	t->object = object;
	t->terms = *terms;
	t->age_next = t->age_done = reclaim_chunks(t);
	spin_lock(&reclaim.lock);
	BUG_ON(reclaim.ids == ~0ull);
	t->id = (u32)__builtin_ctzll(~reclaim.ids);
	reclaim.ids |= BIT(t->id);
	list_add_tail(&t->link, &reclaim.targets);
	spin_unlock(&reclaim.lock);
	__atomic_store_n(&object->resident_min, terms->min, __ATOMIC_RELAXED);
	__atomic_store_n(&object->resident_max, terms->max, __ATOMIC_RELAXED);
}

static_assert(RECLAIM_TARGETS_MAX == 64, "ids are bits of a word");

void reclaim_remove(struct reclaim_target *t)
{
	if (!t->object)
		return;
	spin_lock(&reclaim.lock);
	list_del(&t->link);
	reclaim.ids &= ~BIT(t->id);
	spin_unlock(&reclaim.lock);
	wait_event(&reclaim.unused, __atomic_load_n(&t->users, __ATOMIC_ACQUIRE) == 0);
	t->object = NULL;
}

bool reclaim_gives_first(const struct reclaim_target *a, const struct reclaim_target *b)
{
	struct reclaim_claim of_a, of_b;

	spin_lock(&reclaim.lock);
	of_a = reclaim_claim_of(a);
	of_b = reclaim_claim_of(b);
	spin_unlock(&reclaim.lock);
	return reclaim_pays_less(&of_a, &of_b, reclaim.tax);
}

bool reclaim_is_short(void)
{
	return frame_free_estimate() < watermarks.low;
}

void reclaim_get_room(struct reclaim_room *out)
{
	struct frame_stats frames;
	struct reclaim_target *t;

	frame_get_stats(&frames);
	*out = (struct reclaim_room){.total = frames.total};
	spin_lock(&reclaim.lock);
	list_for_each_entry (t, &reclaim.targets, link)
		out->promised += t->terms.costs;
	/* What is kept for making memory cannot be promised. */
	out->total -= min(out->total, reclaim.own_frames + watermarks.min);
	spin_unlock(&reclaim.lock);
}

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

static bool wants_more(const struct reclaim_effort *e)
{
	return e->freed < e->want && !e->more;
}

/*
 * A round of aging costs a look at every page, so it is made when what the last one found is used
 * up. urgent: somebody waits, and any page will do at last, for others may be wanted less.
 */
static void make_effort(struct reclaim_effort *e)
{
	e->tries = TRIES;
	e->looks = LOOKS;
	e->ages = AGES;
	e->splits = SPLITS;
	reclaim_take(e, 1);
	if (wants_more(e) && reclaim_age(e)) {
		e->more = false;
		reclaim_take(e, 1);
		e->more |= e->ages == 0;
	}
	if (e->freed < e->want && !e->only)
		compact(e);
	e->more = e->more && !is_barren(e);
	if (e->freed == 0 && e->urgent && !e->more)
		reclaim_take(e, 0);
	count_barren(e);
	e->more = e->more && !is_barren(e);
	if (e->freed) {
		__atomic_fetch_add(&progress, 1, __ATOMIC_RELEASE);
		wait_wake_all(&progress_wait);
	} else if (!e->more) {
		reclaim_count(&reclaim.stats.fruitless, 1);
	}
}

/* While the disk is busy it is waited for, rather than that all is looked at again. */
static bool is_worth_another(const struct reclaim_effort *e)
{
	return e->freed || (e->more && !swap_is_busy());
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
	const struct sched_group *group = thread_current()->group;

	return group && group->weight < WEIGHT_DEFAULT &&
	       __atomic_load_n(&kaged_runs, __ATOMIC_RELAXED);
}

static bool ask_kaged(void)
{
	u64 before = __atomic_load_n(&progress, __ATOMIC_ACQUIRE);

	reclaim_count(&reclaim.stats.asked, 1);
	__atomic_store_n(&asked, true, __ATOMIC_SEQ_CST);
	wait_wake_all(&kaged_wait);
	return wait_event_until(&progress_wait,
				__atomic_load_n(&progress, __ATOMIC_ACQUIRE) != before,
				clock_ns() + HELP_WAIT_NS);
}

/* Memory is there, but not for this one, which may not have more than it has. */
static bool make_own_room(struct reclaim_target *t)
{
	struct reclaim_effort e = {.want = RECLAIM_BATCH, .urgent = true, .only = t};

	reclaim_count(&reclaim.stats.own, 1);
	make_effort(&e);
	return is_worth_another(&e) || swap_wait_written(clock_ns() + HELP_WAIT_NS);
}

bool reclaim_help(struct reclaim_target *t, u32 order)
{
	struct reclaim_effort e = {.want = RECLAIM_BATCH, .urgent = true};
	bool again;

	if (!watermarks.min)
		return false;
	if (t && t->object && !gmem_may_grow(t->object, 1))
		return make_own_room(t);
	/* Another may have done it meanwhile; but more small frames make no large one. */
	if (frame_free_estimate() >= watermarks.low) {
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

/* From low to high, a batch after the other. False: in vain. */
static bool fill_up(void)
{
	struct reclaim_effort e;
	u64 free;

	do {
		e = (struct reclaim_effort){
			.urgent = __atomic_exchange_n(&asked, false, __ATOMIC_SEQ_CST)};
		free = frame_free_estimate();
		e.want = free < watermarks.high ? min(watermarks.high - free, (u64)RECLAIM_BATCH)
						: 0;
		if (e.want)
			make_effort(&e);
		reclaim_tell_state();
		/* What may be under way to the disk at a time is, and there is nothing else. */
	} while (is_worth_another(&e) || (e.want && swap_wait_written(clock_ns() + HELP_WAIT_NS)));
	if (free < watermarks.low)
		return false;
	forget_barren();
	return true;
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

static void kaged(void *arg)
{
	u64 pause = RETRY_NS;

	(void)arg;
	__atomic_store_n(&kaged_runs, true, __ATOMIC_RELAXED);
	for (;;) {
		if (!wait_event_until(&kaged_wait, is_called(), clock_ns() + REST_ROUND_NS))
			look_around();
		__atomic_store_n(&woken, false, __ATOMIC_SEQ_CST);
		if (fill_up()) {
			pause = RETRY_NS;
			continue;
		}
		/* Time may make pages old. */
		(void)wait_event_until(&kaged_wait, __atomic_load_n(&asked, __ATOMIC_SEQ_CST),
				       clock_ns() + pause);
		pause = min(2 * pause, (u64)RETRY_MOST_NS);
	}
}

/* Who asks for more than half of memory to be free has guests that wait for ever. */
static bool can_be_had(const struct reclaim_options *o, u64 frames)
{
	if (!o->min || o->high <= frames / 2)
		return o->min;
	log_error(
		"memory: watermarks= is ignored: %lluK free of %lluK is more than half: give less",
		(unsigned long long)(o->high << PAGE_SHIFT) >> 10,
		(unsigned long long)(frames << PAGE_SHIFT) >> 10);
	return false;
}

void reclaim_set_watermarks(const struct reclaim_options *o)
{
	struct frame_stats frames;
	bool given;
	u64 least;

	frame_get_stats(&frames);
	given = can_be_had(o, frames.total);
	reclaim.own_frames = frames.total - frames.free;
	least = min(max(frames.total / MIN_PART, (u64)MIN_LEAST), (u64)MIN_MOST);
	watermarks.wake = reclaim_wake;
	watermarks.min = given ? o->min : least;
	watermarks.high = given ? o->high : 3 * least;
	watermarks.low = given ? o->low : 2 * least;
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
	struct thread_options options = {.weight = WEIGHT_DEFAULT};
	struct thread *thread;
	int err = reclaim_init(o);

	cpu_set_fill(&options.allowed);
	if (!err)
		err = thread_create_with(&thread, "kaged", kaged, NULL, &options);
	if (!err)
		thread_detach(thread);
	return err;
}
