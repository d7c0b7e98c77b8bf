/* SPDX-License-Identifier: MIT */
/*
 * What another CPU does between the moment in which something is taken out, under mmu_lock, and its
 * flush: the linker puts this before mmu_flush. The other comes to the lock, and ends after the
 * flush only. The test needs -Wl,--wrap=mmu_flush.
 */
#ifndef TESTS_UNIT_MMU_BEFORE_FLUSH_H
#define TESTS_UNIT_MMU_BEFORE_FLUSH_H

#include "kernel/base/types.h"

/* Done once, on another CPU, before the next flush; NULL when that has begun it. */
extern void (*before_flush)(void);
/* At each flush, before that and on the CPU that flushes; or NULL. */
extern void (*look_before_flush)(void);
extern bool flushed; /* atomic: since before_flush_setup, or since that began */

void before_flush_setup(void);
/* before_flush was begun; returns when it has ended. */
void before_flush_join(void);

#endif
