/* SPDX-License-Identifier: MIT */
/*
 * What the files of mem/reclaim*.c know of each other. Any number of threads age and take at once,
 * of the same object too: none waits for another. reclaim.lock is held for moments, to choose where
 * to work; a target that somebody works on has a user, and only its removal waits for those.
 */
#ifndef MEM_RECLAIM_PRIVATE_H
#define MEM_RECLAIM_PRIVATE_H

#include "mem/gmem_private.h"
#include "mem/reclaim.h"
#include "mem/reclaim_policy.h"
#include "mem/swap.h"
#include "mem/watermark.h"
#include "smp/spinlock.h"
#include "smp/timer.h"

#define RECLAIM_DISK_AGE \
	24u /* of packed pages that go to the disk first; steps of gmem_private.h */
#define RECLAIM_BATCH	     64u /* frames that one effort is for */
#define RECLAIM_HELP_WAIT_NS 10000000ull

/* Targets, by id. */
struct reclaim_ids {
	u64 words[RECLAIM_TARGETS_MAX / 64];
};

static inline bool reclaim_ids_have(const struct reclaim_ids *s, u32 id)
{
	return s->words[id / 64] & BIT(id % 64);
}

static inline void reclaim_ids_add(struct reclaim_ids *s, u32 id)
{
	s->words[id / 64] |= BIT(id % 64);
}

struct reclaim {
	struct spinlock lock; /* LOCK_GENERATION */
	/* lock */
	struct list targets;
	struct reclaim_ids ids; /* taken */
	u32 tax;
	u64 own_frames;		  /* Weir's own before the first VM, the swap disk's among them */
	enum reclaim_state state; /* as it was last looked at, */
	enum reclaim_state told;  /* and as the log has it, which is not told all, */
	u64 moves,
		moves_told; /* changes of it, and of those what was told of, one by one or in all */
	u64 told_ns;	    /* 0: never */
	u64 tell_gap_ns;
	/* atomic */
	struct reclaim_stats stats;
	/* By memory node: chunks that were looked at for all since something was freed last. */
	u64 barren[FRAME_NODES_MAX];
	u64 taken[FRAME_NODES_MAX]; /* frames that were freed for it */
	bool compacting;
	u64 found_other; /* rounds that ended and found another working set than the one before */
	struct wait_queue unused; /* who removes a target waits on it */
};
extern struct reclaim reclaim;

/* One thread's attempt to get frames of one memory node, in bounds of its own. */
struct reclaim_effort {
	u32 node;
	u64 want, freed;
	u64 tries;  /* pages that may still be tried, */
	u64 looks;  /* entries that may still be looked at for them, */
	u64 ages;   /* and chunks that may still be aged */
	u64 splits; /* and large mappings split, to see which of their pages are used */
	/* targets that have nothing for it, or had their part of its tries or looks in vain */
	struct reclaim_ids passed;
	u64 gap_ns; /* at least between two rounds over an object; 0: as urgency wants it */
	/*
	 * Nobody wants memory: what is all used may be mapped large again, and where a look takes the
	 * mapping not all is looked at.
	 */
	bool rest;
	bool urgent;
	bool more;		     /* a bound ended it: another effort may find something */
	bool full;		     /* there was no memory to put a page away */
	bool trickles;		     /* what it freed helps nobody */
	bool own;		     /* it ages no targets but those that its node looks after */
	struct reclaim_target *only; /* NULL: of all */
};

static inline void reclaim_count(u64 *stat, u64 n)
{
	__atomic_fetch_add(stat, n, __ATOMIC_RELAXED);
}

static inline u64 reclaim_chunks(const struct reclaim_target *t)
{
	return (t->object->pages + GMEM_LARGE_PAGES - 1) / GMEM_LARGE_PAGES;
}

/* Nothing of it is resident. At order 0. */
static inline bool reclaim_chunk_empty(const struct reclaim_target *t, u64 chunk)
{
	return __atomic_load_n(&t->object->slot_phys[chunk].resident, __ATOMIC_RELAXED) == 0;
}

/* Not used by anybody, and worth a try. */
static inline bool reclaim_may_go(u64 entry)
{
	if (gmem_entry_state(entry) == GMEM_SHARED)
		return !(entry & GMEM_HARD) || swap_takes();
	if (gmem_entry_state(entry) != GMEM_GOT_PAGE || (entry & GMEM_FOREIGN))
		return false;
	return !gmem_entry_hard(entry) || gmem_entry_clean(entry) || swap_takes();
}

