/* SPDX-License-Identifier: MIT */
#include "mem/share.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "mem/gmem.h"
#include "mem/lz4.h"
#include "mem/pool.h"
#include "mem/share_table.h"

/* A key: the group, and as much of the hash as there is room for. Two groups have no key in common. */
#define HASH_MASK (BIT(SHARE_HASH_BITS) - 1)

/* A place: 0, or where contents are, and part of their key. */
#define PLACE_FRAME	BIT(0) /* else an object of the pool */
#define PLACE_FOUND	BIT(1) /* since others were last evicted for want of such */
#define PLACE_TAG_SHIFT 2
#define PLACE_TAG_BITS	10
#define PLACE_TAG_MASK	((BIT(PLACE_TAG_BITS) - 1) << PLACE_TAG_SHIFT)
#define PLACE_SHIFT	12
static_assert(POOL_HANDLE_BITS + PLACE_SHIFT <= 64, "a place holds a handle");

static struct {
	u64 seed[2]; /* set once */
	/* atomic */
	struct share_stats stats; /* but for frames_saved, which is the sum of: */
	u64 saved[SHARE_GROUPS];
} share;

#ifdef WEIR_HOSTED
u64 share_hash_mask = ~0ull;
#else
#define share_hash_mask (~0ull)
#endif

#define COUNT(field, n) __atomic_fetch_add(&share.stats.field, (u64)(n), __ATOMIC_RELAXED)

int share_init(void)
{
	memset(&share.stats, 0, sizeof(share.stats));
	memset(share.saved, 0, sizeof(share.saved));
	/* So that nobody computes at home what collides here. */
	share.seed[0] = rdtsc() * 0x9e3779b97f4a7c15ull | 1;
	share.seed[1] = (share.seed[0] ^ (u64)rdtsc()) * 0xd1342543de82ef95ull | 1;
	return share_table_init();
}

/* --- Keys and places ------------------------------------------------------------------------ */

static inline u64 fold(u64 a, u64 b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (u64)product ^ (u64)(product >> 64);
}

u64 share_key(u32 group, const void *page)
{
	const u64 *p = page;
	u64 a = share.seed[0], b = share.seed[1], hash;

	if (!group || !share_table_is_there())
		return 0;
	for (u32 i = 0; i < PAGE_SIZE / sizeof(*p); i += 4) {
		a = fold(p[i] ^ share.seed[0], p[i + 1] ^ a);
		b = fold(p[i + 2] ^ share.seed[1], p[i + 3] ^ b);
	}
	hash = fold(a ^ share.seed[1], b ^ share.seed[0]) & share_hash_mask;
	return (u64)group << SHARE_HASH_BITS | (hash & HASH_MASK);
}

static u64 tag_of(u64 key)
{
	return (key & HASH_MASK) >> (SHARE_HASH_BITS - PLACE_TAG_BITS) << PLACE_TAG_SHIFT;
}

static u64 place_of_frame(pfn_t pfn)
{
	return pfn.v << PLACE_SHIFT | PLACE_FRAME;
}

static u64 place_of_object(u64 handle)
{
	return handle << PLACE_SHIFT;
}

static struct frame *frame_at(u64 place)
{
	return frame_of(PFN(place >> PLACE_SHIFT));
}

static bool same_place(u64 a, u64 b)
{
	return a >> PLACE_SHIFT == b >> PLACE_SHIFT && !((a ^ b) & PLACE_FRAME);
}

u64 share_key_at(u64 place)
{
	return place & PLACE_FRAME ? frame_at(place)->share.key
				   : pool_share(place >> PLACE_SHIFT)->key;
}

/* --- References: under the lock of the key --- */

/*
 * What a frame comes from: the object that it shows, shifted; or whose entries lead to it, with
 * OWNERS: all their gmems, one xor the other, so that when one entry is left its gmem is known.
 */
#define OWNERS	     BIT(0)
#define ORIGIN_SHIFT 1
static_assert(POOL_HANDLE_BITS + ORIGIN_SHIFT <= 64, "an origin holds a handle");

static u64 handle_shown(const struct frame *f)
{
	return f->share.origin & OWNERS ? 0 : f->share.origin >> ORIGIN_SHIFT;
}

/* An entry of g comes to lead to the frame, or does no more. */
static void change_owners(struct frame *f, const struct gmem *g)
{
	if (f->share.origin & OWNERS)
		f->share.origin ^= (u64)(uintptr_t)g;
}

