/* SPDX-License-Identifier: MIT */
/*
 * Taking memory from guests that do not use it. kaged, the page-aging daemon, of which each memory node
 * has one, takes nothing while there is enough, and looks only at times what is used. Below the low watermark it goes through the objects it was given, 2 MiB at a time: it asks
 * which pages were used since it came by last, so that each has an age in rounds, and takes the
 * oldest of whoever pays least for his (mem/reclaim_policy.h) until the high watermark is reached. A
 * vCPU that finds less than the min watermark helps: any number of threads may be at it.
 */
#ifndef MEM_RECLAIM_H
#define MEM_RECLAIM_H

#include "kernel/base/list.h"
#include "kernel/base/stat.h"
#include "mem/frame_node.h"
#include "mem/gmem.h"

#define RECLAIM_AGES	    8 /* a page that was not used for longer stays as old as it can be */
#define RECLAIM_TARGETS_MAX 128

/* What is logged when it changes: once a second at most, and less often where it goes on changing. */
enum reclaim_state {
	RECLAIM_ENOUGH,
	RECLAIM_LOW,   /* between the watermarks: kaged takes */
	RECLAIM_SHORT, /* below min: who needs a frame takes, too */
};

/* What a VM was promised, and what it may have, in pages. */
struct reclaim_terms {
	u64 min;    /* resident pages that others leave to it */
	u64 max;    /* resident pages that it may have; it makes room itself. ~0: any */
	u32 shares; /* 1 to RECLAIM_SHARES_MAX */
	bool sample; /* a look at a page costs its mapping: at rest not all are looked at in a round */
	u64 costs; /* frames that must be there for it: for min, and what the VM takes besides */
};

/* Of a target what is in frames of one memory node. reclaim.lock. */
struct reclaim_part {
	u64 take_next; /* chunk where the next pages are taken */
	/* Pages, as far as the round has come; below 0 where others were taken than it counted. */
	s64 by_age[RECLAIM_AGES];
	/* Chunks that were gone through for pages so old, in vain, since it counted any of them. */
	u64 gone_through[RECLAIM_AGES];
};

/* An object that pages may be taken from. Everything in it is reclaim's. */
struct reclaim_target {
	/* set by reclaim_add */
	struct gmem *object;
	struct reclaim_terms terms;
	u32 id;
	/* atomic */
	u32 users;
	u64 zero;   /* pages of it that were taken and all zero */
	u64 barren; /* chunks that it looked at, at its max, since it freed something last */
	/* reclaim.lock */
	struct list link;
	u64 taking;		/* pages that somebody is about to take */
	u64 disk_next;		/* chunk where packed pages are looked for that go to the disk, */
	u64 disk_found;		/* how many were in this look at all of it, */
	u32 disk_age;		/* and how long ago they were put away, at least */
	u64 age_next, age_done; /* chunks of the round of aging that were begun and ended */
	u64 aged_ns, gap_ns;	/* when it began, and how long after the one before */
	u64 used;		/* pages that it or the one before found used */
	bool whole;		/* it looks at pages that cannot go, too, */
	u64 whole_ns;		/* as the one that began then did last; 0: none has */
	bool passes, passed;	/* it passes over some, or the one before did */
	u64 used_staying;	/* that this one found used of those, as in `used` */
	u64 working_set;	/* pages; as of the last whole round */
	struct reclaim_part in[FRAME_NODES_MAX]; /* by memory node */
};

/* How it is to be done; 0 in place of a watermark: by how much memory there is. */
struct reclaim_options {
	u64 min, low, high; /* frames */
	u32 tax;	    /* on idle memory, in percent */
};

/*
 * Thread context, once, when all CPUs are up: sets the watermarks, and start starts kaged, too.
 * ERR_NOMEM: nothing will be taken, or only by who needs it.
 */
int reclaim_init(const struct reclaim_options *o);
int reclaim_start(const struct reclaim_options *o);

/*
 * What modules had of memory counts as memory from now on: the watermarks are as for all of it. And
 * what is in use now but for guests' pages, the swap disk's tables too, cannot be promised to
 * anybody. Before any guest runs; thread context; LOCK_GENERATION, LOCK_ZONE.
 */
void reclaim_memory_is_known(void);

/*
 * Thread context. Of an object of 2 MiB pages none is taken. remove: nothing of the object is
 * looked at any more on return; it waits for those who are at it, so for no lock of theirs. Pages
 * above terms->max are refused from add on.
 */
void reclaim_add(struct reclaim_target *t, struct gmem *object, const struct reclaim_terms *terms);
void reclaim_remove(struct reclaim_target *t);

/*
 * For a thread that was refused a frame of this order for that target (NULL: for none), holding no
 * lock: takes some pages itself, from the target alone if that has all it may have, or has kaged do
 * it and waits a moment. False: there was nothing to be taken, or frames are free but not in blocks
 * of that order; wait then and try again. The same frame may be refused after each true. Thread
 * context; LOCK_GENERATION and what gmem_take takes.
 */
bool reclaim_help(struct reclaim_target *t, u32 order);

/* Any context below LOCK_WAIT. */
void reclaim_wake(void);

/*
 * a pays less for each of its pages than b: those of a go first (mem/reclaim_policy.h). Thread
 * context; LOCK_GENERATION.
 */
bool reclaim_gives_first(const struct reclaim_target *a, const struct reclaim_target *b);

/* Less is free than the low watermark. Any context. */
bool reclaim_is_short(void);

