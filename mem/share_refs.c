/* SPDX-License-Identifier: MIT */
#include "mem/share_refs.h"

#include "kernel/base/panic.h"
#include "mem/share_table.h"

struct share_state share;

u64 share_key_at(u64 place)
{
	return place & PLACE_FRAME ? share_key_of(share_frame_at(place))
				   : pool_share(place >> PLACE_SHIFT)->key;
}

/* --- Who has a frame alone ------------------------------------------------------------------ */

/* The frame of this place, or that shows the object there; NULL: none does. */
static struct frame *frame_for(u64 place)
{
	u32 shown;

	if (place & PLACE_FRAME)
		return share_frame_at(place);
	shown = pool_share(place >> PLACE_SHIFT)->frame;
	return shown ? frame_of(PFN(shown)) : NULL;
}

/*
 * Whose the one page with the contents of the frame is; NULL: there are several, or none, but somebody
 * holds it for a moment. Who has them packed counts as well: to have the frame, too, costs him nothing.
 */
static struct gmem *alone_in(const struct frame *f)
{
	u64 handle = share_handle_shown(f);

	if (f->refs != 1 || (handle && pool_share(handle)->refs != 1))
		return NULL;
	return share_owner_of(f);
}

/* The gmem is there: an entry of its leads to the frame, or did until now. */
static void count_alone(const struct frame *f, u64 n)
{
	struct gmem *g = f ? alone_in(f) : NULL;

	if (g)
		__atomic_fetch_add(&g->alone, n, __ATOMIC_RELAXED);
}

static void change_owners(struct frame *f, const struct gmem *g)
{
	__atomic_store_n(&f->share.owners, f->share.owners ^ (u64)(uintptr_t)g, __ATOMIC_RELAXED);
}

void share_enter(struct frame *f, const struct gmem *g)
{
	change_owners(f, g);
	count_alone(f, 1);
}

void share_exit(struct frame *f, const struct gmem *g)
{
	change_owners(f, g);
}

/* --- References ----------------------------------------------------------------------------- */

static u32 *refs_at(u64 place)
{
	return place & PLACE_FRAME ? &share_frame_at(place)->refs
				   : &pool_share(place >> PLACE_SHIFT)->refs;
}

static void count_saved(u64 key, u64 place, u64 n)
{
	if (place & PLACE_FRAME)
		__atomic_fetch_add(&share.saved[(key >> SHARE_HASH_BITS) % SHARE_GROUPS], n,
				   __ATOMIC_RELAXED);
	else
		SHARE_COUNT(packed_saved, n);
}

u64 share_saved(u32 group)
{
	return __atomic_load_n(&share.saved[group % SHARE_GROUPS], __ATOMIC_RELAXED);
}

bool share_ref_place(u64 key, u64 place)
{
	u32 *refs = refs_at(place);

	if (*refs == UINT32_MAX)
		return false;
	count_alone(frame_for(place), -1ull);
	/* Others look at it without the lock. */
	__atomic_store_n(refs, *refs + 1, __ATOMIC_RELAXED);
	count_saved(key, place, 1);
	return true;
}

bool share_unref_place(u64 key, u64 place)
{
	u32 *refs = refs_at(place);

	BUG_ON(*refs == 0);
	if (*refs == 1) {
		count_alone(frame_for(place), -1ull);
		share_table_remove(key, place);
		return true;
	}
	__atomic_store_n(refs, *refs - 1, __ATOMIC_RELAXED);
	count_alone(frame_for(place), 1);
	count_saved(key, place, -1ull);
	return false;
}