/* Who has the frame alone, which is no object's; NULL: several, or one who holds it for a moment. */
static struct gmem *alone_in(const struct frame *f)
{
	if (!(f->share.origin & OWNERS) || f->refs != 1)
		return NULL;
	return (struct gmem *)(uintptr_t)(f->share.origin & ~OWNERS);
}

/* An entry of theirs leads to the frame, or did until now: they are there. */
static void count_alone(struct gmem *was, struct gmem *is)
{
	if (was == is)
		return;
	if (was)
		__atomic_fetch_sub(&was->alone, 1, __ATOMIC_RELAXED);
	if (is)
		__atomic_fetch_add(&is->alone, 1, __ATOMIC_RELAXED);
}

static u32 *refs_at(u64 place)
{
	return place & PLACE_FRAME ? &frame_at(place)->refs
				   : &pool_share(place >> PLACE_SHIFT)->refs;
}

static void count_saved(u64 key, u64 n)
{
	__atomic_fetch_add(&share.saved[(key >> SHARE_HASH_BITS) % SHARE_GROUPS], n,
			   __ATOMIC_RELAXED);
}

u64 share_saved(u32 group)
{
	return __atomic_load_n(&share.saved[group % SHARE_GROUPS], __ATOMIC_RELAXED);
}

static bool ref_place(u64 place)
{
	struct gmem *alone = place & PLACE_FRAME ? alone_in(frame_at(place)) : NULL;
	u32 *refs = refs_at(place);

	if (*refs == UINT32_MAX)
		return false;
	/* Others look at it without the lock. */
	__atomic_store_n(refs, *refs + 1, __ATOMIC_RELAXED);
	if (place & PLACE_FRAME) {
		count_alone(alone, NULL);
		count_saved(share_key_at(place), 1);
	} else {
		COUNT(packed_saved, 1);
	}
	return true;
}

static void remove_place(u64 key, u64 place)
{
	u64 *at = share_bucket_of(key);

	for (u32 i = 0; i < SHARE_PLACES; i++) {
		if (at[i] && same_place(at[i], place)) {
			at[i] = 0;
			share_count_place(-1);
			return;
		}
	}
}

/* True: it was the last, and nobody finds it any more; what it was is the caller's to free. */
static bool unref_place(u64 key, u64 place)
{
	u32 *refs = refs_at(place);

	BUG_ON(*refs == 0);
	if (*refs == 1) {
		if (place & PLACE_FRAME)
			count_alone(alone_in(frame_at(place)), NULL);
		remove_place(key, place);
		return true;
	}
	__atomic_store_n(refs, *refs - 1, __ATOMIC_RELAXED);
	if (place & PLACE_FRAME) {
		count_alone(NULL, alone_in(frame_at(place)));
		count_saved(key, -1ull);
	} else {
		COUNT(packed_saved, -1);
	}
	return false;
}

/* --- The table ------------------------------------------------------------------------------ */

/* The first with this key, which gets a reference; 0: none. */
static u64 look_up(u64 key)
{
	u64 *at = share_bucket_of(key);

	for (u32 i = 0; i < SHARE_PLACES; i++) {
		if (!at[i] || (at[i] & PLACE_TAG_MASK) != tag_of(key) || share_key_at(at[i]) != key)
			continue;
		if (!ref_place(at[i]))
			return 0;
		at[i] |= PLACE_FOUND;
		return at[i];
	}
	return 0;
}

/* A free place, or one of contents that nobody found; in the end any, by turns of the key. */
static u64 *choose_place(u64 key)
{
	u64 *at = share_bucket_of(key);

	for (u32 i = 0; i < SHARE_PLACES; i++) {
		if (at[i])
			continue;
		share_count_place(1);
		return &at[i];
	}
	COUNT(evicted, 1);
	for (u32 i = 0; i < SHARE_PLACES; i++) {
		u32 n = (u32)(key + i) % SHARE_PLACES;

		if (!(at[n] & PLACE_FOUND))
			return &at[n];
	}
	for (u32 i = 0; i < SHARE_PLACES; i++)
		at[i] &= ~PLACE_FOUND;
	return &at[key % SHARE_PLACES];
}

static void insert(u64 key, u64 place)
{
	spin_lock(share_lock_of(key));
	*choose_place(key) = place | tag_of(key);
	spin_unlock(share_lock_of(key));
	share_table_fit();
}

