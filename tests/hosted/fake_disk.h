/* SPDX-License-Identifier: MIT */
/*
 * A swap disk of this process (mem/swap.h): it does requests when it is told to, in any order, and
 * fails those it is told to. Any thread.
 */
#ifndef TESTS_HOSTED_FAKE_DISK_H
#define TESTS_HOSTED_FAKE_DISK_H

#include "mem/swap.h"

/* Blocks are all 0xdb; nothing fails and all is done in submit. */
void fake_disk_init(u64 blocks);

/* From now on requests wait for fake_disk_do; or not. */
void fake_disk_hold(bool hold);
void fake_disk_hold_writes(void); /* them alone: who reads does not depend on others */
u32 fake_disk_waiting(void);	  /* how many do */
/* Does some one that waits, as random has it; the oldest with NULL. False: there is none. */
bool fake_disk_do(u64 *random);

/* Every n-th read, or write, fails; 0: none does. */
void fake_disk_fail(u32 reads, u32 writes);
/* What is on it, to be damaged. */
u8 *fake_disk_block(u64 block);

extern struct swap_device fake_disk;

#endif
