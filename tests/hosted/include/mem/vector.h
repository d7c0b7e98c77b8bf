/* SPDX-License-Identifier: MIT */
/*
 * Hosted: a program may use vector registers, and has a stack that nobody interrupts. Threads that
 * go by the number of one CPU run at the same time, so the scratch memory is each thread's.
 */
#ifndef MEM_VECTOR_H
#define MEM_VECTOR_H

#include "kernel/base/x86.h"

#define VECTOR_SCRATCH_SIZE KIB(32)
#define __vector_caller

struct vector_state {
	bool irqs_on;
};

static inline int vector_init(void)
{
	return 0;
}

static inline void *vector_scratch(void)
{
	static _Thread_local u8 scratch[VECTOR_SCRATCH_SIZE] __aligned(PAGE_SIZE);

	return scratch;
}

static inline void vector_begin(struct vector_state *s)
{
	s->irqs_on = irq_save();
}

static inline void vector_end(const struct vector_state *s)
{
	irq_restore(s->irqs_on);
}

#endif
