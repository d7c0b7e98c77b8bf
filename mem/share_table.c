/* SPDX-License-Identifier: MIT */
#include "mem/share_table.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/watermark.h"

#define LOCKS	     64u
#define PAGE_BUCKETS (PAGE_SIZE / (SHARE_PLACES * sizeof(u64)))
#define FEWEST	     PAGE_BUCKETS
#define FAN_OUT	     (PAGE_SIZE / sizeof(u64)) /* pages to a leaf, leaves to the root */
#define CROWDED	     3u	  /* contents to a bucket: more buckets are made above, */
#define SPARSE	     1u	  /* and taken away below */
#define MEMORY_PART  128u /* the most that the table may be of memory */
#define STEPS	     8u	  /* buckets that one caller adds or takes away */

static_assert(FEWEST >= LOCKS, "a bucket and the one it is split into have one lock");

/* A page of buckets; a page of pointers to such. */
struct leaf {
	u64 *page[FAN_OUT];
};

static struct {
	/* atomic; 0: there is no table */
	u64 buckets;
	u64 taken;    /* places */
	u64 pages;    /* leaves included */
	u64 patience; /* so many places are to be taken before another page is asked for */
	bool changing;
	/* whoever has set changing; others look at what is there for as many buckets as they know of */
	struct leaf *root[FAN_OUT];
	struct spinlock lock[LOCKS]; /* each of the buckets whose number it is, modulo LOCKS */
} table;

static u64 *bucket_at(u64 bucket)
{
	u64 page = bucket / PAGE_BUCKETS;

	return table.root[page / FAN_OUT]->page[page % FAN_OUT] +
	       bucket % PAGE_BUCKETS * SHARE_PLACES;
}

/* The group is above the hash. */
static u64 hash_of(u64 key)
{
	return key ^ (key >> SHARE_HASH_BITS) * 0x9e3779b1u;
}

/* The greatest power of two that is no more than n. */
static u64 top_of(u64 n)
{
	return BIT(63 - (u32)__builtin_clzll(n));
}

static u64 locate(u64 key, u64 buckets)
{
	u64 hash = hash_of(key), top = top_of(buckets), bucket = hash & (2 * top - 1);

	return bucket < buckets ? bucket : hash & (top - 1);
}

struct spinlock *share_lock_of(u64 key)
{
	return &table.lock[hash_of(key) % LOCKS];
}

u64 *share_bucket_of(u64 key)
{
	return bucket_at(locate(key, __atomic_load_n(&table.buckets, __ATOMIC_ACQUIRE)));
}

void share_count_place(int n)
{
	__atomic_fetch_add(&table.taken, (u64)n, __ATOMIC_RELAXED);
}

bool share_table_is_there(void)
{
	return __atomic_load_n(&table.buckets, __ATOMIC_RELAXED) != 0;
}

u64 share_table_taken(void)
{
	return __atomic_load_n(&table.taken, __ATOMIC_RELAXED);
}

u64 share_table_size(void)
{
	return __atomic_load_n(&table.pages, __ATOMIC_RELAXED) * PAGE_SIZE;
}

/* --- Its pages: whoever has set changing ---------------------------------------------------- */

static void *get_page(void)
{
	void *page = frame_alloc_page(FRAME_ZERO | FRAME_FOR(SHARE));

	if (page)
		__atomic_fetch_add(&table.pages, 1, __ATOMIC_RELAXED);
	return page;
}

static void put_page(void *page)
{
	__atomic_fetch_sub(&table.pages, 1, __ATOMIC_RELAXED);
	frame_free_page(page);
}

/*
 * It grows while reclaim makes memory, and is no part of that: it takes nothing of what that needs
 * (R38), nor of what is kept for whom it was promised.
 */
static bool may_have_another(void)
{
	struct frame_stats frames;

	if (watermark_free() <= watermarks.min)
		return false;
	frame_get_stats(&frames);
	return table.pages < frames.total / MEMORY_PART;
}

/* That of the page, if there is no page before it. */
static void drop_leaf(u64 page)
{
	struct leaf **leaf = &table.root[page / FAN_OUT];

	if (page % FAN_OUT)
		return;
	put_page(*leaf);
	*leaf = NULL;
}

/* A page for the bucket, which is the first of it. */
static bool add_page(u64 bucket)
{
	u64 page = bucket / PAGE_BUCKETS;
	struct leaf **leaf;

	if (page / FAN_OUT >= FAN_OUT)
		return false;
	leaf = &table.root[page / FAN_OUT];
	if (!*leaf)
		*leaf = get_page();
	if (!*leaf)
		return false;
	(*leaf)->page[page % FAN_OUT] = get_page();
	if ((*leaf)->page[page % FAN_OUT])
		return true;
	drop_leaf(page);
	return false;
}

