/* SPDX-License-Identifier: MIT */
#include "mem/reclaim.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/vector.h"
#include "mem/watermark.h"
#include "smp/mutex.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define BATCH	      64u	  /* frames that are taken under one hold of the lock, */
#define TRIES	      512u	  /* and pages that are tried for them: not all of them pack */
#define ROUND_GAP_NS  20000000ull /* between two rounds over one object, */
#define URGENT_GAP_NS 2000000ull  /* and where guests wait */
#define HELP_WAIT_NS  10000000ull
#define RETRY_NS      50000000ull /* after a try in vain; doubled for each that follows, up to */
#define RETRY_MOST_NS 1600000000ull

/* Between two lines of the log, doubled for each that comes within the most. */
#define TELL_GAP_NS	 1000000000ull
#define TELL_GAP_MOST_NS 600000000000ull

/* A part of memory for each watermark, and bounds in frames. */
#define MIN_PART  256
#define MIN_LEAST 256u
#define MIN_MOST  16384u

static struct mutex reclaim_lock;
/* reclaim_lock */
static struct list targets = LIST_INIT(targets);
static struct reclaim_stats stats;
static u64 tries; /* left for this call of reclaim() */
static enum reclaim_state told;
static u64 told_ns; /* 0: never */
static u64 tell_gap_ns;

static struct wait_queue kaged_wait, progress_wait;
static bool woken;   /* atomic */
static u64 progress; /* atomic; counts batches that freed something */

/* --- Aging ---------------------------------------------------------------------------------- */

/* Not used by anybody, and worth a try. */
static bool may_go(u64 entry)
{
	if (gmem_entry_state(entry) != GMEM_GOT_PAGE || (entry & GMEM_FOREIGN))
		return false;
	return (entry & (GMEM_HARD | GMEM_DIRTY)) != GMEM_HARD;
}

/* What the guest used gets the generation of now; what is as old as it can be stays that old. */
static void age_entry(struct reclaim_target *t, u64 *e, bool young)
{
	struct gmem *g = t->object;
	u64 entry = gmem_entry_load(e), now = gmem_generation_bits(g);
	u64 oldest = (now - ((RECLAIM_AGES - 2ull) << GMEM_GEN_SHIFT)) & GMEM_GEN_MASK;
	u32 age;

	do {
		if (!gmem_entry_resident(entry))
			return;
		age = young ? 0 : min(gmem_entry_age(g, entry), RECLAIM_AGES - 2u);
		if (age == gmem_entry_age(g, entry))
			break;
	} while (
		!gmem_entry_exchange(e, &entry, (entry & ~GMEM_GEN_MASK) | (young ? now : oldest)));
	stats.aged++;
	stats.young += young;
	if (may_go(entry))
		t->by_age[age]++;
}

static void age_chunk(struct reclaim_target *t, u64 first)
{
	struct gmem *g = t->object;
	u64 young[GMEM_LARGE_PAGES / 64] = {0};
	u64 pages = min(g->pages - first, (u64)GMEM_LARGE_PAGES);
	u64 *e = gmem_entry_find(g, first);

	if (!e || !__atomic_load_n(&gmem_chunk_of(g, first)->resident, __ATOMIC_RELAXED))
		return;
	gmem_age_marked(g, first, pages, young);
	for (u64 i = 0; i < pages; i++)
		age_entry(t, e + i, young[i / 64] & BIT(i % 64));
}

/* reclaim_lock. All of the object. */
static void age(struct reclaim_target *t)
{
	struct gmem *g = t->object;

	memset(t->by_age, 0, sizeof(t->by_age));
	t->aged_ns = clock_ns();
	__atomic_fetch_add(&g->generation, 1, __ATOMIC_RELAXED);
	for (u64 first = 0; first < g->pages; first += GMEM_LARGE_PAGES)
		age_chunk(t, first);
	stats.rounds++;
}

/* --- Taking --------------------------------------------------------------------------------- */

/* Up to `most` of the pages of 2 MiB that are so old at least; how many. */
static u64 mark_old(struct gmem *g, u64 first, u64 pages, u32 age, u64 most, u64 *marked)
{
	const u64 *e = gmem_entry_find(g, first);
	u64 n = 0;

	for (u64 i = 0; e && i < pages && n < most; i++) {
		u64 entry = gmem_entry_load(e + i);

		if (!may_go(entry) || gmem_entry_age(g, entry) < age)
			continue;
		marked[i / 64] |= BIT(i % 64);
		n++;
	}
	return n;
}

static void count(const struct gmem_taken *t)
{
	stats.zero += t->zero;
	stats.filled += t->filled;
	stats.packed += t->packed;
	stats.hard += t->hard;
	stats.wanted += t->wanted;
	stats.kept += t->kept;
}

/*
 * reclaim_lock. Takes pages of at least this age, from where it ended the last time, until so many
 * frames are free, the object has been gone through or there have been tries enough.
 */
