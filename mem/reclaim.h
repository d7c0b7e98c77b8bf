/* SPDX-License-Identifier: MIT */
/*
 * Taking memory from guests that do not use it. kaged, the page-aging daemon, sleeps while there is
 * enough. Below the low watermark it goes through the objects it was given, 2 MiB at a time: it asks
 * which pages were used since it came by last, so that each has an age in rounds, and takes the
 * oldest until the high watermark is reached. A vCPU that finds less than the min watermark helps.
 *
 * Rounds go over one object after the other, each from where the last one ended.
 */
#ifndef MEM_RECLAIM_H
#define MEM_RECLAIM_H

#include "kernel/base/list.h"
#include "kernel/base/stat.h"
#include "mem/gmem.h"

#define RECLAIM_AGES 8 /* a page that was not used for longer stays as old as it can be */

/* What is logged when it changes: once a second at most, and less often where it goes on changing. */
enum reclaim_state {
	RECLAIM_ENOUGH,
	RECLAIM_LOW,   /* between the watermarks: kaged takes */
	RECLAIM_SHORT, /* below min: who needs a frame takes, too */
};

/* An object that pages may be taken from. */
struct reclaim_target {
	/* LOCK_RECLAIM */
	struct list link;
	struct gmem *object;
	u64 chunk;		  /* where the next pages are taken */
	u64 aged_ns;		  /* when the last round of aging began */
	u64 by_age[RECLAIM_AGES]; /* pages, as of that round */
};

/*
 * Thread context, once, when all CPUs are up: sets the watermarks by how much memory there is, and
 * start starts kaged, too. ERR_NOMEM: nothing will be taken, or only by who needs it.
 */
int reclaim_init(void);
int reclaim_start(void);

/*
 * Thread context. An object of 2 MiB pages keeps them: add does nothing. remove: nothing of the
 * object is looked at any more on return.
 */
void reclaim_add(struct reclaim_target *t, struct gmem *object);
void reclaim_remove(struct reclaim_target *t);

/*
 * For a thread that was refused a frame of this order, holding no lock: takes some pages itself, or
 * waits a moment for whoever does. False: there was nothing to be taken, or frames are free but not
 * in blocks of that order; wait then and try again. The same frame may be refused after each true.
 * Thread context; LOCK_RECLAIM.
 */
bool reclaim_help(u32 order);

/* Any context below LOCK_WAIT. */
void reclaim_wake(void);

#define RECLAIM_STATS(X)                                                                         \
	X(rounds, "count", "Rounds in which the pages of an object were aged.")                  \
	X(aged, "pages", "Pages that were looked at in them.")                                   \
	X(young, "pages", "Of those, pages that had been used since the last time.")             \
	X(zero, "pages", "Pages that were taken and are all zero: they cost nothing now.")       \
	X(filled, "pages", "Pages that were taken and are one word all over.")                   \
	X(packed, "pages", "Pages that were taken and packed.")                                  \
	X(hard, "pages", "Pages that stayed because they do not pack.")                          \
	X(wanted, "pages", "Pages that stayed because they were touched while they were taken.") \
	X(kept, "pages", "Pages that stayed because they were pinned or in change.")             \
	X(direct, "count", "Times that a vCPU without memory took pages itself.")                \
	X(fruitless, "count", "Times that there was nothing to take.")                           \
	X(compacted, "frames", "Frames that came free by compacting the pool.")

struct reclaim_stats {
	RECLAIM_STATS(STAT_FIELD)
};
extern struct stat_group reclaim_stat_group;

#endif