static bool pages_equal(const u64 *a, const u64 *b)
{
	u64 differ = 0;

	for (u32 i = 0; i < PAGE_SIZE / sizeof(*a) && !differ; i += 4)
		differ = (a[i] ^ b[i]) | (a[i + 1] ^ b[i + 1]) | (a[i + 2] ^ b[i + 2]) |
			 (a[i + 3] ^ b[i + 3]);
	return !differ;
}

static u32 copy(void *arg, void *bytes)
{
	return pool_copy(*(const u64 *)arg, bytes);
}

/* The caller has a reference, so that it stays what it is. */
static bool holds(u64 place, const void *page)
{
	u64 handle = place >> PLACE_SHIFT;

	if (place & PLACE_FRAME)
		return pages_equal(pfn_to_virt(PFN(handle)), page);
	return lz4_holds(copy, &handle, page, pages_equal);
}

/*
 * Only from now on, for until it was compared the frame was held for a moment: so nobody has it alone
 * before, but g may now, if who had it has left it meanwhile.
 */
static void own_too(struct gmem *g, u64 key, u64 place)
{
	struct frame *f = frame_at(place);

	spin_lock(share_lock_of(key));
	change_owners(f, g);
	count_alone(NULL, alone_in(f));
	spin_unlock(share_lock_of(key));
}

bool share_find(struct gmem *g, u64 *key, const void *page, u64 *entry)
{
	u64 place;

	if (!*key)
		return false;
	spin_lock(share_lock_of(*key));
	place = look_up(*key);
	spin_unlock(share_lock_of(*key));
	if (!place)
		return false;
	if (holds(place, page)) {
		COUNT(found, 1);
		if (place & PLACE_FRAME)
			own_too(g, *key, place);
		*entry = place >> PLACE_SHIFT << GMEM_PFN_SHIFT |
			 (place & PLACE_FRAME ? GMEM_HARD | GMEM_SHARED : GMEM_PACKED);
		return true;
	}
	COUNT(collisions, 1);
	*key = 0;
	if (place & PLACE_FRAME)
		(void)share_put(NULL, PFN(place >> PLACE_SHIFT));
	else
		share_free_packed(place >> PLACE_SHIFT);
	return false;
}

/* --- In the pool ---------------------------------------------------------------------------- */

void share_offer(u64 handle, u64 key)
{
	if (!key)
		return;
	pool_share(handle)->key = key;
	insert(key, place_of_object(handle));
}

bool share_has_many(u64 handle)
{
	return __atomic_load_n(&pool_share(handle)->refs, __ATOMIC_RELAXED) > 1;
}

void share_free_packed(u64 handle)
{
	u64 key = pool_share(handle)->key;
	bool last = true;

	if (key) {
		spin_lock(share_lock_of(key));
		last = unref_place(key, place_of_object(handle));
		spin_unlock(share_lock_of(key));
	}
	if (!last)
		return;
	pool_free(handle);
	if (key)
		share_table_fit();
}

/* Under the lock: the entry has the frame and not the object. */
static bool change_to_frame(struct pool_share *s, u64 key, u64 handle, pfn_t *out)
{
	if (!s->frame || !ref_place(place_of_frame(PFN(s->frame))))
		return false;
	BUG_ON(unref_place(key, place_of_object(handle)));
	*out = PFN(s->frame);
	return true;
}

bool share_shown(u64 handle, pfn_t *out)
{
	struct pool_share *s = pool_share(handle);
	u64 key = s->key;
	bool shown;

	if (!key)
		return false;
	spin_lock(share_lock_of(key));
	shown = change_to_frame(s, key, handle, out);
	spin_unlock(share_lock_of(key));
	return shown;
}

static void make_shared(struct frame *f, u64 key)
{
	f->share.key = key;
	f->slab_class = FRAME_SHARED;
	COUNT(frames, 1);
}

bool share_show(u64 handle, pfn_t *pfn)
{
	struct pool_share *s = pool_share(handle);
	u64 key = s->key;
	pfn_t mine = *pfn;
	bool other, show;

	if (!key)
		return false;
	spin_lock(share_lock_of(key));
	other = change_to_frame(s, key, handle, pfn);
	show = !other && s->refs > 1 && !s->frame && mine.v <= UINT32_MAX;
	if (show) {
		/* The entry's reference to the object is the frame's now. */
		make_shared(frame_of(mine), key);
		frame_of(mine)->share.origin = handle << ORIGIN_SHIFT;
		s->frame = (u32)mine.v;
	}
	spin_unlock(share_lock_of(key));
	if (other)
		frame_free(mine, 0);
	if (show)
		COUNT(shown, 1);
	return other || show;
}