static u64 take(struct reclaim_target *t, u32 age, u64 want)
{
	struct gmem *g = t->object;
	u64 chunks = (g->pages + GMEM_LARGE_PAGES - 1) / GMEM_LARGE_PAGES;
	struct gmem_taken taken = {0};

	for (u64 i = 0; i < chunks && taken.freed < want && !taken.full && tries; i++) {
		u64 first = t->chunk * GMEM_LARGE_PAGES, marked[GMEM_LARGE_PAGES / 64] = {0};
		u64 pages = min(g->pages - first, (u64)GMEM_LARGE_PAGES);
		u64 before = taken.freed, most = min(want - before, tries);
		u64 n = mark_old(g, first, pages, age, most, marked);

		tries -= n;
		if (n)
			gmem_take(g, first, pages, marked, &taken);
		/* Where there may be more it goes on the next time, unless these do not go. */
		if (n < most || taken.freed == before)
			t->chunk = (t->chunk + 1) % chunks;
	}
	count(&taken);
	return taken.freed;
}

/* reclaim_lock. From all objects, each in turn, so that none gives all. */
static u64 take_all(u32 age, u64 want)
{
	struct reclaim_target *t;
	u64 freed = 0, left = 0;

	list_for_each_entry (t, &targets, link)
		left++;
	list_for_each_entry (t, &targets, link) {
		freed += take(t, age, (want - min(freed, want) + left - 1) / left);
		left--;
		if (freed >= want)
			break;
	}
	return freed;
}

/* The oldest age of which, and of all above, there are so many pages; 1 where there are not. */
static u32 age_for(u64 want)
{
	u32 age = RECLAIM_AGES - 1;
	u64 pages = 0;

	for (; age > 1; age--) {
		struct reclaim_target *t;

		list_for_each_entry (t, &targets, link)
			pages += t->by_age[age];
		if (pages >= want)
			break;
	}
	return age;
}

/* reclaim_lock. Whether any object was aged: all whose last round is long enough ago. */
static bool age_all(bool urgent)
{
	struct reclaim_target *t;
	u64 now = clock_ns(), gap = urgent ? URGENT_GAP_NS : ROUND_GAP_NS;
	bool any = false;

	list_for_each_entry (t, &targets, link) {
		if (t->aged_ns && now - t->aged_ns < gap)
			continue;
		age(t);
		any = true;
	}
	return any;
}

static bool move_packed(const struct pool_owner *owner, u64 handle, void *arg)
{
	struct reclaim_target *t;

	(void)arg;
	/* Only of objects that are here can it be said that they are still there. */
	list_for_each_entry (t, &targets, link) {
		if (t->object == owner->object)
			return gmem_move_packed(owner->object, owner->index, handle);
	}
	return false;
}

/* reclaim_lock. */
static u64 compact(void)
{
	u64 freed = pool_compact(move_packed, NULL);

	stats.compacted += freed;
	return freed;
}

/* reclaim_lock. Of this age and above nothing is left, as far as anybody knows. */
static void forget_ages(u32 from)
{
	struct reclaim_target *t;

	list_for_each_entry (t, &targets, link) {
		for (u32 age = from; age < RECLAIM_AGES; age++)
			t->by_age[age] = 0;
	}
}

/* reclaim_lock. The oldest pages first, and no younger ones than those of the last round. */
static u64 take_oldest(u64 want)
{
	u64 freed = 0;
	u32 age;

	do {
		age = age_for(want - freed);
		freed += take_all(age, want - freed);
		if (freed < want && tries)
			forget_ages(age);
	} while (freed < want && tries && age > 1);
	return freed;
}

/*
 * reclaim_lock. A round of aging costs a look at every page, so it is made when what the last one
 * found is used up. urgent: somebody waits, and any page will do at last, for others may be wanted
 * less.
 */
static u64 reclaim(u64 want, bool urgent)
{
	u64 freed;

	tries = TRIES;
	freed = take_oldest(want);
	if (freed < want && tries && age_all(urgent))
		freed += take_oldest(want - freed);
	if (freed < want)
		freed += compact();
	if (freed == 0 && urgent)
		freed += take_all(0, want);
	if (freed)
		__atomic_fetch_add(&progress, 1, __ATOMIC_RELEASE);
	else
		stats.fruitless++;
	return freed;
}

/* --- What the operator is told -------------------------------------------------------------- */

static const char *const state_texts[] = {
	[RECLAIM_ENOUGH] = "enough is free",
	[RECLAIM_LOW] = "low: cold pages are taken",
	[RECLAIM_SHORT] = "short: guests wait for pages to be taken",
};

/* From low on until high is reached it is low. */
static enum reclaim_state state_now(u64 free)
{
	if (free < watermarks.min)
		return RECLAIM_SHORT;
	if (free < watermarks.low || (free < watermarks.high && told != RECLAIM_ENOUGH))
		return RECLAIM_LOW;
	return RECLAIM_ENOUGH;
}