/*
 * "77 frames are free, and 300 kept for min=": as the watermarks see it, and what else is free but
 * not for anybody, if there is such. Any context.
 */
struct reclaim_free_text {
	char text[80];
};
struct reclaim_free_text reclaim_free_text(void);

/* In frames: what targets cost at least (terms.costs), and what there is for all of them. */
struct reclaim_room {
	u64 promised, total;
};
void reclaim_get_room(struct reclaim_room *out); /* thread context; LOCK_GENERATION, LOCK_ZONE */

/* For `overwritten` below. Any context. */
void reclaim_count_overwritten(void);

#define RECLAIM_STATS(X)                                                                         \
	X(rounds, "count", "Rounds in which the pages of an object were aged.")                  \
	X(aged, "pages", "Pages that were looked at in them.")                                   \
	X(young, "pages", "Of those, pages that had been used since the last time.")             \
	X(passed, "pages", "Pages that were not looked at in them, for they cannot go.")         \
	X(zero, "pages", "Pages that were taken and are all zero: they cost nothing now.")       \
	X(filled, "pages", "Pages that were taken and are one word all over.")                   \
	X(packed, "pages", "Pages that were taken and packed.")                                  \
	X(shared, "pages", "Pages that were taken and show a frame that others had.")            \
	X(hard, "pages", "Pages that stayed because they do not pack.")                          \
	X(wanted, "pages", "Pages that stayed because they were touched while they were taken.") \
	X(kept, "pages", "Pages that stayed because they were pinned or in change.")             \
	X(overwritten, "pages",                                                                  \
	  "Pages that a guest's REP STOS overwrote whole: they were not brought back first.")    \
	X(direct, "count", "Times that a vCPU without memory took pages itself.")                \
	X(asked, "count", "Times that a vCPU of little weight left that to kaged.")              \
	X(own, "count", "Times that a VM at its max made room itself.")                          \
	X(fruitless, "count", "Times that there was nothing to take.")                           \
	X(compacted, "frames", "Frames that came free by compacting the pool.")                  \
	X(kaged, "ns", "Time that kaged has had of the CPUs.")

struct reclaim_stats {
	RECLAIM_STATS(STAT_FIELD)
};
extern struct stat_group reclaim_stat_group;

/* Of the machine's memory as a whole. */
#define RECLAIM_MEMORY_STATS(X)                                                                  \
	X(state, "count", "Rung of the ladder: 0 enough is free, 1 low, 2 short.", STAT_LEVEL)   \
	X(moves, "count", "Times that it was found on another rung than before.")                \
	X(min, "frames", "Below so many free frames guests get none.", STAT_LEVEL)               \
	X(low, "frames", "Below so many free frames cold pages are taken.", STAT_LEVEL)          \
	X(high, "frames", "Cold pages are taken until so many frames are free.", STAT_LEVEL)     \
	X(committed, "pages", "What running VMs have of mem=, and modules, in all.", STAT_LEVEL) \
	X(promised, "frames", "What was promised of it, with what it costs.", STAT_LEVEL)        \
	X(owed, "frames", "Of that, what is kept free because it was not touched yet.",          \
	  STAT_LEVEL)                                                                            \
	X(room, "frames", "What can be promised in all.", STAT_LEVEL)

struct reclaim_memory_stats {
	RECLAIM_MEMORY_STATS(STAT_FIELD)
};
extern struct stat_group reclaim_memory_stat_group;

/* Of a memory node, in the scope "node.0" for the first: its part of each watermark, as above. */
#define RECLAIM_NODE_STATS(X)                                                                 \
	X(total, "frames", "Frames of 4 KiB that the allocator manages.", STAT_LEVEL)         \
	X(free, "frames", "Frames that are free, but for those in CPUs' caches.", STAT_LEVEL) \
	X(low, "frames", "Its part of memory.low.", STAT_LEVEL)                               \
	X(high, "frames", "Its part of memory.high.", STAT_LEVEL)                             \
	X(taken, "frames", "Frames that came free by looking for some of the node.")

struct reclaim_node_stats {
	RECLAIM_NODE_STATS(STAT_FIELD)
};
struct stat_group *reclaim_node_stat_group(u32 node);

/* Of a target: owner is the struct reclaim_target. */
#define RECLAIM_VM_STATS(X)                                                                     \
	X(working_set, "pages", "Pages that were used twice lately, as estimated.", STAT_LEVEL) \
	X(taken, "pages", "Pages that were put away.")                                          \
	X(zero, "pages", "Of those, pages that were all zero: they cost nothing.")              \
	X(fetched, "pages", "Pages that came back from where they were put.")                   \
	X(refaults, "pages", "Pages needed again that would have stayed in twice the memory.")  \
	X(packed_bytes, "bytes", "What its packed pages take in the pool.", STAT_LEVEL)         \
	X(min, "pages", "Resident pages that it is left with, by min=.", STAT_LEVEL)            \
	X(max, "pages", "Resident pages that it may have, by max= or mem=.", STAT_LEVEL)        \
	X(shares, "count", "Its shares of memory.", STAT_LEVEL)                                 \
	X(costs, "frames", "What was promised to it, with what it costs besides.", STAT_LEVEL)

struct reclaim_vm_stats {
	RECLAIM_VM_STATS(STAT_FIELD)
};
extern const struct stat_desc reclaim_vm_stat_descs[];
#define RECLAIM_VM_STAT_COUNT (sizeof(struct reclaim_vm_stats) / sizeof(u64))
u64 reclaim_vm_stat_read(const void *target, u32 i);

#endif
