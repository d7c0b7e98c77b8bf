/* SPDX-License-Identifier: MIT */
/* What the fake machine's locks tell each other about order. For tests/hosted/ only. */
#ifndef TESTS_HOSTED_LEVELS_H
#define TESTS_HOSTED_LEVELS_H

#include "kernel/base/types.h"
#include "smp/lock_level.h"

/* Panics, naming both locks, unless level is above all that this thread holds. */
void levels_check(const char *name, enum lock_level level);
void levels_push(const void *lock, const char *name, enum lock_level level);
void levels_pop(const void *lock);
bool levels_held(const void *lock);

#endif
