/* SPDX-License-Identifier: MIT */
/*
 * How much memory has to be free before something is done about it. Set once, by reclaim_start;
 * until then nothing is refused.
 */
#ifndef MEM_WATERMARK_H
#define MEM_WATERMARK_H

#include "mem/frame.h"
#include "mem/share.h"

/*
 * In frames. Below min guests get none: what is left is for Weir, and for making more of it. A page
 * that was taken may come back down to half of that: else a guest that needs nothing more could not
 * even run to its end, and give back what it has.
 */
struct watermarks {
	u64 min;
	u64 low;	    /* below it cold pages are taken */
	u64 high;	    /* until so many are free */
	void (*wake)(void); /* whoever takes them. Any context below LOCK_WAIT */
	/*
	 * Atomic. What VMs lack of what they were promised, as it was a moment ago or, where they
	 * have got some since, more: it is kept for them, and not free for others.
	 */
	u64 owed;
	/*
	 * Atomic. By share group, of what is owed: frames for pages that VMs write to in frames of
	 * others, as they were counted, less those that were taken since; what is beyond what is
	 * kept for pages that they have not is not there. Below 0 where both was at once.
	 */
	s64 copies[SHARE_GROUPS];
	u64 promised; /* atomic; share groups of which a VM was promised memory, by bit */
};
static_assert(SHARE_GROUPS == 64, "a bit for each group");
extern struct watermarks watermarks;

/* Frames that are free for anybody. Any context. */
static inline u64 watermark_free(void)
{
	u64 free = frame_free_estimate(),
	    owed = __atomic_load_n(&watermarks.owed, __ATOMIC_RELAXED);

	return free - min(free, owed);
}

/* Whether a guest may have so many frames, the last of them above min, too. Exit and thread context. */
static inline bool watermark_admits(u64 frames)
{
	u64 free = watermark_free();

	free -= min(free, frames - 1);
	if (likely(free >= watermarks.low))
		return true;
	watermarks.wake();
	return free >= watermarks.min;
}

/* The same for one frame, for a page that comes back. */
static inline bool watermark_admits_back(void)
{
	return watermark_admits(1) || watermark_free() >= watermarks.min / 2;
}

static inline bool watermark_has_copy(u32 group)
{
	return __atomic_load_n(&watermarks.copies[group % SHARE_GROUPS], __ATOMIC_RELAXED) > 0;
}

/* One frame of those that are kept for copies in the group. False: there is none left. */
static inline bool watermark_take_copy(u32 group)
{
	s64 *copies = &watermarks.copies[group % SHARE_GROUPS];
	s64 n = __atomic_load_n(copies, __ATOMIC_RELAXED);

	while (n > 0) {
		if (__atomic_compare_exchange_n(copies, &n, n - 1, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
	}
	return false;
}

/*
 * Before a frame is free whose page shows another's from now on: in its group one may have less of his
 * own by that than he was promised. Whether, the next count tells. Any context.
 */
static inline void watermark_keep_copy(u32 group)
{
	if (__atomic_load_n(&watermarks.promised, __ATOMIC_RELAXED) & BIT(group % SHARE_GROUPS))
		__atomic_fetch_add(&watermarks.owed, 1, __ATOMIC_RELAXED);
}

/* For who has less than it was promised: what is kept for that is its own. */
static inline bool watermark_admits_owed(u64 frames)
{
	return frame_free_estimate() >= watermarks.min / 2 + frames - 1;
}

#endif