/* Resident; it does not pack, was not written since, and is on no disk. */
static inline bool reclaim_wants_disk(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_SHARED
		       ? (entry & GMEM_HARD) != 0
		       : gmem_entry_state(entry) == GMEM_GOT_PAGE && gmem_entry_hard(entry) &&
				 !gmem_entry_clean(entry);
}

/* Whether or not it is used it cannot go: there is no disk for it. Where that is only busy it can, later. */
static inline bool reclaim_stays(u64 entry)
{
	return reclaim_wants_disk(entry) && !swap_takes() && !swap_is_busy();
}

/* reclaim.lock for use; put: none. After put the target may be gone. */
static inline void reclaim_use(struct reclaim_target *t)
{
	__atomic_fetch_add(&t->users, 1, __ATOMIC_RELAXED);
}
void reclaim_put(struct reclaim_target *t);
/*
 * It is in no list: sleeps until nobody uses it any more; kaged is lent the caller's weight meanwhile.
 * Thread context; LOCK_WAIT.
 */
void reclaim_wait_unused(struct reclaim_target *t);

/* At rest each target is looked after by one node's kaged, wherever its pages are. */
static inline bool reclaim_looks_after(u32 node, const struct reclaim_target *t)
{
	return t->id % frame_node_count == node;
}

/* Ages what is due, within the effort's bounds. Whether any round is under way or has ended. */
bool reclaim_age(struct reclaim_effort *e);

/* Whether all that the node looks after has been gone through in rounds that began since. */
bool reclaim_aged_since(u32 node, u64 ns);

/* Takes pages that were not used in the last round (youngest 1), or any (0). */
void reclaim_take(struct reclaim_effort *e, u32 youngest);

/* Has packed pages written to the swap disk, if the effort has not got what it wants. */
void reclaim_write_packed(const struct reclaim_effort *e);

/* What the target costs now. reclaim.lock. */
struct reclaim_claim reclaim_claim_of(const struct reclaim_target *t);

/* The state as it is now; says in the log what has changed, seldom enough. */
enum reclaim_state reclaim_tell_state(void);
/* Nothing has that is still to be said. */
bool reclaim_state_is_told(void);

/* --- reclaim.c. Thread context, no lock is held. --- */

/* e->want, urgent, node and only are given. Its bounds are the usual ones. */
void reclaim_make_effort(struct reclaim_effort *e);
/* It freed something, or may find something that it did not come to look at. */
bool reclaim_is_worth_another(const struct reclaim_effort *e);
void reclaim_forget_barren(
	void); /* memory is there: what is short the next time is another matter */

/* Efforts that freed something; and waits until there is one more, or a moment. Whether there is. */
u64 reclaim_progress(void);
bool reclaim_wait_progress(u64 before);

/* --- reclaim_node.c: the watermarks' parts by memory node. Any context below LOCK_GENERATION. --- */

/* By how much memory each has. Thread context; LOCK_ZONE. */
void reclaim_set_node_parts(void);
/* Frames that must come free on the node until its part of the watermark `mark` is free. */
u64 reclaim_node_lacks(u32 node, u64 mark);
u32 reclaim_neediest_node(void); /* the one that lacks most of what is to be free there */

/* --- reclaim_kaged.c --- */

void kaged_init(void);
int kaged_start(void); /* ERR_NOMEM */

/*
 * Has kaged take in the caller's place, where that gets little of the CPU, and waits a moment: pages are
 * BUSY while they are taken, and other VMs may wait for those. False: the caller is to do it. *again:
 * something was freed.
 */
bool reclaim_ask_kaged(bool *again);

/*
 * A kaged's: from low to high, a batch after the other. False: in vain. Sleeps while the disk is busy.
 * Thread context, no lock is held.
 */
bool reclaim_fill_up(u32 node);

/* --- reclaim_target.c --- */

/* watermarks.owed as it is now: told anew around each effort, for guests change it all the time. */
void reclaim_count_owed(void);

/* As reclaim_init does: those of o, unless there are none or they cannot be had. Thread context. */
void reclaim_set_watermarks(const struct reclaim_options *o);

#endif