/* --- Frames --------------------------------------------------------------------------------- */

void share_keep(struct gmem *g, pfn_t pfn, u64 key)
{
	struct frame *f = frame_of(pfn);

	make_shared(f, key);
	f->share.origin = OWNERS;
	change_owners(f, g);
	count_alone(NULL, alone_in(f));
	insert(key, place_of_frame(pfn));
}

bool share_is_frame(pfn_t pfn)
{
	return __atomic_load_n(&frame_of(pfn)->slab_class, __ATOMIC_RELAXED) == FRAME_SHARED;
}

int share_ref(pfn_t pfn)
{
	struct spinlock *lock = share_lock_of(frame_of(pfn)->share.key);
	bool done;

	spin_lock(lock);
	done = ref_place(place_of_frame(pfn));
	spin_unlock(lock);
	return done ? 0 : ERR_NOSPC;
}

/*
 * Under the lock, by the last who had the frame: it is a frame like any other again. Returns the
 * object of which it was the last too, or 0.
 */
static u64 end_sharing(struct frame *f)
{
	u64 handle = handle_shown(f), key = f->share.key;

	__atomic_store_n(&f->slab_class, 0, __ATOMIC_RELAXED);
	COUNT(frames, -1);
	if (!handle)
		return 0;
	pool_share(handle)->frame = 0;
	return unref_place(key, place_of_object(handle)) ? handle : 0;
}

/*
 * An entry of g, or with NULL who held the frame. The last one's: whoever frees it, or has it alone,
 * goes on without the lock.
 */
static bool leave(const struct gmem *g, pfn_t pfn, bool only_if_last)
{
	struct frame *f = frame_of(pfn);
	u64 key = f->share.key, handle = 0;
	bool last;

	spin_lock(share_lock_of(key));
	last = f->refs == 1;
	BUG_ON(last && (f->share.origin & OWNERS) && alone_in(f) != g);
	if (!last && !only_if_last)
		change_owners(f, g);
	if (last || !only_if_last)
		(void)unref_place(key, place_of_frame(pfn));
	if (last)
		handle = end_sharing(f);
	spin_unlock(share_lock_of(key));
	if (handle)
		pool_free(handle);
	if (last)
		share_table_fit();
	return last;
}

bool share_put(const struct gmem *g, pfn_t pfn)
{
	bool last = leave(g, pfn, false);

	if (last)
		frame_free(pfn, 0);
	return last;
}

bool share_own(const struct gmem *g, pfn_t pfn)
{
	bool last = leave(g, pfn, true);

	if (last)
		COUNT(owned, 1);
	return last;
}

void share_left(const struct gmem *g, pfn_t pfn)
{
	COUNT(copied, 1);
	(void)share_put(g, pfn);
}

bool share_cool(pfn_t pfn, u64 *handle, bool *freed)
{
	struct frame *f = frame_of(pfn);
	u64 key = f->share.key;
	bool cooled;

	spin_lock(share_lock_of(key));
	*handle = handle_shown(f);
	cooled = *handle && ref_place(place_of_object(*handle));
	spin_unlock(share_lock_of(key));
	*freed = cooled && share_put(NULL, pfn);
	return cooled;
}

void share_count_evicted(void)
{
	COUNT(evicted, 1);
}

/* --- Statistics ----------------------------------------------------------------------------- */

static const struct stat_desc stat_descs[] = {SHARE_STATS(STAT_DESC)};
STAT_CHECK(share_stats, stat_descs);

static u64 saved_of_all(void)
{
	u64 sum = 0;

	for (u32 i = 0; i < SHARE_GROUPS; i++)
		sum += share_saved(i);
	return sum;
}

static u64 read_stat(const void *owner, u32 i)
{
	(void)owner;
	if (i == offsetof(struct share_stats, frames_saved) / sizeof(u64))
		return saved_of_all();
	if (i == offsetof(struct share_stats, table) / sizeof(u64))
		return share_table_size();
	return __atomic_load_n((const u64 *)&share.stats + i, __ATOMIC_RELAXED);
}

void share_get_stats(struct share_stats *out)
{
	for (u32 i = 0; i < ARRAY_SIZE(stat_descs); i++)
		((u64 *)out)[i] = read_stat(NULL, i);
}

struct stat_group share_stat_group = {
	.scope = "",
	.name = "share",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = read_stat,
};
