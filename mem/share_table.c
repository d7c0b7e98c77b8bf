/* SPDX-License-Identifier: MIT */
#include "mem/share_table.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/watermark.h"

#define LOCKS	      64u
#define PAGE_BUCKETS  (PAGE_SIZE / sizeof(struct bucket))
#define FEWEST	      PAGE_BUCKETS
#define FAN_OUT	      (PAGE_SIZE / sizeof(u64)) /* pages to a leaf, leaves to the root */
#define CROWDED	      8u    /* contents to a bucket: more buckets are made above, */
#define SPARSE	      4u    /* and taken away below */
#define FULL	      9u    /* so many, and a search for room is not worth it */
#define LARGE	      1024u /* buckets; of fewer a key often has but one, so they are less full: */
#define SMALL_CROWDED 3u
#define SMALL_SPARSE  1u
#define MEMORY_PART   128u /* the most that the table may be of memory */
#define STEPS	      8u   /* buckets that one caller adds or takes away */

/* The first `count` are taken. */
struct bucket {
	u32 low[SHARE_PLACES];	/* of a place */
	u16 high[SHARE_PLACES]; /* the rest of it, and above that a part of its key: table.tag */
	u16 count;
	u16 found; /* by others, one bit each; all bits are cleared when one of such is taken */
};
static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");
static_assert(FEWEST >= LOCKS, "a bucket and the one it is split into have one lock");

#define TAG_FEWEST 4u /* bits of `high` */

/* A page of pointers to pages of buckets. */
struct leaf {
	struct bucket *page[FAN_OUT];
};

static struct {
	/* set once */
	u16 tag;	/* the bits of `high` that are no part of a place */
	u64 pages_most; /* leaves included */
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

static struct bucket *bucket_at(u64 bucket)
{
	u64 page = bucket / PAGE_BUCKETS;

	return table.root[page / FAN_OUT]->page[page % FAN_OUT] + bucket % PAGE_BUCKETS;
}

/* The group is above the hash. */
static u64 hash_of(u64 key)
{
	return key ^ (key >> SHARE_HASH_BITS) * 0x9e3779b1u;
}

/* What leads to the key's other bucket, which has the same lock. */
static u64 other_hash(u64 hash)
{
	return hash ^ (hash * 0x9e3779b97f4a7c15ull >> 20) * LOCKS;
}

/* The greatest power of two that is no more than n. */
static u64 top_of(u64 n)
{
	return BIT(63 - (u32)__builtin_clzll(n));
}

static u64 locate(u64 hash, u64 buckets)
{
	u64 top = top_of(buckets), bucket = hash & (2 * top - 1);

	return bucket < buckets ? bucket : hash & (top - 1);
}

struct spinlock *share_lock_of(u64 key)
{
	return &table.lock[hash_of(key) % LOCKS];
}

static void count_places(int n)
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

/* --- A bucket: under its lock --------------------------------------------------------------- */

static u16 tag_of(u64 key)
{
	return (u16)(key >> (SHARE_HASH_BITS - 16)) & table.tag;
}

static u64 place_in(const struct bucket *b, u32 i)
{
	return (u64)(b->high[i] & (u16)~table.tag) << 32 | b->low[i];
}

static void set_place(struct bucket *b, u32 i, u64 key, u64 place)
{
	b->low[i] = (u32)place;
	b->high[i] = (u16)(place >> 32) | tag_of(key);
}

static bool was_found(const struct bucket *b, u32 i)
{
	return b->found >> i & 1;
}

static void set_found(struct bucket *b, u32 i, bool found)
{
	b->found = (u16)((b->found & ~BIT(i)) | (u64)found << i);
}

/* False: there is no room. */
static bool put(struct bucket *b, u64 key, u64 place, bool found)
{
	if (b->count == SHARE_PLACES)
		return false;
	set_place(b, b->count, key, place);
	set_found(b, b->count++, found);
	return true;
}

/* The last one comes in its place. */
static void drop(struct bucket *b, u32 i)
{
	u32 last = --b->count;

	b->low[i] = b->low[last];
	b->high[i] = b->high[last];
	set_found(b, i, was_found(b, last));
}

/* The place with the key; SHARE_PLACES: none has it. */
static u32 index_of(const struct bucket *b, u64 key)
{
	u16 tag = tag_of(key);

	for (u32 i = 0; i < b->count; i++) {
		if (!((b->high[i] ^ tag) & table.tag) && share_key_at(place_in(b, i)) == key)
			return i;
	}
	return SHARE_PLACES;
}

/* One that nobody found; SHARE_PLACES: all were. By turns of the key. */
static u32 index_to_evict(const struct bucket *b, u64 key)
{
	for (u32 i = 0; i < SHARE_PLACES; i++) {
		u32 n = (u32)(key + i) % SHARE_PLACES;

		if (!was_found(b, n))
			return n;
	}
	return SHARE_PLACES;
}

/* --- The two of a key: under its lock ------------------------------------------------------- */

struct pair {
	struct bucket *bucket[2];
};

static struct pair pair_among(u64 key, u64 buckets)
{
	u64 hash = hash_of(key);