/* That of the bucket, which was the first of it and is there no more. */
static void remove_page(u64 bucket)
{
	u64 page = bucket / PAGE_BUCKETS;

	put_page(table.root[page / FAN_OUT]->page[page % FAN_OUT]);
	drop_leaf(page);
}

/* --- One bucket more, or less: whoever has set changing ------------------------------------- */

static void give_up_for_now(void)
{
	u64 taken = __atomic_load_n(&table.taken, __ATOMIC_RELAXED);

	/* In a table that is full, or nearly so, no more places come to be taken. */
	__atomic_store_n(&table.patience,
			 min(taken + PAGE_BUCKETS, (SHARE_PLACES - 1) * table.buckets),
			 __ATOMIC_RELAXED);
}

/* The next bucket takes what is its own of the bucket that it was a part of. */
static bool split(void)
{
	u64 fresh = table.buckets, *from, *to;
	struct spinlock *lock = &table.lock[fresh % LOCKS];

	if (fresh % PAGE_BUCKETS == 0 && (!may_have_another() || !add_page(fresh))) {
		give_up_for_now();
		return false;
	}
	from = bucket_at(fresh - top_of(fresh));
	to = bucket_at(fresh);
	spin_lock(lock);
	for (u32 i = 0; i < SHARE_PLACES; i++) {
		if (!from[i] || locate(share_key_at(from[i]), fresh + 1) != fresh)
			continue;
		to[i] = from[i];
		from[i] = 0;
	}
	__atomic_store_n(&table.buckets, fresh + 1, __ATOMIC_RELEASE);
	spin_unlock(lock);
	return true;
}

/* False: there is no room, and it is found no more. */
static bool put(u64 *bucket, u64 place)
{
	for (u32 i = 0; i < SHARE_PLACES; i++) {
		if (bucket[i])
			continue;
		bucket[i] = place;
		return true;
	}
	return false;
}

/* The last bucket goes back to the one that it was split from. */
static void merge(void)
{
	u64 last = table.buckets - 1, *from = bucket_at(last), *to;
	struct spinlock *lock = &table.lock[last % LOCKS];

	to = bucket_at(last - top_of(last));
	spin_lock(lock);
	for (u32 i = 0; i < SHARE_PLACES; i++) {
		if (from[i] && !put(to, from[i])) {
			share_count_place(-1);
			share_count_evicted();
		}
		from[i] = 0;
	}
	__atomic_store_n(&table.buckets, last, __ATOMIC_RELEASE);
	spin_unlock(lock);
	/* Who looked at a bucket of this page held a lock that has been taken since. */
	if (last % PAGE_BUCKETS == 0)
		remove_page(last);
	__atomic_store_n(&table.patience, 0, __ATOMIC_RELAXED);
}

/* Whether it should have more buckets (1) or fewer (-1). */
static int wanted(void)
{
	u64 buckets = __atomic_load_n(&table.buckets, __ATOMIC_RELAXED);
	u64 taken = __atomic_load_n(&table.taken, __ATOMIC_RELAXED);

	if (taken > CROWDED * buckets)
		return taken >= __atomic_load_n(&table.patience, __ATOMIC_RELAXED);
	return taken < SPARSE * buckets && buckets > FEWEST ? -1 : 0;
}

/*
 * One at a time; others go without, and leave it to whoever is at it, who looks once more after it. Of
 * an empty table nothing is left but what it began with.
 */
void share_table_fit(void)
{
	for (u32 i = 0; wanted(); i++) {
		bool done = true;

		if (i >= STEPS && __atomic_load_n(&table.taken, __ATOMIC_RELAXED))
			return;
		if (__atomic_exchange_n(&table.changing, true, __ATOMIC_ACQUIRE))
			return;
		if (wanted() > 0)
			done = split();
		else if (wanted() < 0)
			merge();
		__atomic_store_n(&table.changing, false, __ATOMIC_RELEASE);
		if (!done)
			return;
	}
}

int share_table_init(void)
{
	memset(&table, 0, sizeof(table));
	for (u32 i = 0; i < LOCKS; i++)
		spin_init(&table.lock[i], "share", LOCK_SHARE);
	if (!add_page(0))
		return ERR_NOMEM;
	table.buckets = FEWEST;
	return 0;
}