/* reclaim_lock. When the state has changed, but not more often than anybody wants to read. */
static void tell_state(void)
{
	u64 now = clock_ns(), free = frame_free_estimate();
	enum reclaim_state state = state_now(free);
	struct pool_stats pool;

	if (state == told || (told_ns && now - told_ns < tell_gap_ns))
		return;
	if (told_ns && now - told_ns < TELL_GAP_MOST_NS)
		tell_gap_ns = min(2 * tell_gap_ns, TELL_GAP_MOST_NS);
	else
		tell_gap_ns = TELL_GAP_NS;
	told = state;
	told_ns = now;
	pool_get_stats(&pool);
	log_info("memory: %s: %llu frames free; %llu pages packed in %llu frames",
		 state_texts[state], (unsigned long long)free, (unsigned long long)pool.objects,
		 (unsigned long long)pool.frames);
}

/* --- Whoever does it ------------------------------------------------------------------------ */

void reclaim_wake(void)
{
	if (__atomic_exchange_n(&woken, true, __ATOMIC_SEQ_CST))
		return;
	wait_wake_all(&kaged_wait);
}

bool reclaim_help(u32 order)
{
	u64 before = __atomic_load_n(&progress, __ATOMIC_ACQUIRE);
	bool again;

	if (!watermarks.min)
		return false;
	if (!mutex_trylock(&reclaim_lock)) {
		/* Somebody is at it. */
		(void)wait_event_until(&progress_wait,
				       __atomic_load_n(&progress, __ATOMIC_ACQUIRE) != before,
				       clock_ns() + HELP_WAIT_NS);
		return true;
	}
	/* Another may have done it meanwhile; but more small frames make no large one. */
	if (frame_free_estimate() >= watermarks.low)
		again = order == 0;
	else
		again = reclaim(BATCH, true) || !tries;
	stats.direct++;
	tell_state();
	mutex_unlock(&reclaim_lock);
	wait_wake_all(&progress_wait);
	return again;
}

/* From low to high, in batches, so that others get the lock between. False: in vain. */
static bool fill_up(void)
{
	u64 free, freed;

	do {
		mutex_lock(&reclaim_lock);
		free = frame_free_estimate();
		freed = free < watermarks.high
				? reclaim(min(watermarks.high - free, (u64)BATCH), false)
				: 0;
		tell_state();
		mutex_unlock(&reclaim_lock);
		wait_wake_all(&progress_wait);
	} while (freed);
	return free >= watermarks.low;
}

static void kaged(void *arg)
{
	u64 pause = RETRY_NS;

	(void)arg;
	for (;;) {
		wait_event(&kaged_wait, __atomic_load_n(&woken, __ATOMIC_SEQ_CST));
		__atomic_store_n(&woken, false, __ATOMIC_SEQ_CST);
		if (fill_up()) {
			pause = RETRY_NS;
			continue;
		}
		/* Time may make pages old. Whoever cannot wait helps. */
		thread_sleep_until(clock_ns() + pause);
		pause = min(2 * pause, (u64)RETRY_MOST_NS);
	}
}

void reclaim_add(struct reclaim_target *t, struct gmem *object)
{
	memset(t, 0, sizeof(*t));
	if (object->order)
		return;
	mutex_lock(&reclaim_lock);
	t->object = object;
	list_add_tail(&t->link, &targets);
	mutex_unlock(&reclaim_lock);
}

void reclaim_remove(struct reclaim_target *t)
{
	if (!t->object)
		return;
	mutex_lock(&reclaim_lock);
	list_del(&t->link);
	t->object = NULL;
	mutex_unlock(&reclaim_lock);
}

int reclaim_init(void)
{
	struct frame_stats frames;
	u64 least;
	int err;

	mutex_init(&reclaim_lock, "reclaim", LOCK_RECLAIM);
	wait_queue_init(&kaged_wait);
	wait_queue_init(&progress_wait);
	list_init(&targets);
	memset(&stats, 0, sizeof(stats));
	told = RECLAIM_ENOUGH;
	told_ns = 0;
	pool_init();
	err = vector_init();
	if (err)
		return err;
	frame_get_stats(&frames);
	least = min(max(frames.total / MIN_PART, (u64)MIN_LEAST), (u64)MIN_MOST);
	watermarks.wake = reclaim_wake;
	watermarks.min = least;
	watermarks.high = 3 * least;
	watermarks.low = 2 * least;
	return 0;
}

int reclaim_start(void)
{
	struct thread_options options = {.weight = WEIGHT_DAEMON};
	struct thread *thread;
	int err = reclaim_init();

	cpu_set_fill(&options.allowed);
	if (!err)
		err = thread_create_with(&thread, "kaged", kaged, NULL, &options);
	if (!err)
		thread_detach(thread);
	return err;
}

/* --- Statistics ----------------------------------------------------------------------------- */

static const struct stat_desc stat_descs[] = {RECLAIM_STATS(STAT_DESC)};
STAT_CHECK(reclaim_stats, stat_descs);

static u64 read_stat(const void *owner, u32 i)
{
	struct reclaim_stats s;

	(void)owner;
	mutex_lock(&reclaim_lock);
	s = stats;
	mutex_unlock(&reclaim_lock);
	return stat_read_field(&s, i);
}

struct stat_group reclaim_stat_group = {
	.scope = "",
	.name = "reclaim",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = read_stat,
};
