/* SPDX-License-Identifier: MIT */
#include "mem/share.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "mem/lz4.h"
#include "mem/share_refs.h"
#include "mem/share_table.h"

/* A key: the group, and as much of the hash as there is room for. Two groups have no key in common. */
#define HASH_MASK (BIT(SHARE_HASH_BITS) - 1)

#ifdef WEIR_HOSTED
u64 share_hash_mask = ~0ull;
#else
#define share_hash_mask (~0ull)
#endif

/* Numbers of frames are less than handles. */
static u64 last_place(void)
{
	u32 count;
	const struct mem_range *ram = frame_ram(&count);

	return pool_last_handle(ram[count - 1].end) << PLACE_SHIFT | PLACE_FRAME;
}

int share_init(void)
{
	memset(&share.stats, 0, sizeof(share.stats));
	memset(share.saved, 0, sizeof(share.saved));
	/* So that nobody computes at home what collides here. */
	share.seed[0] = rdtsc() * 0x9e3779b97f4a7c15ull | 1;
	share.seed[1] = (share.seed[0] ^ (u64)rdtsc()) * 0xd1342543de82ef95ull | 1;
	return share_table_init(last_place());
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

/* --- The table ------------------------------------------------------------------------------ */

/* One with this key, which gets a reference; 0: none. */
static u64 look_up(u64 key)
{
	u64 place = share_table_find(key);

	return place && share_ref_place(key, place) ? place : 0;
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
	spin_lock(share_lock_of(key));
	share_enter(share_frame_at(place), g);
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
		SHARE_COUNT(found, 1);
		if (place & PLACE_FRAME)
			own_too(g, *key, place);
		*entry = place >> PLACE_SHIFT << GMEM_PFN_SHIFT |
			 (place & PLACE_FRAME ? GMEM_HARD | GMEM_SHARED : GMEM_PACKED);
		return true;
	}
	SHARE_COUNT(collisions, 1);
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
	share_table_add(key, share_place_of_object(handle));
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
		last = share_unref_place(key, share_place_of_object(handle));
		spin_unlock(share_lock_of(key));
	}
	if (!last)
		return;
	pool_free(handle);
	if (key)
		share_table_fit();
}

bool share_is_shown(u64 handle)
{
	return __atomic_load_n(&pool_share(handle)->frame, __ATOMIC_RELAXED) != 0;
}

/* Under the lock: the entry of g has the frame and not the object. */
static bool change_to_frame(const struct gmem *g, u64 key, u64 handle, pfn_t *out)
{
	const struct pool_share *s = pool_share(handle);

	if (!s->frame || !share_ref_place(key, share_place_of_frame(PFN(s->frame))))
		return false;
	share_enter(frame_of(PFN(s->frame)), g);
	BUG_ON(share_unref_place(key, share_place_of_object(handle)));
	*out = PFN(s->frame);
	return true;
}

bool share_shown(const struct gmem *g, u64 handle, pfn_t *out)
{
	u64 key = pool_share(handle)->key;
	bool shown;

	if (!key)
		return false;
	spin_lock(share_lock_of(key));
	shown = change_to_frame(g, key, handle, out);
	spin_unlock(share_lock_of(key));
	return shown;
}

/* A frame of one entry, of g. */
static void make_shared(struct frame *f, u64 origin, u64 shows, const struct gmem *g)
{
	f->share.origin = origin;
	f->share.owners = shows;
	f->slab_class = FRAME_SHARED;
	SHARE_COUNT(frames, 1);
	share_enter(f, g);
}

static void set_frame(u64 handle, u32 pfn)
{
	__atomic_store_n(&pool_share(handle)->frame, pfn, __ATOMIC_RELAXED);
}

bool share_show(const struct gmem *g, u64 handle, pfn_t *pfn)
{
	struct pool_share *s = pool_share(handle);
	u64 key = s->key;
	pfn_t mine = *pfn;
	bool other, show;

	if (!key)
		return false;
	spin_lock(share_lock_of(key));
	other = change_to_frame(g, key, handle, pfn);
	show = !other && s->refs > 1 && !s->frame && mine.v <= UINT32_MAX;
	if (show) {
		/* The entry's reference to the object is the frame's now; others have one, too. */
		make_shared(frame_of(mine), handle, SHARE_SHOWS, g);
		set_frame(handle, (u32)mine.v);
	}
	spin_unlock(share_lock_of(key));
	if (other)
		frame_free(mine, 0);
	if (show)
		SHARE_COUNT(shown, 1);
	return other || show;
}

/* --- Frames --------------------------------------------------------------------------------- */

void share_keep(struct gmem *g, pfn_t pfn, u64 key)
{
	make_shared(frame_of(pfn), key, 0, g);
	share_table_add(key, share_place_of_frame(pfn));
}

bool share_is_frame(pfn_t pfn)
{
	return __atomic_load_n(&frame_of(pfn)->slab_class, __ATOMIC_RELAXED) == FRAME_SHARED;
}

int share_ref(pfn_t pfn)
{
	u64 key = share_key_of(frame_of(pfn));
	bool done;

	spin_lock(share_lock_of(key));
	done = share_ref_place(key, share_place_of_frame(pfn));
	spin_unlock(share_lock_of(key));
	return done ? 0 : ERR_NOSPC;
}

/*
 * Under the lock, by the last who had the frame: it is a frame like any other again. Returns the
 * object of which it was the last too, or 0.
 */
static u64 end_sharing(struct frame *f, u64 key)
{
	u64 handle = share_handle_shown(f);

	__atomic_store_n(&f->slab_class, 0, __ATOMIC_RELAXED);
	SHARE_COUNT(frames, -1);
	if (!handle)
		return 0;
	set_frame(handle, 0);
	return share_unref_place(key, share_place_of_object(handle)) ? handle : 0;
}

/*
 * An entry of g, or with NULL who held the frame. The last one's: whoever frees it, or has it alone,
 * goes on without the lock.
 */
static bool leave(const struct gmem *g, pfn_t pfn, bool only_if_last)
{
	struct frame *f = frame_of(pfn);
	u64 key = share_key_of(f), handle = 0;
	bool last;

	spin_lock(share_lock_of(key));
	last = f->refs == 1;
	BUG_ON(last && share_owner_of(f) != g);
	if (!last && !only_if_last)
		share_exit(f, g);
	if (last || !only_if_last)
		(void)share_unref_place(key, share_place_of_frame(pfn));
	if (last)
		handle = end_sharing(f, key);
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
		SHARE_COUNT(owned, 1);
	return last;
}

void share_left(const struct gmem *g, pfn_t pfn)
{
	SHARE_COUNT(copied, 1);
	(void)share_put(g, pfn);
}

bool share_cool(const struct gmem *g, pfn_t pfn, u64 *handle, bool *last)
{
	struct frame *f = frame_of(pfn);
	u64 key = share_key_of(f);
	bool cooled;

	spin_lock(share_lock_of(key));
	*handle = share_handle_shown(f);
	cooled = *handle && share_ref_place(key, share_place_of_object(*handle));
	spin_unlock(share_lock_of(key));
	*last = cooled && leave(g, pfn, false);
	return cooled;
}

void share_count_evicted(void)
{
	SHARE_COUNT(evicted, 1);
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