	return (struct pair){
		{bucket_at(locate(hash, buckets)), bucket_at(locate(other_hash(hash), buckets))}};
}

static struct pair pair_of(u64 key)
{
	return pair_among(key, __atomic_load_n(&table.buckets, __ATOMIC_ACQUIRE));
}

static struct bucket *other_than(const struct bucket *b, struct pair p)
{
	return p.bucket[p.bucket[0] == b];
}

static struct bucket *emptier(struct pair p)
{
	return p.bucket[p.bucket[1]->count < p.bucket[0]->count];
}

u64 share_table_find(u64 key)
{
	struct pair p = pair_of(key);

	for (u32 n = 0; n < 2; n++) {
		u32 i = index_of(p.bucket[n], key);

		if (i == SHARE_PLACES)
			continue;
		set_found(p.bucket[n], i, true);
		return place_in(p.bucket[n], i);
	}
	return 0;
}

void share_table_remove(u64 key, u64 place)
{
	struct pair p = pair_of(key);

	for (u32 n = 0; n < 2; n++) {
		struct bucket *b = p.bucket[n];

		for (u32 i = 0; i < b->count; i++) {
			if (b->low[i] != (u32)place || place_in(b, i) != place)
				continue;
			drop(b, i);
			count_places(-1);
			return;
		}
	}
}

/*
 * What is in a full bucket may have a second one with room, which has the same lock. Moves one there,
 * as cuckoos do (Pagh and Rodler, 2004), but no further. False: none has.
 */
static bool make_room_in(struct bucket *b)
{
	for (u32 i = 0; i < SHARE_PLACES; i++) {
		u64 place = place_in(b, i), key = share_key_at(place);

		if (!put(other_than(b, pair_of(key)), key, place, was_found(b, i)))
			continue;
		drop(b, i);
		return true;
	}
	return false;
}

/* In one of the two, which both are full. */
static bool make_room(struct pair p)
{
	u64 buckets = __atomic_load_n(&table.buckets, __ATOMIC_RELAXED);

	if (__atomic_load_n(&table.taken, __ATOMIC_RELAXED) >= FULL * buckets)
		return false;
	return make_room_in(p.bucket[0]) || make_room_in(p.bucket[1]);
}

/* There is no room in either. */
static void evict_for(struct pair p, u64 key, u64 place)
{
	struct bucket *b = p.bucket[0];
	u32 i = index_to_evict(b, key);

	share_count_evicted();
	if (i == SHARE_PLACES) {
		b = p.bucket[1];
		i = index_to_evict(b, key);
	}
	if (i == SHARE_PLACES) {
		b->found = 0;
		i = (u32)(key % SHARE_PLACES);
	}
	set_place(b, i, key, place);
}

void share_table_add(u64 key, u64 place)
{
	struct spinlock *lock = share_lock_of(key);
	struct pair p;

	BUG_ON(place >> 32 & table.tag);
	spin_lock(lock);
	p = pair_of(key);
	if (put(emptier(p), key, place, false) ||
	    (make_room(p) && put(emptier(p), key, place, false)))
		count_places(1);
	else
		evict_for(p, key, place);
	spin_unlock(lock);
	share_table_fit();
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
	return table.pages < table.pages_most && watermark_free() > watermarks.min;
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
	__atomic_store_n(&table.patience, min(taken + PAGE_BUCKETS, FULL * table.buckets),
			 __ATOMIC_RELAXED);
}

/* Whether the key leads to the bucket. */
static bool leads_to(u64 key, u64 bucket, u64 buckets)
{
	u64 hash = hash_of(key);

	return locate(hash, buckets) == bucket || locate(other_hash(hash), buckets) == bucket;
}

/* The next bucket takes what is its own alone of the bucket that it was a part of. */
static bool split(void)
{
	u64 fresh = table.buckets, old = fresh - top_of(fresh);
	struct spinlock *lock = &table.lock[fresh % LOCKS];
	struct bucket *from, *to;

	if (fresh % PAGE_BUCKETS == 0 && (!may_have_another() || !add_page(fresh))) {
		give_up_for_now();
		return false;
	}
	from = bucket_at(old);
	to = bucket_at(fresh);
	spin_lock(lock);
	for (u32 i = from->count; i-- > 0;) {
		u64 place = place_in(from, i), key = share_key_at(place);

		if (leads_to(key, old, fresh + 1))
			continue;
		(void)put(to, key, place, was_found(from, i)); /* it is as large */
		drop(from, i);
	}
	__atomic_store_n(&table.buckets, fresh + 1, __ATOMIC_RELEASE);
	spin_unlock(lock);
	return true;
}

/* The last bucket goes back to the one that it was split from, or to others that its keys lead to. */
static void merge(void)
{
	u64 last = table.buckets - 1;
	struct spinlock *lock = &table.lock[last % LOCKS];
	struct bucket *from = bucket_at(last);

	spin_lock(lock);
	for (u32 i = 0; i < from->count; i++) {
		u64 place = place_in(from, i), key = share_key_at(place);

		if (put(emptier(pair_among(key, last)), key, place, was_found(from, i)))
			continue;
		count_places(-1);
		share_count_evicted();
	}
	from->count = 0;
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

	if (taken > (buckets < LARGE ? SMALL_CROWDED : CROWDED) * buckets)
		return taken >= __atomic_load_n(&table.patience, __ATOMIC_RELAXED);
	if (taken < (buckets <= LARGE ? SMALL_SPARSE : SPARSE) * buckets)
		return buckets > FEWEST ? -1 : 0;
	return 0;
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
		/* And only then the look at what is taken: who has just gone without has counted before. */
		__atomic_store_n(&table.changing, false, __ATOMIC_SEQ_CST);
		if (!done)
			return;
	}
}

int share_table_init(u64 last_place)
{
	u32 high = 0; /* bits of the last place that `high` has */
	struct frame_stats frames;

	while (last_place >> 32 >> high)
		high++;
	BUG_ON(high > 16 - TAG_FEWEST);
	memset(&table, 0, sizeof(table));
	table.tag = (u16)(0xffffu << high);
	frame_get_stats(&frames);
	table.pages_most = frames.total / MEMORY_PART;
	for (u32 i = 0; i < LOCKS; i++)
		spin_init(&table.lock[i], "share", LOCK_SHARE);
	if (!add_page(0))
		return ERR_NOMEM;
	table.buckets = FEWEST;
	return 0;
}
