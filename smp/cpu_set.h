/* SPDX-License-Identifier: MIT */
/* Sets of CPUs by id, online or not. */
#ifndef SMP_CPU_SET_H
#define SMP_CPU_SET_H

#include "smp/cpu.h"

struct cpu_set {
	u64 bits[(CPU_MAX + 63) / 64];
};

static inline void cpu_set_add(struct cpu_set *s, u32 cpu)
{
	s->bits[cpu / 64] |= BIT(cpu % 64);
}

static inline bool cpu_set_has(const struct cpu_set *s, u32 cpu)
{
	return s->bits[cpu / 64] & BIT(cpu % 64);
}

static inline void cpu_set_fill(struct cpu_set *s)
{
	for (u32 i = 0; i < ARRAY_SIZE(s->bits); i++)
		s->bits[i] = ~0ull;
}

static inline bool cpu_set_is_empty(const struct cpu_set *s)
{
	for (u32 i = 0; i < ARRAY_SIZE(s->bits); i++) {
		if (s->bits[i])
			return false;
	}
	return true;
}

static inline bool cpu_set_is_full(const struct cpu_set *s)
{
	for (u32 i = 0; i < ARRAY_SIZE(s->bits); i++) {
		if (~s->bits[i])
			return false;
	}
	return true;
}

static inline bool cpu_set_equal(const struct cpu_set *a, const struct cpu_set *b)
{
	for (u32 i = 0; i < ARRAY_SIZE(a->bits); i++) {
		if (a->bits[i] != b->bits[i])
			return false;
	}
	return true;
}

static inline void cpu_set_unite(struct cpu_set *s, const struct cpu_set *with)
{
	for (u32 i = 0; i < ARRAY_SIZE(s->bits); i++)
		s->bits[i] |= with->bits[i];
}

/* More than one. */
static inline bool cpu_set_is_choice(const struct cpu_set *s)
{
	bool one = false;

	for (u32 i = 0; i < ARRAY_SIZE(s->bits); i++) {
		if (!s->bits[i])
			continue;
		if (one || (s->bits[i] & (s->bits[i] - 1)))
			return true;
		one = true;
	}
	return false;
}

#endif
