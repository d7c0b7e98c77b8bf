/* SPDX-License-Identifier: MIT */
/*
 * A slot is deleted in the middle of what a page of it is on its way to: cells of the table of states and
 * events in docs/memory.md. The change is stopped at each of its points in turn, for all that the deletion
 * does, and the deletion at some of its own. Nothing of the slot stays mapped, and the page is what it was,
 * here or there.
 */
#ifndef TESTS_UNIT_MMU_MEMSLOT_CELL_H
#define TESTS_UNIT_MMU_MEMSLOT_CELL_H

#include "mem/gmem.h"

struct cell {
	u64 (*word)(u32 i);   /* what the pages hold */
	u32 alike;	      /* pages */
	enum gmem_state from; /* theirs, before */
	void (*prepare)(void);
	void (*change)(void); /* of page 0 */
	enum gmem_state to;   /* its state then, unless the slot had gone before */
};

void at_each_point(const struct cell *c);

/* What pages hold: their i-th word. */
u64 zero(u32 i);
u64 one_word(u32 i);
u64 packs(u32 i);
u64 does_not_pack(u32 i);

/* What they begin with; on the disk, if they do not pack and there is one. */
void nothing(void);
void show_all(void);
void write_all(void);
void keep_all(void);
void send_all(void);
void send_packed(void);
void hold_reads(void);
void fail_reads(void);
void lose_it(void);

/* What is done to the first. */
void read_it(void);
void write_it(void);
void take_it(void);
void take_it_to_the_disk(void);
void send_it_to_the_disk(void);
void do_requests(void);

int setup(void **state);
int teardown(void **state);
/* With a disk, which does what it is asked to write when it is told to. */
int setup_disk(void **state);
int teardown_disk(void **state);

#endif
