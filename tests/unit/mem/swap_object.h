/* SPDX-License-Identifier: MIT */
/*
 * An object whose pages go to a disk and come back: what its tests share. The disk does requests when
 * the test says so (tests/hosted/fake_disk.h).
 */
#ifndef TESTS_UNIT_MEM_SWAP_OBJECT_H
#define TESTS_UNIT_MEM_SWAP_OBJECT_H

#include <pthread.h>
#include "mem/gmem_private.h"
#include "mem/swap.h"
#include "tests/unit/mem/fixture.h"

#define PAGES  600u
#define BLOCKS 401u

extern struct gmem *g; /* NULL once a test let go of it */
extern u64 before;     /* frames that were free */

/* What gmem_on_lost was told last. */
struct lost {
	u32 calls;
	u64 index, block;
	int err;
};
extern struct lost lost;

/* No memory is short; the disk of BLOCKS is attached. The end looks whether all came back. */
int setup(void **state);
int teardown(void **state);

struct swap_stats stats_now(void);

/* The page to write to; contents that do not pack, which tell the page; that they are there. */
u8 *page(u64 index);
void fill(u64 index);
void verify(u64 index);
u64 state_of(u64 index);

struct gmem_taken take(u64 first, u64 pages);
/* n pages, from 0 on, that are on the disk. */
void put_on_disk(u64 n);
/* All that the disk was asked for. */
void do_all(void);
void wait_requests(u32 n);

/* A thread that writes to, reads or drops a page while it is on its way; or lets go of the object. */
struct other {
	pthread_t thread;
	u64 index;
	enum {
		TOUCH, /* to write */
		READ,
		DROP,
		UNREF
	} what;
	int err;
	bool ended; /* atomic */
};

void other_start(struct other *o, int what, u64 index);
bool has_ended(struct other *o);
/* Somebody waits for the page. */
void wait_wanted(u64 index);
/* Somebody is so far that only a wake of the queue makes him look again. */
void wait_asleep(struct wait_queue *q);

#endif
