/* SPDX-License-Identifier: MIT */
/*
 * The pool of preallocated real-mode areas: memory set aside at boot (rma_pool=SIZE) that VMs get
 * contiguous pieces of for their low memory (rma=SIZE). A piece belongs to its users together and
 * goes back, zeroed, when the last of them puts it. Thread context; takes LOCK_RMA_POOL.
 */
#ifndef MEM_RMA_H
#define MEM_RMA_H

#include "kernel/base/addr.h"
#include "kernel/base/stat.h"
#include "mem/gmem.h"

#define RMA_ALIGN_PAGES 512 /* pieces of 2 MiB and more begin at a multiple of 2 MiB */

struct rma_piece {
	/* set once */
	pfn_t pfn;
	u64 pages;
	/* atomic */
	u32 refs;
	/* the pool's lock */
	struct list link; /* pieces in use, by address */
};

/*
 * Before the first VM: sets so many contiguous bytes aside (a multiple of 2 MiB; 0: there is
 * no pool), zeroed. On error nothing is set aside: ERR_ALIGN; ERR_NOMEM: no free run is that long.
 */
int rma_pool_init(u64 bytes);

/*
 * A zeroed piece, with one reference. ERR_RANGE: no pages. ERR_NOSPC: the pool has no free run of
 * that length (rma_pool_stats tells what it has). ERR_NOMEM: none to describe the piece.
 */
int rma_alloc(u64 pages, struct rma_piece **out);
void rma_ref(struct rma_piece *piece);
/* The last one's put zeroes the piece before anybody else can get it. No frame may be pinned. */
void rma_put(struct rma_piece *piece);

/*
 * Fills pages [first, first + piece->pages) of the object with the piece at once: they are resident
 * from then on, and the object is a user of the piece until it is freed. Before anyone else has the
 * object. Errors of gmem_fill; ERR_EXIST also where it has a piece already. Nothing is changed then.
 */
int rma_fill(struct rma_piece *piece, struct gmem *g, u64 first);

#define RMA_STATS(X)                                                                          \
	X(pages, "pages", "Pages of 4 KiB that were set aside for the pool.", STAT_LEVEL)     \
	X(used, "pages", "Pages of the pool that are in pieces now.", STAT_LEVEL)             \
	X(used_peak, "pages", "The most pages of the pool that were in pieces at once.",      \
	  STAT_LEVEL)                                                                         \
	X(longest_free, "pages", "The longest piece of 2 MiB or more that could be had now.", \
	  STAT_LEVEL)                                                                         \
	X(pieces, "count", "Pieces in use now.", STAT_LEVEL)                                  \
	X(handed_out, "count", "Pieces that were handed out.")                                \
	X(refused, "count", "Requests for a piece that found no free run of that length.")

struct rma_stats {
	RMA_STATS(STAT_FIELD)
};
void rma_pool_stats(struct rma_stats *out);
extern struct stat_group rma_stat_group;

#endif
