/* SPDX-License-Identifier: MIT */
/* An object that pages are taken from, and a guest whose mappings the test stands for. */
#ifndef TESTS_UNIT_MEM_RECLAIM_OBJECT_H
#define TESTS_UNIT_MEM_RECLAIM_OBJECT_H

#include <pthread.h>
#include "mem/gmem_private.h"
#include "mem/reclaim.h"
#include "tests/unit/mem/fixture.h"

#define PAGES 1024u

extern struct gmem *g;
extern struct reclaim_target target; /* g's */
extern const struct reclaim_terms terms;

/* Stands for the guest's mappings. */
struct guest {
	struct gmem_notifier n;
	bool used[PAGES]; /* since the last look */
	u64 unmapped;
	u64 looked; /* pages that were asked about */
	u32 touch;  /* atomic; a page that is wanted while pages are unmapped; 0: none */
	pthread_t waiter;
};
extern struct guest guest;

/* Memory is short for whoever asks. The end looks whether all came back. */
int setup(void **state);
int teardown(void **state);

/* The page to write to; contents that tell the page; that they are there. */
u8 *page(u64 index);
void fill_page(u64 index, bool packs);
void check_page(u64 index, bool packs);
u64 state_of(u64 index);

extern u64 now_ns; /* of the last help */

/* As a vCPU asks for memory; long enough after the last time for another round. */
bool help_with(u32 order);
bool help(void);

/* One of reclaim's counters. */
u64 read_stat(const char *name);

#endif
