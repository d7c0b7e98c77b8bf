/* SPDX-License-Identifier: MIT */
/*
 * What the files of mem/swap*.c know of each other: the pages that are on their way, in swap.c; how
 * they go in swap_write.c and come back in swap_read.c. Contexts as in swap.h.
 */
#ifndef MEM_SWAP_PRIVATE_H
#define MEM_SWAP_PRIVATE_H

#include "mem/gmem_private.h"
#include "mem/swap.h"
#include "mem/swap_blocks.h"

enum swap_op_state {
	OP_FREE,
	OP_READING,
	OP_WRITING,    /* the page may be taken back */
	OP_GIVEN_BACK, /* it was: entry and frame are not the op's any more */
	OP_SETTLING,   /* written; the entry is about to say so */
};

/* One page on its way. */
struct swap_op {
	struct swap_request request;
	struct list link;	  /* lock: free_ops or busy_ops */
	enum swap_op_state state; /* lock */
	/* set while it is under way */
	struct gmem *g;
	u64 index;
	u64 *e;
	u64 entry; /* as it was claimed */
	u64 begun_ns;
	bool ahead; /* nobody asked for it */
	bool keep;  /* its block, if there is room */
};

struct swap_state {
	struct spinlock lock; /* LOCK_SWAP */
	/* lock */
	struct swap_op ops[SWAP_REQUESTS];
	struct list free_ops, busy_ops;
	struct swap_stats stats;
	/* atomic */
	struct swap_device *device;
	bool given_up;		       /* nothing is written any more */
	u32 write_errors, read_errors; /* in a row; changed under the lock */
	/* that nobody has laid claim to: ops, and how many of them may read and write */
	u32 spare, spare_reads, spare_writes;
	u64 written; /* writes that ended */
	u64 kept, put_back;
	/* who waits for an op, for a write to end, for an object to have none */
	struct wait_queue room, progress, idle;
};
extern struct swap_state swap;

static inline u64 swap_block_of(u64 entry)
{
	return entry >> GMEM_PFN_SHIFT;
}

/* An op to read by, or to write, of which at least so many others are left. False: there is none. */
bool swap_op_reserve(bool write, u32 leave);
void swap_op_unreserve(bool write);
/* Of one who has reserved it. It is under way from now on, and the object does not go meanwhile. */
struct swap_op *swap_op_begin(struct gmem *g, u64 index, u64 *e, u64 entry,
			      enum swap_op_state state);
void swap_op_end(struct swap_op *op);
/* The last that is done for the object of an op: it may be gone on return. */
void swap_release_object(struct gmem *g);
/* What came of a write, or a read. in_row: of its kind. Thread context; LOCK_SWAP. */
void swap_count_error(u32 *in_row, int err);
/* A block that holds nothing any more is free, or not worth being used again. */
void swap_drop_block(u64 block, bool bad);

#endif
