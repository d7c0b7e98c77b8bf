/* SPDX-License-Identifier: MIT */
/*
 * For a library of the system's that is built for programs: it uses SSE registers, which hold a
 * guest's values, the red zone below its stack, which an interrupt would write over, and a word at
 * %fs:0x28 that guards its stack. Between vector_begin and vector_end it may be called, for a short
 * time: interrupts are off. An NMI has a stack of its own and no vector code. Exit and thread
 * context; CR4.OSFXSR is set on every CPU (kernel/base/harden.c).
 *
 * SSE instructions of the legacy encoding leave the upper halves of YMM and ZMM registers alone, so
 * FXSAVE's 512 bytes are all that has to be kept (SDM 1 10.5, 14.1.1). The hosted build, which has
 * all that a program has, shadows this header.
 */
#ifndef MEM_VECTOR_H
#define MEM_VECTOR_H

#include "kernel/base/msr.h"
#include "kernel/base/x86.h"

#define VECTOR_SCRATCH_SIZE KIB(32)

/* Of a function between whose begin and end the library is called: it counts on the ABI's stack. */
#define __vector_caller __attribute__((force_align_arg_pointer))

struct vector_state {
	u8 fxsave[512] __aligned(16);
	u64 canary[8]; /* what FS points to: the guard is the word at 0x28 */
	u64 fs_base;
	bool irqs_on;
};

/* Takes the scratch memory. Thread context, once, when all CPUs are up. ERR_NOMEM: there is none. */
int vector_init(void);

/* VECTOR_SCRATCH_SIZE bytes of this CPU's, aligned to a page, until vector_end. NULL: none. */
void *vector_scratch(void);

static inline void vector_begin(struct vector_state *s)
{
	s->irqs_on = irq_save();
	s->fs_base = rdmsr(MSR_FS_BASE);
	wrmsr(MSR_FS_BASE, (u64)s->canary);
	__asm__ volatile("fxsave64 %0" : "=m"(s->fxsave));
}

static inline void vector_end(const struct vector_state *s)
{
	__asm__ volatile("fxrstor64 %0" ::"m"(s->fxsave));
	wrmsr(MSR_FS_BASE, s->fs_base);
	irq_restore(s->irqs_on);
}

#endif
