/* SPDX-License-Identifier: MIT */
/* Numbers that a seed gives again: each user has a state of its own. */
#ifndef TESTS_HOSTED_RANDOM_H
#define TESTS_HOSTED_RANDOM_H

#include "kernel/base/types.h"

/* splitmix64: any state will do, 0 too. */
static inline u64 random_next(u64 *state)
{
	u64 z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline u32 random_below(u64 *state, u32 n)
{
	return (u32)((random_next(state) >> 32) * n >> 32);
}

/* One time in n. */
static inline bool random_one_in(u64 *state, u32 n)
{
	return random_below(state, n) == 0;
}

#endif
