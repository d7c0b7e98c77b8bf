/* SPDX-License-Identifier: MIT */
/*
 * Pages on a disk: where contents go that neither are zero nor pack well.
 *
 * The disk is a floor above. Whoever drives it offers it as a struct swap_device, once, by
 * swap_attach; requests go up through its submit, and come back by the request's done. Up to
 * SWAP_REQUESTS are under way at a time, all of them made beforehand: putting a page away takes no
 * memory.
 *
 * A page that is being written is BUSY, unmapped, and still in its frame. Who wants it marks the
 * entry WANTED and takes it back at once by swap_give_back; the write goes on to a block that is
 * free again when it ends. A page that is being read is BUSY until it is there.
 *
 * While the disk has room, a page that was read to be read keeps its block (GMEM_KEPT), and goes back
 * to it unwritten unless it is DIRTY by then.
 */
#ifndef MEM_SWAP_H
#define MEM_SWAP_H

#include "kernel/base/list.h"
#include "kernel/base/stat.h"
#include "mem/gmem.h"

#define SWAP_REQUESTS 96u
/* Of them, so that a third is left to reads whatever is being written, and the other way round. */
#define SWAP_WRITES_MAX	 64u
#define SWAP_READS_MAX	 64u
#define SWAP_READ_AHEAD	 8u  /* pages in one read */
#define SWAP_ERRORS_MOST 16u /* reads or writes in a row, after which nothing is written any more */

struct swap_request {
	struct list link; /* the device's, from submit to done */
	u64 block;
	void *page; /* in the direct map, 4 KiB */
	bool write;
	int err; /* the device's answer */
	/* Thread context. The request is not the device's any more; it may have been reused. */
	void (*done)(struct swap_request *r);
};

struct swap_device {
	const char *name;
	/*
	 * Takes all of the list, which may be one batch for the disk, and calls done for each,
	 * sooner or later, in any order, from a thread of its own or from here. Never fails and
	 * never sleeps long. Thread context; locks that come after LOCK_SLOT_PHYS.
	 */
	void (*submit)(struct swap_device *d, struct list *requests);
};

/*
 * From now on pages go there. blocks of 4 KiB counts the header's, block 0, which is not touched.
 * seed: not to be the same at two boots. ERR_NOMEM: for a bit and a checksum for each block;
 * ERR_EXIST; ERR_RANGE. detach: nothing is on the disk any more. Thread context.
 */
int swap_attach(struct swap_device *d, u64 blocks, u64 seed);
void swap_detach(void);
/*
 * No object is left that has a page there alone: once nothing is under way no block may be in use but
 * those that resident pages keep. Debug builds panic, and sleep until nothing is under way. Thread
 * context, no lock held.
 */
void swap_audit(void);

/* --- For mem/gmem*.c and mem/tier.c: thread context, and LOCK_SWAP, unless said -------------- */

/* Whether a page that is put away now is likely to be taken. Any context, no lock. */
bool swap_takes(void);
/* Not now, but when something of what is under way has been written. As above. */
bool swap_is_busy(void);
/*
 * What is on the disk can be expected to come back: the last thing that was written, and read, was.
 * Where it cannot, nothing is left to it that is anywhere else. As above.
 */
bool swap_is_sound(void);

/*
 * Begins to write the page of an entry that the caller has BUSY, unmapped and claimed as `entry`,
 * and enters the request in the batch. False: not possible now. Else the entry is not the caller's
 * any more: it settles by itself, as SWAPPED, or as `entry` where it is wanted or cannot be written.
 * Thread context; LOCK_SWAP, LOCK_WAIT.
 */
bool swap_write(struct gmem *g, u64 index, u64 *e, u64 entry, struct list *batch);
/* The same for an entry that was PACKED, which unpacks to this frame: on true it is not the caller's. */
bool swap_write_packed(struct gmem *g, u64 index, u64 *e, u64 entry, pfn_t pfn, struct list *batch);
/* Gives the device what was not given back meanwhile. Does not sleep; LOCK_WAIT, and the device's. */
void swap_submit(struct list *batch);

/* A page that is being written is on return what it was before. Otherwise nothing. LOCK_WAIT. */
void swap_give_back(struct gmem *g, u64 index);

/*
 * Begins to read the page of an entry that was SWAPPED; write: it is about to be written. Sleeps while too many requests are under
 * way. ERR_NOTSUP: there is no disk; ERR_AGAIN: it is BUSY now, or somebody else changed it;
 * ERR_NOMEM: no frame; ERR_IO, or ERR_CORRUPT: its contents are lost, and the object's owner has
 * been told (gmem_on_lost).
 */
int swap_read(struct gmem *g, u64 index, u64 *e, u64 entry, bool write);

/* A clean page leaves its frame, the caller's: what its entry becomes, without a stamp. No lock. */
u64 swap_put_back(pfn_t pfn);
/* A clean page packs, or went to the disk without being tried. No lock. */
bool swap_kept_packs(pfn_t pfn);
/* The block of a page that is KEPT, or none, holds nothing any more; its frame is not looked at again. */
void swap_unkeep(u64 entry);

/* The block of an entry that was SWAPPED holds nothing any more. */
void swap_free(u64 entry);

/* Sleeps until nothing of the object is under way: before it goes. */
void swap_forget(struct gmem *g);

/* --- For reclaim ----------------------------------------------------------------------------- */

/* Sleeps until a write ends, or the deadline. False: none is under way. Thread context. */
bool swap_wait_written(u64 deadline_ns);
/* How many writes have ended. Any context. */
u64 swap_written(void);

/* --- Statistics ------------------------------------------------------------------------------ */

#define SWAP_STATS(X)                                                                             \
	X(blocks, "blocks", "Blocks of 4 KiB on the swap disk that pages can be in.", STAT_LEVEL) \
	X(used, "blocks", "Blocks that pages are in or on their way to.", STAT_LEVEL)             \
	X(bad, "blocks", "Blocks that are not used any more: they could not be written or read.", \
	  STAT_LEVEL)                                                                             \
	X(writing, "pages", "Pages that are being written now.", STAT_LEVEL)                      \
	X(kept, "blocks", "Blocks whose pages are resident, too.", STAT_LEVEL)                    \
	X(writes, "pages", "Pages that were written.")                                            \
	X(put_back, "pages", "Pages that need not be written: they are as they were read.")       \
	X(packed, "pages", "Packed pages that went on to the disk.")                              \
	X(reads, "pages", "Pages that were read because they were touched.")                      \
	X(read_ahead, "pages", "Pages that were read because their neighbour was.")               \
	X(given_back, "pages", "Pages that were touched while they were being written.")          \
	X(write_errors, "count", "Pages that could not be written, and stayed.")                  \
	X(read_errors, "count", "Pages that could not be read.")                                  \
	X(damaged, "count", "Pages that came back as something else than was written.")           \
	X(write, "ns", "Time from asking for a page to be written until it was, summed up.")      \
	X(read, "ns", "Time from asking for a page until it had been read, summed up.")           \
	X(read_most, "ns", "The longest that a page took to be read.", STAT_LEVEL)

struct swap_stats {
	SWAP_STATS(STAT_FIELD)
};
void swap_get_stats(struct swap_stats *out); /* thread context; LOCK_SWAP */
extern struct stat_group swap_stat_group;

#endif
